use crate::keys::Keys;

/// What a call to Redis has brought, for those who listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Redis answers again; or it does not any more.
    pub(crate) reached: bool,
    pub(crate) lost: bool,
    pub(crate) late: bool,
    pub(crate) cold: bool,
    pub(crate) stepped: bool,
    /// How many rates are stated, if that has changed.
    pub(crate) rates: Option<u32>,
}

impl News {
    /// Not to be called under a bucket's lock: who listens may look at the bucket.
    pub(crate) fn report(self, keys: &Keys, fault: Option<&str>) {
        #[cfg(feature = "tracing")]
        {
            let key = keys.names()[0].as_str();
            if self.reached {
                tracing::info!(key, "Redis answers");
            }
            if self.lost {
                tracing::warn!(key, fault, "Redis is away");
            }
            if self.late {
                tracing::warn!(key, "the way to Redis takes longer than a lease");
            }
            if self.cold {
                tracing::warn!(key, "Redis does not know the schedule, which begins anew");
            }
            if self.stepped {
                tracing::warn!(key, "the clock of Redis was set forward");
            }
            if let Some(rates) = self.rates.filter(|&rates| rates > 1) {
                tracing::warn!(
                    key,
                    rates,
                    "workers state different rates, of which the strictest counts"
                );
            }
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (self, keys, fault);
    }
}
