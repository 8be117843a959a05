use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::Poll,
    time::Duration,
};

#[cfg(feature = "dead-letter")]
use courteous_dead_letter::DeadLetterLayer;
use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};

use crate::client::Unfinished;

/// The handle by which a client is closed.
///
/// # Sharing
///
/// All clones are one handle. It closes every service of the [`CloseLayer`](crate::client::CloseLayer)s that were made from it, and
/// every clone of one; of a [`StackLayer`](crate::stack::StackLayer), every client that it and its clones make.
///
/// It may outlive a runtime, and be used from several.
#[derive(Clone)]
pub struct Closer {
    shared: Arc<Shared>,
}

struct Shared {
    calls: Count,
    #[cfg(feature = "dead-letter")]
    letters: Option<Letters>,
}

/// With letters, a rejected call still has its letter to be recorded.
#[cfg(feature = "dead-letter")]
#[allow(dead_code, reason = "only a whole stack makes one")]
struct Letters {
    layer: DeadLetterLayer,
    /// The rejected calls. Apart from those in flight: rejected calls may come without an end, and never let one count be zero.
    rejected: Count,
}

/// A count of calls that can be closed: then it takes no new call, and `ended` tells that it is zero.
///
/// The count is the count of the strong references to `Calls`. One more is kept in `open` while it is open, so that a call can
/// get its own from `calls`, and the last one to go drops the sender:
///
/// ```text
/// open:    calls.strong = 1 + calls counted
/// closing: calls.strong =     calls counted     at 0, `ended` finds that its sender is gone
/// ```
struct Count {
    is_closing: AtomicBool,
    calls: Weak<Calls>,
    open: Mutex<Option<Arc<Calls>>>,
    ended: watch::Receiver<()>,
}

struct Calls {
    /// Never sends: that it is dropped says all.
    _ended: watch::Sender<()>,
}

/// Held by a call for as long as it is in flight.
pub struct InFlight {
    _calls: Arc<Calls>,
}

impl Closer {
    /// A handle that is open, for a [`CloseLayer`](crate::client::CloseLayer).
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                calls: Count::new(),
                #[cfg(feature = "dead-letter")]
                letters: None,
            }),
        }
    }

    /// As [`new`](Self::new), and what is closed flushes its letters, too.
    #[cfg(all(feature = "dead-letter", feature = "stack"))]
    pub(crate) fn with_letters(letters: Option<DeadLetterLayer>) -> Self {
        let mut closer = Self::new();
        if let Some(shared) = Arc::get_mut(&mut closer.shared) {
            let rejected = Count::new();
            shared.letters = letters.map(|layer| Letters { layer, rejected });
        }
        closer
    }

    /// Rejects new calls from now on, then waits until those in flight have ended and their dead letters are durable, or until
    /// `deadline`.
    ///
    /// It is closed when this returns, also if the future is never polled. A call is in flight until its response body has ended
    /// or was dropped. Calls that wait in a queue or a backoff go on, and may be sent.
    ///
    /// A new call fails with [`Rejected`](crate::core::Rejected) for [`ShuttingDown`](crate::core::RejectReason::ShuttingDown), and no retry
    /// repeats it. There is no way back. Rejected calls do not keep `close` waiting, however many come; only the letter of one
    /// that began before the last call in flight ended is waited for.
    ///
    /// Further calls of `close` join the first: all wait for the same calls, each until its own deadline.
    ///
    /// # Errors
    ///
    /// [`Unfinished`], at the deadline, with the number of the calls still in flight. They are left alone.
    ///
    /// # Panics
    ///
    /// If it has to wait on a Tokio runtime without its time driver. The runtime may be another one than that of the calls; without
    /// any, the future is polled again and again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the client closed. What is in flight goes on.
    pub fn close(
        &self,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), Unfinished>> + Send + use<> {
        self.shared.calls.close();
        let closer = self.clone();
        async move { closer.wait(deadline).await }
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.shared.calls.is_closing()
    }

    /// How many calls are in flight: begun, and neither failed nor at the end of their response body, nor dropped.
    ///
    /// A call whose dead letter is being recorded is one of them. So is a rejected one, if it began before the last other call
    /// ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let calls = self.shared.calls.get();
        #[cfg(feature = "dead-letter")]
        let calls = calls + self.rejected().map_or(0, Count::get);
        calls
    }

    /// Counts a call. `None` if the client is closed: the call is to be rejected.
    #[inline]
    pub(crate) fn enter_unless_closing(&self) -> Option<InFlight> {
        self.shared.calls.enter()
    }

    /// Counts a call. `None` if the client is closed, and the call has no letter to be waited for: the gate rejects it.
    #[cfg(feature = "stack")]
    #[inline]
    pub(crate) fn enter(&self) -> Option<InFlight> {
        let entered = self.enter_unless_closing();
        #[cfg(feature = "dead-letter")]
        let entered = entered.or_else(|| self.rejected()?.enter());
        entered
    }

    #[cfg(feature = "dead-letter")]
    fn rejected(&self) -> Option<&Count> {
        Some(&self.shared.letters.as_ref()?.rejected)
    }

    async fn wait(self, deadline: Instant) -> Result<(), Unfinished> {
        let has_ended = is_done_by(deadline, self.shared.calls.ended()).await;
        #[cfg(feature = "dead-letter")]
        let has_ended = has_ended
            && match self.rejected() {
                Some(rejected) => {
                    // Calls that are rejected from now on are not waited for: there may always be another one.
                    rejected.close();
                    is_done_by(deadline, rejected.ended()).await
                }
                None => true,
            };
        let is_flushed = is_done_by(deadline, self.flush()).await;
        let in_flight = match has_ended {
            true => 0,
            // At least one, whatever has ended meanwhile.
            false => self.in_flight().max(1),
        };
        match has_ended && is_flushed {
            true => Ok(()),
            false => Err(Unfinished::new(in_flight, !is_flushed)),
        }
    }

    async fn flush(&self) {
        #[cfg(feature = "dead-letter")]
        if let Some(letters) = &self.shared.letters {
            letters.layer.flush().await;
        }
    }
}

impl Count {
    fn new() -> Self {
        let (sender, ended) = watch::channel(());
        let calls = Arc::new(Calls { _ended: sender });
        Self {
            is_closing: AtomicBool::new(false),
            calls: Arc::downgrade(&calls),
            open: Mutex::new(Some(calls)),
            ended,
        }
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    fn get(&self) -> usize {
        let open = self.open();
        let held = usize::from(open.is_some());
        self.calls.strong_count().saturating_sub(held)
    }

    /// Counts a call. `None` if it is closed; then `is_closing` is true for this call, too.
    #[inline]
    fn enter(&self) -> Option<InFlight> {
        if self.is_closing() {
            return None;
        }
        let calls = self.calls.upgrade();
        if calls.is_none() {
            // `is_closing` was set before the last reference was dropped.
            fence(Ordering::Acquire);
        }
        calls.map(|calls| InFlight { _calls: calls })
    }

    fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        let last = self.open().take();
        // Not under the lock: if no call is counted, it wakes the tasks that wait.
        drop(last);
    }

    /// Waits until it is closed and zero.
    async fn ended(&self) {
        let mut ended = self.ended.clone();
        // Nothing is sent, so that it fails when the sender is gone.
        while ended.changed().await.is_ok() {}
    }

    fn open(&self) -> MutexGuard<'_, Option<Arc<Calls>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `work` is done by `deadline`. There is a timer only if it has to be waited for.
async fn is_done_by(deadline: Instant, work: impl Future<Output = ()>) -> bool {
    let (mut work, mut timer) = (pin!(work), pin!(None::<Sleep>));
    // Tokio rounds a timer up to its next millisecond with an addition that is not checked.
    let is_timed = deadline.checked_add(Duration::from_millis(1)).is_some();
    poll_fn(|cx| {
        if work.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        if !is_timed {
            return Poll::Pending;
        }
        if timer.is_none() {
            timer.set(courteous_core::timer(deadline).ok());
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|()| false),
            None if deadline <= Instant::now() => Poll::Ready(false),
            None => {
                // Without a runtime: polled again and again.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

impl Default for Closer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer")
            .field("is_closing", &self.is_closing())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InFlight")
    }
}
