use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until},
};

/// A wait of one waiter for an instant, outside of any queue.
///
/// The timer is made at the first poll. Without a runtime, the waiter is polled again and again.
#[derive(Debug)]
pub struct Nap {
    until: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Nap {
    /// A wait until `until`.
    #[must_use]
    pub const fn new(until: Instant) -> Self {
        Self { until, sleep: None }
    }

    /// Returns whether the instant has come. If it has not, the task is woken when it comes.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.until <= Instant::now() {
            return Poll::Ready(());
        }
        if Handle::try_current().is_err() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let until = self.until;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{task::Waker, time::Duration};

    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_nap_ends_at_its_instant_and_not_before() {
        let mut nap = Nap::new(Instant::now() + Duration::from_secs(5));
        let mut task = task::spawn(std::future::poll_fn(|cx| nap.poll(cx)));
        assert_pending!(task.poll());
        tokio::time::sleep(Duration::from_millis(4_999)).await;
        assert!(!task.is_woken());
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(task.is_woken());
        assert_ready!(task.poll());
    }

    #[test]
    fn without_a_runtime_a_nap_is_polled_again() {
        let mut nap = Nap::new(Instant::now() + Duration::from_secs(3_600));
        let mut task = task::spawn(std::future::poll_fn(|cx| nap.poll(cx)));
        assert_pending!(task.poll());
        assert!(task.is_woken());
        let mut over = Nap::new(Instant::now());
        assert!(
            over.poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        );
    }
}
