use std::{cmp::Reverse, time::Duration};

use courteous_classify::refusal_of;
use courteous_core::{Gate, Refusal};
use courteous_hints::{Hints, Quota};
use courteous_limit::{QuotaName, Target, ToldQuota, later};
use http::{Response, StatusCode};
use tokio::time::Instant;

use crate::{
    TokenStore,
    events::{self, About, Closed, Subject},
    settings::{HintSettings, Pacing, Settings},
    told::Told,
};

/// How many named quotas of one response are listened to.
const MOST: usize = 8;

/// Tells a store what a response says about waiting.
#[derive(Debug)]
pub(crate) struct Listen<St> {
    store: St,
    /// What the request is for.
    target: Target,
    settings: HintSettings,
    told: Told,
    subject: Subject,
}

impl<St: TokenStore> Listen<St> {
    /// `None` if responses are to be ignored. If an observer is `told`, what is heard is only
    /// observed, too.
    #[inline]
    pub(crate) fn new(
        store: St,
        target: Option<Target>,
        settings: &Settings,
        told: Told,
        subject: Subject,
    ) -> Option<Self> {
        Some(Self {
            store,
            target: target?,
            settings: settings.hints,
            told,
            subject,
        })
    }

    pub(crate) fn hear<B>(&self, response: &mut Response<B>) {
        // Most responses say nothing, and this is the fast path.
        if response.headers().is_empty() {
            return;
        }
        let status = response.status();
        let refusal = match self.settings.heeds {
            Some(heeds) if !heeds(status) => None,
            _ => refusal_of(status, response.headers()),
        };
        let pause = refusal.and_then(|refusal| refusal.pause().filter(|pause| !pause.is_zero()));
        if let Some(refusal) = refusal.filter(|_| pause.is_none() && !self.told.is_observer()) {
            // No gate tells layers further out of this refusal. They need not read its fields again.
            response.extensions_mut().insert::<Refusal>(refusal);
        }
        let unspecified = refusal.is_some_and(|refusal| refusal.pause().is_none());
        let hints = Hints::of(response.headers());
        let quotas = Heard::of(&hints);
        if pause.is_none() && quotas.is_empty() {
            return;
        }
        let now = Instant::now();
        match pause {
            Some(pause) => {
                let opens = later(now, pause.min(self.settings.max_pause.get()));
                let closed = self.close(&quotas, opens);
                self.told.note_pause(opens);
                events::closed(closed, pause, status, self.about());
                if !self.told.is_observer() {
                    // This is what the server said, and not what the bucket makes of it: a retry
                    // knows its own limits.
                    let opens = later(later(now, pause), self.store.jitter());
                    response.extensions_mut().insert(Gate::new(opens));
                }
            }
            // The server refuses for a time that it does not tell. What it says of its quotas is
            // not the reason.
            None if unspecified => self.tell(&quotas, ToldQuota::named),
            None => self.note(&quotas, status, now),
        }
    }

    /// Closes what the refusal names, if that is used up, and otherwise the bucket. Returns which
    /// of them was closed.
    fn close(&self, quotas: &Heard<'_>, opens: Instant) -> Closed {
        let unnamed = quotas.unnamed.is_some_and(|quota| quota.is_used_up());
        let closed = match !unnamed && quotas.named().any(|quota| quota.is_used_up()) {
            true => Closed::NamedQuota,
            false => Closed::Refusal,
        };
        if matches!(closed, Closed::Refusal) {
            self.close_until(opens);
        }
        self.tell_each(quotas, |name, quota| match quota.is_used_up() && !unnamed {
            true => ToldQuota::refused(name, opens),
            false => ToldQuota::named(name),
        });
        closed
    }

    /// Takes note of quotas that are left or used up, by a response that is no refusal.
    fn note(&self, quotas: &Heard<'_>, status: StatusCode, now: Instant) {
        let max = self.settings.max_quota_pause;
        let max = max.min(self.settings.max_pause).get();
        let paced = match self.settings.pacing {
            Pacing::Always => true,
            Pacing::Never => false,
            Pacing::WithRate => self.store.has_rate(),
        };
        // A quota that is reset in a day is not spread here but by its user: spread evenly, it
        // could mean a call an hour.
        let spread =
            |quota: &Quota<'_>, reset: Duration| paced && !quota.is_used_up() && reset <= max;
        if let Some(quota) = quotas.unnamed
            && let Some(reset) = reset(&quota)
        {
            if quota.is_used_up() {
                let opens = later(now, reset.min(max));
                events::closed(Closed::Quota, reset, status, self.about());
                self.told.note_pause(opens);
                self.close_until(opens);
            } else if spread(&quota, reset) {
                self.pace(quota.remaining(), reset);
            }
        }
        self.tell_each(quotas, |name, quota| match reset(quota) {
            Some(reset) if quota.is_used_up() => {
                let opens = later(now, reset.min(max));
                events::closed(Closed::NamedQuota, reset, status, self.about());
                self.told.note_pause(opens);
                ToldQuota::used_up(name, opens)
            }
            Some(reset) if spread(quota, reset) => ToldQuota::left(name, quota.remaining(), reset),
            _ => ToldQuota::named(name),
        });
    }

    /// What the events of this response are about.
    const fn about(&self) -> About<'_> {
        About {
            subject: &self.subject,
            observed: self.told.is_observer(),
        }
    }

    fn close_until(&self, opens: Instant) {
        match (self.told.is_observer(), self.store.observed()) {
            (false, _) => self.store.close_until(opens),
            (true, Some(observed)) => observed.close_until(opens),
            (true, None) => {}
        }
    }

    fn pace(&self, remaining: u64, reset: Duration) {
        match (self.told.is_observer(), self.store.observed()) {
            (false, _) => self.store.pace(remaining, reset),
            (true, Some(observed)) => observed.pace(remaining, reset),
            (true, None) => {}
        }
    }

    fn tell(&self, quotas: &Heard<'_>, told: fn(QuotaName) -> ToldQuota) {
        self.tell_each(quotas, |name, _| told(name));
    }

    fn tell_each(&self, quotas: &Heard<'_>, told: impl Fn(QuotaName, &Quota<'_>) -> ToldQuota) {
        let mut all = [None; MOST];
        let mut count = 0;
        for (told_one, quota) in all.iter_mut().zip(quotas.named()) {
            let scope = quota.scope();
            let names = [
                scope.resource(),
                scope.bucket(),
                scope.policy(),
                scope.partition_key(),
            ];
            *told_one = Some(told(QuotaName::new(self.target, &names), quota));
            count += 1;
        }
        // One array with only the quotas that are there, without an allocation.
        let [Some(first), ..] = all else {
            return;
        };
        let all = all.map(|told| told.unwrap_or(first));
        let told = &all[..count];
        match (self.told.is_observer(), self.store.observed()) {
            (false, _) => self.store.hear(self.target, told),
            (true, Some(observed)) => observed.hear(self.target, told),
            (true, None) => {}
        }
    }
}

fn reset(quota: &Quota<'_>) -> Option<Duration> {
    quota.reset().filter(|reset| !reset.is_zero())
}

/// The quotas that one response tells of.
struct Heard<'h> {
    /// The tightest quota that names nothing, and so applies to all calls.
    unnamed: Option<Quota<'h>>,
    named: [Option<Quota<'h>>; MOST],
}

impl<'h> Heard<'h> {
    fn of(hints: &Hints<'h>) -> Self {
        let mut heard = Self {
            unnamed: None,
            named: [None; MOST],
        };
        hints.each_quota(|quota| heard.add(quota));
        heard
    }

    fn add(&mut self, quota: Quota<'h>) {
        if quota.scope().is_unnamed() {
            let tightness = |quota: &Quota<'_>| (quota.remaining(), Reverse(quota.reset()));
            let known = self.unnamed.into_iter().chain([quota]);
            self.unnamed = known.min_by_key(tightness);
            return;
        }
        // If there are too many quotas, a used-up one replaces one that is not used up.
        let free = self.named.iter().position(Option::is_none);
        let left = |quota: &Option<Quota<'_>>| quota.is_some_and(|quota| !quota.is_used_up());
        let place = free.or_else(|| match quota.is_used_up() {
            true => self.named.iter().position(left),
            false => None,
        });
        if let Some(place) = place {
            self.named[place] = Some(quota);
        }
    }

    fn named(&self) -> impl Iterator<Item = &Quota<'h>> {
        self.named.iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.unnamed.is_none() && self.named.first().is_none_or(Option::is_none)
    }
}
