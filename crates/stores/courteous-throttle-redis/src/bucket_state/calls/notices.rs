use std::time::Duration;

use courteous_limit::later;
use tokio::time::Instant;

use crate::script::Call;

/// The pauses and quotas that servers stated to this worker, until Redis knows them.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pause: Pause,
    pacing: Option<Pacing>,
    /// Whether the last quota was slower than the rate. If so, Redis is also told of the next one,
    /// which is laxer.
    slower: bool,
}

/// Until when a server asked for a pause.
#[derive(Clone, Copy, Debug, Default)]
enum Pause {
    /// There is none, or Redis knows it.
    #[default]
    None,
    /// No call has told Redis yet.
    Untold(Instant),
    /// A call has told Redis, and has no answer. Each further call tells it again.
    Sent(Instant),
}

/// How a server's quota is spread.
#[derive(Clone, Copy, Debug)]
struct Pacing {
    interval: Duration,
    until: Instant,
}

/// The notices that one call tells Redis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) closed_for: Duration,
    pub(crate) pace: Duration,
    pub(crate) paced_for: Duration,
}

impl Notices {
    pub(crate) const fn close(&mut self, opens: Instant) {
        self.pause = Pause::Untold(opens);
    }

    /// Notes that a server's quota of `remaining` is reset after `reset`. Slots are `spacing`
    /// apart.
    pub(crate) fn pace(
        &mut self,
        remaining: u64,
        reset: Duration,
        spacing: Duration,
        now: Instant,
    ) {
        let Some(interval) = reset.as_nanos().checked_div(u128::from(remaining)) else {
            return;
        };
        let interval = Duration::from_nanos(u64::try_from(interval).unwrap_or(u64::MAX));
        let slower = interval > spacing;
        if slower || self.slower {
            let until = later(now, reset);
            self.pacing = Some(Pacing { interval, until });
        }
        self.slower = slower;
    }

    /// Whether Redis is to be told of a pause.
    pub(crate) const fn has_pause(&self) -> bool {
        !matches!(self.pause, Pause::None)
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self, now: Instant) -> bool {
        !self.has_pause() && self.pacing.is_none_or(|pacing| pacing.until <= now)
    }

    /// The notices for the call that begins at `now`.
    pub(crate) fn send(&mut self, now: Instant) -> Told {
        let left = |until: Instant| until.saturating_duration_since(now);
        let closed_for = match self.pause {
            Pause::Untold(until) | Pause::Sent(until) if until > now => {
                self.pause = Pause::Sent(until);
                left(until)
            }
            _ => {
                self.pause = Pause::None;
                Duration::ZERO
            }
        };
        let pacing = self.pacing.filter(|pacing| pacing.until > now);
        Told {
            closed_for,
            pace: pacing.map_or(Duration::ZERO, |pacing| pacing.interval),
            paced_for: pacing.map_or(Duration::ZERO, |pacing| left(pacing.until)),
        }
    }

    /// Notes that Redis has answered `call`. Notices that came after the call began are still to be
    /// told.
    pub(crate) fn confirm(&mut self, call: &Call) {
        if let Pause::Sent(_) = self.pause {
            self.pause = Pause::None;
        }
        if self
            .pacing
            .is_some_and(|pacing| pacing.interval == call.pace)
        {
            self.pacing = None;
        }
    }
}
