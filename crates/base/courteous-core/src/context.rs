use std::{num::NonZeroU32, time::Duration};

use http::Extensions;
use tokio::time::Instant;

use crate::{NoRandomBytes, OriginHash, random_bytes};

/// What the layers around one call tell each other: a single, small extension of the request.
///
/// Only layers write it. What a caller wants to override has types of its own in the layers' crates.
///
/// | it says | is written by | is read by |
/// |---|---|---|
/// | when the call must be over | the total timeout, or an outer caller; the earliest deadline counts | all that wait |
/// | the number of the attempt | a retry, before each attempt | a throttle, which leaves the waiting to the retry |
/// | the identity of the call | the first layer that needs it | what derives a key from it |
/// | the hash of the request's origin | the first layer that makes it | layers that keep something for each origin |
///
/// It is a plain value, so each attempt of a retry begins with a copy of what the layers outside of
/// the retry have said. In this example, a layer outside has made the hash of the origin, and both
/// attempts use it:
///
/// ```
/// use std::num::NonZeroU32;
///
/// use courteous_core::{CallContext, OriginHashes, RequestView};
/// use http::Request;
///
/// let mut request = Request::get("https://api.example/a").body(())?;
/// CallContext::edit(request.extensions_mut());
/// let hashes = OriginHashes::default();
/// let hash = RequestView::of(&request).with_hashes(&hashes).origin_key().hash();
/// hashes.carry(request.extensions_mut());
///
/// for number in [1, 2] {
///     let mut attempt = request.clone();
///     if let Some(number) = NonZeroU32::new(number) {
///         CallContext::edit(attempt.extensions_mut()).set_attempt(number);
///     }
///     let key = RequestView::of(&attempt).origin_key();
///     assert_eq!(key.known_hash(), Some(hash));
/// }
/// # Ok::<_, http::Error>(())
/// ```
///
/// The invariant: nothing here is needed to be right. Without a deadline a call has no end, without
/// an attempt's number no retry is outside, and a hash of an origin only says where to look: see
/// [`OriginKey`](crate::OriginKey).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallContext {
    deadline: Option<Instant>,
    /// The earliest of those that cover the response body.
    body_deadline: Option<Instant>,
    timeout: Option<Duration>,
    attempt: Option<NonZeroU32>,
    call_id: Option<CallId>,
    origin_hash: Option<OriginHash>,
    wire_origin_hash: Option<OriginHash>,
}

/// The random identity of one call, the same on all its attempts.
///
/// A retry draws one for a call whose request is neither idempotent by its method nor keyed: only there can a key be derived
/// from it further in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(u128);

impl CallContext {
    /// The context in `extensions`; an empty one if there is none.
    #[must_use]
    #[inline]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }

    /// The context in `extensions` to be changed; put there if there is none, which allocates.
    pub fn edit(extensions: &mut Extensions) -> &mut Self {
        extensions.get_or_insert_default()
    }

    /// The instant at which the call is over, whatever its state.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The earliest deadline that covers the response body too: at that instant, all of the call is over.
    #[must_use]
    pub const fn body_deadline(&self) -> Option<Instant> {
        self.body_deadline
    }

    /// How much time is left at `now`; zero after the deadline, `None` without one.
    #[must_use]
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(now))
    }

    /// The timeout that ends at the deadline, for errors to tell. `None` if no timeout made the deadline, or it was set
    /// without telling.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Brings the deadline forward to `deadline`. A later one than there is changes nothing.
    pub fn tighten(&mut self, deadline: Instant) {
        self.bring_forward(deadline, None);
    }

    /// Brings the deadline forward to `deadline`, at which `timeout` ends: the same as [`tighten`](Self::tighten), and tells
    /// the [`timeout`](Self::timeout).
    pub fn tighten_to_end_of(&mut self, timeout: Duration, deadline: Instant) {
        self.bring_forward(deadline, Some(timeout));
    }

    /// As [`tighten_to_end_of`](Self::tighten_to_end_of), for a deadline of the response head: the body may go on after it.
    pub fn tighten_head_to_end_of(&mut self, timeout: Duration, deadline: Instant) {
        let body_deadline = self.body_deadline;
        self.bring_forward(deadline, Some(timeout));
        self.body_deadline = body_deadline;
    }

    fn bring_forward(&mut self, deadline: Instant, timeout: Option<Duration>) {
        if self.body_deadline.is_none_or(|earlier| deadline < earlier) {
            self.body_deadline = Some(deadline);
        }
        if self.deadline.is_none_or(|earlier| deadline < earlier) {
            self.deadline = Some(deadline);
            self.timeout = timeout;
        }
    }

    /// The number of this attempt, from 1. `None` means that no retry is outside.
    #[must_use]
    pub const fn attempt(&self) -> Option<NonZeroU32> {
        self.attempt
    }

    /// States the number of this attempt: said by a retry, before each.
    pub fn set_attempt(&mut self, attempt: NonZeroU32) {
        self.attempt = Some(attempt);
    }

    /// The identity of the call, once a layer has needed one.
    #[must_use]
    pub const fn call_id(&self) -> Option<CallId> {
        self.call_id
    }

    /// The identity of the call, drawn now if there is none.
    ///
    /// # Errors
    ///
    /// If it had to be drawn, and could not be.
    pub fn ensure_call_id(&mut self) -> Result<CallId, NoRandomBytes> {
        let id = match self.call_id {
            Some(id) => id,
            None => CallId::random()?,
        };
        self.call_id = Some(id);
        Ok(id)
    }

    /// The hash of the request's [logical origin](crate::RequestView::origin), if a layer has made
    /// it. It may be out of date, as the URI may have been changed since.
    #[must_use]
    #[inline]
    pub const fn origin_hash(&self) -> Option<OriginHash> {
        self.origin_hash
    }

    /// The hash of the request's [wire origin](crate::RequestView::wire_origin), if a layer has
    /// made it. It may be out of date.
    #[must_use]
    #[inline]
    pub const fn wire_origin_hash(&self) -> Option<OriginHash> {
        self.wire_origin_hash
    }

    pub(crate) const fn set_origin_hashes(
        &mut self,
        logical: Option<OriginHash>,
        wire: Option<OriginHash>,
    ) {
        self.origin_hash = logical;
        self.wire_origin_hash = wire;
    }
}

impl CallId {
    /// A new identity, drawn from the operating system.
    ///
    /// # Errors
    ///
    /// If it has no random bytes to give.
    pub fn random() -> Result<Self, NoRandomBytes> {
        random_bytes().map(u128::from_ne_bytes).map(Self)
    }

    /// Its 128 random bits.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_wins() {
        let now = Instant::now();
        let mut context = CallContext::default();
        assert_eq!(context.time_left(now), None);
        context.tighten(now + Duration::from_secs(2));
        context.tighten(now + Duration::from_secs(3));
        assert_eq!(context.time_left(now), Some(Duration::from_secs(2)));
        context.tighten(now + Duration::from_secs(1));
        assert_eq!(context.deadline(), Some(now + Duration::from_secs(1)));
        assert_eq!(
            context.time_left(now + Duration::from_secs(9)),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn a_deadline_of_the_head_does_not_end_the_body() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut context = CallContext::default();
        context.tighten_head_to_end_of(5 * second, now + 5 * second);
        assert_eq!(context.deadline(), Some(now + 5 * second));
        assert_eq!(context.body_deadline(), None);
        context.tighten(now + 9 * second);
        assert_eq!(context.deadline(), Some(now + 5 * second));
        assert_eq!(context.body_deadline(), Some(now + 9 * second));
    }

    #[test]
    fn the_timeout_is_that_of_the_deadline_that_won() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut context = CallContext::default();
        context.tighten_to_end_of(5 * second, now + 5 * second);
        context.tighten_to_end_of(9 * second, now + 9 * second);
        assert_eq!(context.timeout(), Some(5 * second));
        context.tighten(now + 6 * second);
        assert_eq!(context.timeout(), Some(5 * second));
        context.tighten(now + second);
        assert_eq!(
            (context.timeout(), context.deadline()),
            (None, Some(now + second))
        );
    }

    #[test]
    fn a_request_without_a_context_reads_as_an_empty_one() {
        assert_eq!(CallContext::of(&Extensions::new()), CallContext::default());
    }

    #[test]
    fn the_call_keeps_its_identity() {
        let mut extensions = Extensions::new();
        let id = CallContext::edit(&mut extensions).ensure_call_id();
        assert_eq!(CallContext::edit(&mut extensions).ensure_call_id(), id);
        assert_eq!(CallContext::of(&extensions).call_id(), id.ok());
        assert_ne!(CallId::random(), id);
    }
}
