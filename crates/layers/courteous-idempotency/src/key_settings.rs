use courteous_core::settings;
use http::{HeaderName, Method};

settings! {
    /// The settings of a key layer, as a file can state them. What is not stated is left as it is.
    #[derive(Eq)]
    pub struct KeySettings {
        /// The name of the header field: [`IdempotencyKeyLayer::with_header`](crate::IdempotencyKeyLayer::with_header).
        pub header: Option<HeaderName>,
        /// The methods: [`IdempotencyKeyLayer::with_methods`](crate::IdempotencyKeyLayer::with_methods). An empty list switches keys
        /// off. If they are off, and anything else is stated, these are `POST` and `PATCH`.
        pub methods: Option<Vec<Method>>,
        /// The hosts: [`IdempotencyKeyLayer::with_hosts`](crate::IdempotencyKeyLayer::with_hosts).
        pub hosts: Option<Vec<String>>,
    }
}
