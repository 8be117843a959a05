use std::time::Duration;

use courteous_core::Pace;
use tokio::time::Instant;

use crate::{Rate, meter::Meter};

/// For an instant that cannot be told.
const FAR: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// All that says when tokens are there: the levels of several rates, a closed gate, a server's quota.
#[derive(Debug)]
pub(crate) struct Levels {
    first: Meter,
    more: Vec<Meter>,
    /// When the meters were filled last.
    filled: Instant,
    /// In the future, as of when they were filled.
    pub(crate) closed_until: Option<Instant>,
    pace: Option<Pace>,
}

impl Levels {
    /// The level of one rate, of which so many fractions lacked at `at`.
    pub(crate) fn new(rate: Rate, lacking: u128, at: Instant) -> Self {
        Self {
            first: Meter::lacking(rate, lacking),
            more: Vec::new(),
            filled: at,
            closed_until: None,
            pace: None,
        }
    }

    /// Full levels of the same rates.
    pub(crate) fn fresh(&self, now: Instant) -> Self {
        let mut levels = Self::new(self.first.rate(), 0, now);
        levels.more = self
            .more
            .iter()
            .map(|meter| Meter::full(meter.rate()))
            .collect();
        levels
    }

    pub(crate) const fn first(&self) -> Rate {
        self.first.rate()
    }

    pub(crate) fn rates(&self) -> impl Iterator<Item = Rate> {
        self.meters().map(Meter::rate)
    }

    pub(crate) fn set_rates(&mut self, rates: &[Rate]) {
        let Some((&first, more)) = rates.split_first() else {
            return;
        };
        let old: Vec<_> = self.meters().copied().collect();
        // A rate that was not there before is no reason for a burst.
        let at = |(i, rate): (usize, &Rate)| old.get(i).unwrap_or(&self.first).at(*rate);
        let more = more
            .iter()
            .enumerate()
            .map(|(i, rate)| at((i + 1, rate)))
            .collect();
        self.first = at((0, &first));
        self.more = more;
    }

    pub(crate) fn add(&mut self, rate: Rate) {
        self.more.push(Meter::full(rate));
    }

    /// Takes all tokens out.
    pub(crate) fn empty(&mut self) {
        self.each(Meter::empty);
    }

    /// The only rate, what of it lacks, and as of when, if there is no more to know.
    pub(crate) fn at_rest(&self) -> Option<(Rate, u128, Instant)> {
        let simple = self.more.is_empty() && self.closed_until.is_none() && self.pace.is_none();
        let lacking = self.first.lacks().filter(|_| simple)?;
        Some((self.first.rate(), lacking, self.filled))
    }

    /// Whole tokens that nobody has set aside.
    pub(crate) fn available(&self) -> u32 {
        if self.closed_until.is_some() {
            return 0;
        }
        self.meters().map(Meter::available).min().unwrap_or(0)
    }

    /// Closes the gate, and takes all plans back: nobody who was granted a turn can use it now. When it opens there is at
    /// most one token.
    pub(crate) fn close_until(&mut self, opens: Instant) {
        self.closed_until = Some(opens);
        self.each(Meter::unplan_all);
    }

    /// Takes all plans back, if that can be done: a server's quota would have to know them.
    pub(crate) fn recall(&mut self) -> bool {
        let can = self.pace.is_none();
        if can {
            self.each(Meter::unplan_all);
        }
        can
    }

    /// Spreads a server's quota.
    pub(crate) fn pace(&mut self, remaining: u64, reset: Duration, now: Instant) {
        let known = self.pace.take();
        self.pace = Pace::new(remaining, reset, now).and_then(|pace| pace.after(known, now));
    }

    /// Whether new levels would do the same.
    pub(crate) fn is_idle(&self) -> bool {
        self.closed_until.is_none() && self.pace.is_none() && self.all(Meter::is_full)
    }

    pub(crate) fn can_send(&self, cost: u32) -> bool {
        self.closed_until.is_none() && self.all(|meter| meter.can_send(cost))
    }

    fn meters(&self) -> impl Iterator<Item = &Meter> {
        std::iter::once(&self.first).chain(&self.more)
    }

    // Not by an iterator over both: there nearly always is one meter, and this is the fast path.
    fn all(&self, holds: impl Fn(&Meter) -> bool) -> bool {
        holds(&self.first) && self.more.iter().all(holds)
    }

    fn each(&mut self, mut f: impl FnMut(&mut Meter)) {
        f(&mut self.first);
        self.more.iter_mut().for_each(f);
    }

    pub(crate) fn burst(&self) -> u32 {
        self.meters()
            .map(|meter| meter.rate().burst().get())
            .min()
            .unwrap_or(0)
    }

    /// Lets the time pass until `now`.
    pub(crate) fn fill(&mut self, now: Instant) {
        if let Some(opens) = self.closed_until {
            self.fill_to(now.min(opens), 1);
            if now < opens {
                return;
            }
            self.closed_until = None;
        }
        self.fill_to(now, u32::MAX);
        if self.pace.is_some_and(|pace| pace.is_over(now)) {
            self.pace = None;
        }
    }

    fn fill_to(&mut self, now: Instant, cap: u32) {
        let nanos = now.saturating_duration_since(self.filled).as_nanos();
        // Not at every call: most clocks read the same for a while.
        if nanos > 0 {
            self.filled = now;
            let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
            self.each(|meter| meter.refill(nanos, cap));
        }
    }

    pub(crate) fn can_plan(&self, cost: u32, now: Instant) -> bool {
        self.all(|meter| meter.can_plan(cost)) && self.pace.is_none_or(|pace| pace.next() <= now)
    }

    pub(crate) fn plan(&mut self, cost: u32, now: Instant) {
        self.each(|meter| meter.plan(cost));
        if let Some(pace) = &mut self.pace {
            pace.spend(cost, now);
        }
    }

    pub(crate) fn unplan(&mut self, cost: u32) {
        self.each(|meter| meter.unplan(cost));
        if let Some(pace) = &mut self.pace {
            pace.unspend(cost);
        }
    }

    pub(crate) fn send(&mut self, cost: u32) {
        self.each(|meter| meter.send(cost));
    }

    /// When there are tokens for one who costs `cost`, behind others who cost `ahead`.
    pub(crate) fn turn(&self, now: Instant, ahead: u64, cost: u32) -> Instant {
        let needed = ahead + u64::from(cost);
        let wait = self.meters().map(|meter| {
            let Some(opens) = self.closed_until else {
                return meter.time_to(needed).unwrap_or(FAR);
            };
            let mut meter = *meter;
            let closed = opens.duration_since(now);
            meter.refill(u64::try_from(closed.as_nanos()).unwrap_or(u64::MAX), 1);
            closed.saturating_add(meter.time_to(needed).unwrap_or(FAR))
        });
        let at = later(now, wait.max().unwrap_or_default());
        self.pace.map_or(at, |pace| at.max(pace.turn(ahead)))
    }
}

pub(crate) fn later(at: Instant, wait: Duration) -> Instant {
    at.checked_add(wait)
        .or_else(|| at.checked_add(FAR))
        .unwrap_or(at)
}
