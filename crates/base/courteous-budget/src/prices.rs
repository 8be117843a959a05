use courteous_core::Fault;

/// The cost of a retry, by the failure that it follows, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prices {
    pub(crate) no_response: u32,
    pub(crate) server: u32,
    pub(crate) throttled: u32,
    pub(crate) gated: u32,
}

impl Prices {
    pub(crate) const DEFAULT: Self = Self {
        no_response: 2,
        server: 1,
        throttled: 1,
        gated: 0,
    };

    pub(crate) const fn of(self, fault: Fault, gated: bool) -> u32 {
        match fault {
            Fault::Throttled if gated => self.gated,
            Fault::Throttled => self.throttled,
            Fault::Server | Fault::Overload => self.server,
            // A kind of fault that is not known here yet has the higher price.
            _ => self.no_response,
        }
    }
}
