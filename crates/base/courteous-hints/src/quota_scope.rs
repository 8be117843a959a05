/// What a response says that a quota is of.
///
/// A server has several: GitHub one for each resource, Discord one for each bucket, and others one for each policy. A
/// response tells of those that its own request counts against. What one of them says is no news about requests that
/// count against another.
///
/// The names are as the server wrote them, and mean something beside its origin only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct QuotaScope<'h> {
    pub(crate) resource: Option<&'h str>,
    pub(crate) bucket: Option<&'h str>,
    pub(crate) policy: Option<&'h str>,
    pub(crate) partition_key: Option<&'h str>,
}

impl<'h> QuotaScope<'h> {
    /// The resource: `x-ratelimit-resource` (GitHub), or what a field's name says in its place
    /// (`zendesk-ratelimit-tickets-index`).
    #[must_use]
    pub const fn resource(&self) -> Option<&'h str> {
        self.resource
    }

    /// The bucket: `x-ratelimit-bucket` (Discord).
    #[must_use]
    pub const fn bucket(&self) -> Option<&'h str> {
        self.bucket
    }

    /// The name of the policy: that of an item of `RateLimit` (draft-ietf-httpapi-ratelimit-headers from -08),
    /// `ratelimit-name` (GitLab), or the one beside a number in `x-ms-ratelimit-remaining-resource` (Azure).
    #[must_use]
    pub const fn policy(&self) -> Option<&'h str> {
        self.policy
    }

    /// The partition key of the policy, `pk`, as it is on the wire: `:cHsdsRa894==:`.
    #[must_use]
    pub const fn partition_key(&self) -> Option<&'h str> {
        self.partition_key
    }

    /// Whether the response names nothing, so that every request may count against the quota.
    #[must_use]
    pub const fn is_unnamed(&self) -> bool {
        matches!(
            self,
            Self {
                resource: None,
                bucket: None,
                policy: None,
                partition_key: None,
            }
        )
    }
}
