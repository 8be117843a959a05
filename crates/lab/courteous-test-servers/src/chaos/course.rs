use std::time::Duration;

use super::Flow;
use courteous_testkit::Chance;

/// What happens to one connection through a [`ChaosProxy`](crate::ChaosProxy).
///
/// ```
/// use std::time::Duration;
///
/// use courteous_test_servers::{Course, Flow};
///
/// // The server does its work, and the client does not hear of it.
/// let unheard = Course::smooth().with_down(Flow::smooth().reset_after(0));
/// // A slow line in both directions.
/// let slow = Flow::smooth().with_latency(Duration::from_millis(20));
/// let far = Course::smooth().with_up(slow).with_down(slow);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    pub(super) refused: bool,
    pub(super) up: Flow,
    pub(super) down: Flow,
}

impl Course {
    /// Passes everything on as it comes.
    #[must_use]
    pub const fn smooth() -> Self {
        Self {
            refused: false,
            up: Flow::smooth(),
            down: Flow::smooth(),
        }
    }

    /// Resets the connection when it is accepted, like a load balancer with no server behind it.
    /// The server sees nothing of the connection.
    ///
    /// To have connections not accepted at all, use
    /// [`ChaosProxy::refuse`](crate::ChaosProxy::refuse).
    #[must_use]
    pub const fn refused() -> Self {
        Self {
            refused: true,
            ..Self::smooth()
        }
    }

    /// Sets what happens from the client to the server.
    #[must_use]
    pub const fn with_up(mut self, flow: Flow) -> Self {
        self.up = flow;
        self
    }

    /// Sets what happens from the server to the client.
    #[must_use]
    pub const fn with_down(mut self, flow: Flow) -> Self {
        self.down = flow;
        self
    }

    /// A random course from `chance`. A tenth of the courses are smooth and a tenth are refused. All
    /// others break somewhere in the first `most` bytes of one direction, and some are slow until
    /// then.
    #[must_use]
    pub fn random(chance: &mut Chance, most: u64) -> Self {
        let (kind, smooth) = (chance.below(10), Flow::smooth());
        let flow = match kind {
            0 => return Self::smooth(),
            1 => return Self::refused(),
            2 => smooth.black_hole_after(chance.below(most)),
            3 => smooth.half_close_after(chance.below(most)),
            4 => {
                let late = smooth.with_latency(chance.time(Duration::from_millis(20)));
                late.reset_after(chance.below(most))
            }
            5 => {
                let chunk = usize::try_from(chance.below(200)).unwrap_or(0);
                let drip = smooth.with_drip(chunk, Duration::from_millis(1));
                drip.reset_after(chance.below(most))
            }
            _ => smooth.reset_after(chance.below(most)),
        };
        if chance.one_in(2) {
            Self::smooth().with_up(flow)
        } else {
            Self::smooth().with_down(flow)
        }
    }

    /// A script of [random](Self::random) courses for
    /// [`ChaosProxy::start`](crate::ChaosProxy::start). Only `seed` and n decide what happens to
    /// the nth connection.
    pub fn seeded(seed: u64, most: u64) -> impl Fn(usize) -> Self + Send + Sync + 'static {
        move |connection| {
            let mut chance = Chance::new(seed ^ Chance::new(connection as u64).bits());
            Self::random(&mut chance, most)
        }
    }
}
