use std::{fmt, sync::Arc};

use courteous_limit::{ChargeId, LimitId, Settled, Settler};
use http::Response;

/// Tells the throttle what a call really cost: an extension of the response to a request with an
/// [addressed cost](crate::Cost::on).
///
/// ```
/// use courteous_throttle::{Bucket, Cost, Settle, ThrottleLayer};
/// # use http::{Request, Response};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # use std::num::NonZeroU32;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), courteous_core::BoxError> {
/// # let client = service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(Response::new(())) });
/// # let rate = courteous_throttle::Rate::per_minute(90_000.0)?.with_burst(NonZeroU32::new(9_000).unwrap());
/// let tokens = Bucket::new(rate);
/// let service = ThrottleLayer::from(tokens.clone()).layer(client);
///
/// let mut request = Request::new(());
/// request.extensions_mut().insert(Cost::new(1_200).on(&tokens)); // the estimate
/// let response = service.oneshot(request).await?;
/// assert_eq!(tokens.available(), 7_800);
///
/// let settle = Settle::of(&response).unwrap();
/// settle.actual(700); // what the body says that was used
/// assert_eq!(tokens.available(), 8_300);
/// # Ok(())
/// # }
/// ```
///
/// # What becomes of the difference
///
/// - A call that cost less: the bucket goes on as if the lower cost had been charged when the call
///   was sent. So later calls find the difference at once, less what a full bucket would have lost
///   meanwhile. Waiters are woken.
/// - A call that cost more: the difference is charged now. The level may fall below zero, by one
///   burst at most. So one wrong number holds up calls for no longer than two bursts take to come
///   back. What is above that is [forgotten](Settled::forgotten). Waiters wait longer, and are
///   rejected if that is too long.
///
/// In any window, calls are charged `burst + rate * w` at most. Only the differences by which a
/// call's number rises come on top of that. This holds however many calls settle at once.
///
/// # Running totals
///
/// What comes back is there for others at once. So tell [`actual`](Self::actual) a number below the
/// estimate only once it is final. For example, a stream with an estimate of 1,000 may tell 1, and
/// later 900. Then others can spend 999 tokens first, and the bucket owes 899 afterwards.
/// [`at_least`](Self::at_least) is for the totals on the way: it only charges what is above the
/// previous number.
///
/// # Sharing
///
/// Clones of a handle settle the same call. They may outlive the response, and can go to another
/// task, such as one that reads the body. The last number that was told counts. It stands once the
/// last clone is dropped. If no number was told, the estimate stands.
///
/// A response has no handle while the throttle [only observes](crate::ThrottleLayer::observe_only),
/// or if the store cannot settle. A call that was retried pays for each attempt, and the response
/// settles the last attempt. A call that failed without a response keeps its estimate.
///
/// While a bucket has calls with addressed costs whose handles are not all dropped, each call of
/// the bucket takes its lock. Each number that is told looks at all such calls, for some
/// nanoseconds each. Eight payments of a call are remembered separately: the estimate, and seven
/// charges on top. After further charges, a lower number may give back less than the difference,
/// and never more.
#[derive(Clone)]
pub struct Settle {
    call: Arc<Call>,
}

struct Call {
    settler: Arc<dyn Settler>,
    charge: ChargeId,
    /// The limit to which the first of its addressed costs went.
    limit: LimitId,
    /// The same call at a throttle further in.
    inner: Option<Settle>,
}

impl Settle {
    pub(crate) fn new(settler: Arc<dyn Settler>, limit: LimitId, charge: ChargeId) -> Self {
        let inner = None;
        let call = Arc::new(Call {
            settler,
            charge,
            limit,
            inner,
        });
        Self { call }
    }

    /// The handle in a response's extensions. There is one if the request's cost was addressed to a
    /// throttle that can settle it.
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Option<Self> {
        response.extensions().get().cloned()
    }

    /// Counts the call as `tokens`, in the limit to which its first addressed cost went. With
    /// several throttles, that is the limit of the outermost one.
    ///
    /// Returns `None` and changes nothing if the throttle does not know the call.
    #[allow(
        clippy::must_use_candidate,
        reason = "what it changes is what it is for"
    )]
    pub fn actual(&self, tokens: u32) -> Option<Settled> {
        self.actual_on(self.call.limit, tokens)
    }

    /// Counts the call as `tokens`, unless it already counts as more. Use it for a number that may
    /// still rise. Otherwise, does the same as [`actual`](Self::actual).
    #[allow(
        clippy::must_use_candidate,
        reason = "what it changes is what it is for"
    )]
    pub fn at_least(&self, tokens: u32) -> Option<Settled> {
        self.at_least_on(self.call.limit, tokens)
    }

    /// Does the same as [`at_least`](Self::at_least), in `limit`: see
    /// [`actual_on`](Self::actual_on).
    pub fn at_least_on(&self, limit: impl Into<LimitId>, tokens: u32) -> Option<Settled> {
        let (call, limit) = self.of_limit(limit.into())?;
        call.settler.settle_at_least(call.charge, limit, tokens)
    }

    /// Counts the call as `tokens` in `limit`, the handle to which a cost of the request was
    /// addressed.
    ///
    /// Returns `None` and changes nothing if `limit` belongs to another throttle than the request's
    /// addressed costs.
    pub fn actual_on(&self, limit: impl Into<LimitId>, tokens: u32) -> Option<Settled> {
        let (call, limit) = self.of_limit(limit.into())?;
        call.settler.settle(call.charge, limit, tokens)
    }

    /// The call at the throttle that has `limit`, and the number of that limit.
    fn of_limit(&self, limit: LimitId) -> Option<(&Call, usize)> {
        let mut next = Some(self);
        while let Some(Self { call }) = next {
            if call.limit.is_beside(limit) {
                return Some((call, limit.index()));
            }
            next = call.inner.as_ref();
        }
        None
    }

    /// Puts the handle into a response, in front of the handle of a throttle further in.
    pub(crate) fn put_into<B>(mut self, response: &mut Response<B>) {
        let inner = response.extensions_mut().remove();
        if let Some(call) = Arc::get_mut(&mut self.call) {
            call.inner = inner;
        }
        response.extensions_mut().insert(self);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.settler.close(self.charge);
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle").finish_non_exhaustive()
    }
}
