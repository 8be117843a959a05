//! A record of what tests send, and its counts.

use std::{
    future::poll_fn,
    num::NonZeroU32,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use courteous_core::{Rate, RejectReason};
use courteous_limit::{Ask, Take, TokenStore, Turn};
use tokio::time::{Instant, sleep};

use crate::RedisBucket;

/// The calls that were sent, each with its time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Arc<Mutex<Vec<(Instant, u32)>>>);

impl Sent {
    pub(crate) fn push(&self, cost: u32) {
        self.0.lock().unwrap().push((Instant::now(), cost));
    }

    pub(crate) fn total(&self) -> u64 {
        let sent = self.0.lock().unwrap();
        sent.iter().map(|&(_, cost)| u64::from(cost)).sum()
    }

    pub(crate) fn since(&self, start: Instant) -> usize {
        let sent = self.0.lock().unwrap();
        sent.iter().filter(|&&(at, _)| at >= start).count()
    }

    /// By how many tokens the worst of all windows is above `burst + rate * length`. Negative if no
    /// window is above.
    pub(crate) fn excess(&self, rate: Rate) -> i128 {
        let sent = self.0.lock().unwrap();
        let (tokens, per) = (i128::from(rate.tokens()), i128::from(rate.per()));
        let burst = i128::from(rate.burst().get());
        let (mut before, mut least, mut worst) = (0_i128, i128::MAX, i128::MIN);
        let Some(&(start, _)) = sent.first() else {
            return 0;
        };
        // All values are in tokens times `per`. A window is worst if few tokens were sent before
        // it, less the tokens that the rate allows until then. So the least such value is kept.
        for &(at, cost) in sent.iter() {
            let allowed = i128::try_from((at - start).as_nanos()).unwrap() * tokens;
            least = least.min(before * per - allowed);
            before += i128::from(cost);
            worst = worst.max(before * per - allowed - least - burst * per);
        }
        worst.div_euclid(per) + i128::from(worst.rem_euclid(per) > 0)
    }
}

pub(crate) async fn send(
    bucket: &RedisBucket,
    ask: &Ask,
    sent: &Sent,
    lazy: Duration,
) -> Result<(), RejectReason> {
    match bucket.take(ask) {
        Take::Taken => {}
        Take::Rejected(rejected) => return Err(rejected.reason()),
        Take::Wait(turn) => {
            let mut turn = pin!(turn);
            loop {
                poll_fn(|cx| turn.as_mut().poll(cx))
                    .await
                    .map_err(|rejected| rejected.reason())?;
                if !lazy.is_zero() {
                    // Another service is not ready.
                    if lazy.as_millis().is_multiple_of(2) {
                        turn.as_mut().pass();
                    }
                    sleep(lazy).await;
                    if lazy.as_millis().is_multiple_of(2) {
                        poll_fn(|cx| turn.as_mut().poll(cx))
                            .await
                            .map_err(|rejected| rejected.reason())?;
                    }
                }
                if turn.as_mut().spend() {
                    break;
                }
            }
        }
    }
    sent.push(ask.cost());
    Ok(())
}

pub(crate) fn one() -> Ask {
    Ask::new(NonZeroU32::MIN)
}

pub(crate) fn rate(tokens: u32, burst: u32) -> Rate {
    let rate = Rate::new(tokens, Duration::from_secs(1)).unwrap();
    rate.with_burst(NonZeroU32::new(burst).unwrap())
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn paused<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}
