use std::time::Duration;

use courteous_core::Gate;
use courteous_hints::Hints;
use http::{Response, StatusCode};
use tokio::time::Instant;

use crate::{Store, config::Config, levels::later};

/// Tells a store what a response says about waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listen<St> {
    store: St,
    max_pause: Duration,
}

impl<St: Store> Listen<St> {
    /// `None` if nobody wants to listen.
    pub(crate) fn new(store: St, config: &Config) -> Option<Self> {
        config.max_pause.map(|max_pause| Self { store, max_pause })
    }

    pub(crate) fn hear<B>(&self, response: &mut Response<B>) {
        // Most responses say nothing, and this is the fast path.
        if response.headers().is_empty() {
            return;
        }
        let hints = Hints::of(response.headers());
        let refused = matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let pause = match response.status() {
            StatusCode::TOO_MANY_REQUESTS => hints.refusal_wait(),
            _ => hints.wait(),
        };
        if refused && let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
            let now = Instant::now();
            #[cfg(feature = "tracing")]
            tracing::debug!(?pause, status = response.status().as_u16(), "bucket closed");
            self.store
                .close_until(later(now, pause.min(self.max_pause)));
            // What the server said, not what the bucket makes of it: a retry knows its own limits.
            let opens = later(later(now, pause), self.store.jitter());
            response.extensions_mut().insert(Gate::new(opens));
        } else if !refused
            && let Some(quota) = hints.quota()
            && let Some(reset) = quota.reset().filter(|reset| !reset.is_zero())
        {
            // A quota that is reset in a day is for its user to spread: evenly could mean a call an hour.
            match quota.remaining() {
                0 => {
                    #[cfg(feature = "tracing")]
                    tracing::debug!(pause = ?reset, "bucket closed, as the quota is used up");
                    self.store
                        .close_until(later(Instant::now(), reset.min(self.max_pause)));
                }
                remaining if reset <= self.max_pause => self.store.pace(remaining, reset),
                _ => {}
            }
        }
    }
}
