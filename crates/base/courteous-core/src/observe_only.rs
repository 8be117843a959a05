use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Has layers decide and tell, and change nothing, for as long as it is on.
///
/// Every layer takes one by its `observe_only`. While the switch is on, the layer makes each decision, counts it here, tells it by an
/// event with `observed = true`, and then lets the call pass as if the layer were not there. Each layer decides as if it alone
/// were enforced: what one layer would have done to a call is not known to the others.
///
/// # Sharing
///
/// A handle: its clones are the same switch and the same counts, in whatever layers they are. One switch for a whole stack
/// switches all layers together; one for each layer lets them be enforced one after another.
///
/// A call keeps the mode in which it reached a layer: [`set`](Self::set) holds for the calls that come after it.
///
/// ```
/// use courteous_core::{Decision, ObserveOnly};
///
/// let switch = ObserveOnly::new(); // on
/// assert_eq!(switch.count(Decision::ThrottleWait), 0);
/// switch.set(false); // from now on, what the layers decide is done
/// assert!(!switch.is_on());
/// ```
#[derive(Clone)]
pub struct ObserveOnly {
    shared: Arc<Shared>,
}

struct Shared {
    on: AtomicBool,
    counts: [AtomicU64; Decision::ALL.len()],
    /// In nanoseconds.
    waits: [AtomicU64; Decision::ALL.len()],
    longest: [AtomicU64; Decision::ALL.len()],
}

/// What a layer would have done, if it were not [`ObserveOnly`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Decision {
    /// A concurrency limit would have had the call wait. For how long is not known.
    ConcurrencyWait,
    /// A concurrency limit would have rejected the call.
    ConcurrencyReject,
    /// An adaptive limit would have had the call wait. For how long is not known.
    AdaptiveWait,
    /// An adaptive limit would have rejected the call.
    AdaptiveReject,
    /// A throttle would have had the call wait.
    ThrottleWait,
    /// A throttle would have rejected the call.
    ThrottleReject,
    /// A retry would have made another attempt.
    Retry,
    /// A retry would have made another attempt if its budget allowed that.
    BudgetReject,
    /// A total timeout would have ended the call.
    TotalTimeout,
    /// An attempt timeout would have ended the attempt, or its response's body.
    AttemptTimeout,
    /// A key layer would have written, or taken out, a key.
    Key,
    /// A key layer would have rejected the call.
    KeyReject,
    /// A dead-letter layer would have recorded the call.
    DeadLetter,
}

impl Decision {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::ConcurrencyWait,
        Self::ConcurrencyReject,
        Self::AdaptiveWait,
        Self::AdaptiveReject,
        Self::ThrottleWait,
        Self::ThrottleReject,
        Self::Retry,
        Self::BudgetReject,
        Self::TotalTimeout,
        Self::AttemptTimeout,
        Self::Key,
        Self::KeyReject,
        Self::DeadLetter,
    ];
}

impl ObserveOnly {
    /// A switch that is on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                on: AtomicBool::new(true),
                counts: Default::default(),
                waits: Default::default(),
                longest: Default::default(),
            }),
        }
    }

    /// Whether layers only observe.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.on.load(Ordering::Relaxed)
    }

    /// Has layers only observe from now on, or enforce what they decide.
    pub fn set(&self, on: bool) {
        self.shared.on.store(on, Ordering::Relaxed);
    }

    /// How often a layer has made this decision while it only observed.
    #[must_use]
    pub fn count(&self, decision: Decision) -> u64 {
        self.shared.counts[decision as usize].load(Ordering::Relaxed)
    }

    /// Counts a decision that is not enforced: for layers.
    pub fn record(&self, decision: Decision) {
        self.shared.counts[decision as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How long calls would have waited by this decision, in sum: for [`Decision::ThrottleWait`] and [`Decision::Retry`]. Zero
    /// for all others.
    #[must_use]
    pub fn total_wait(&self, decision: Decision) -> Duration {
        Duration::from_nanos(self.shared.waits[decision as usize].load(Ordering::Relaxed))
    }

    /// The longest that a call would have waited by this decision: see [`total_wait`](Self::total_wait).
    #[must_use]
    pub fn longest_wait(&self, decision: Decision) -> Duration {
        Duration::from_nanos(self.shared.longest[decision as usize].load(Ordering::Relaxed))
    }

    /// As [`record`](Self::record), of a decision by which a call would have waited for so long: for layers.
    pub fn record_wait(&self, decision: Decision, wait: Duration) {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let Shared { waits, longest, .. } = &*self.shared;
        let add = |sum: u64| Some(sum.saturating_add(nanos));
        let _ = waits[decision as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        longest[decision as usize].fetch_max(nanos, Ordering::Relaxed);
        self.record(decision);
    }

    /// The switch of a layer, if there is one, and it is on: for layers.
    #[must_use]
    #[inline]
    pub fn active(switch: Option<&Self>) -> Option<&Self> {
        switch.filter(|switch| switch.is_on())
    }
}

impl Default for ObserveOnly {
    fn default() -> Self {
        Self::new()
    }
}

/// A switch of its own.
impl From<bool> for ObserveOnly {
    fn from(on: bool) -> Self {
        let switch = Self::new();
        switch.set(on);
        switch
    }
}

/// The same switch.
impl PartialEq for ObserveOnly {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for ObserveOnly {}

impl fmt::Debug for ObserveOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("ObserveOnly");
        f.field("on", &self.is_on());
        for &decision in Decision::ALL {
            match self.count(decision) {
                0 => {}
                count => _ = f.field(&format!("{decision:?}"), &count),
            }
        }
        f.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decision_has_a_count_of_its_own() {
        let switch = ObserveOnly::new();
        for (i, &decision) in Decision::ALL.iter().enumerate() {
            (0..=i).for_each(|_| switch.record(decision));
        }
        for (i, &decision) in Decision::ALL.iter().enumerate() {
            assert_eq!(switch.clone().count(decision), i as u64 + 1);
        }
    }

    #[test]
    fn waits_are_summed_up_and_the_longest_is_known() {
        let switch = ObserveOnly::new();
        for millis in [30, 50, 20] {
            switch.record_wait(Decision::ThrottleWait, Duration::from_millis(millis));
        }
        assert_eq!(switch.count(Decision::ThrottleWait), 3);
        let (total, longest) = (
            switch.total_wait(Decision::ThrottleWait),
            switch.longest_wait(Decision::ThrottleWait),
        );
        assert_eq!((total.as_millis(), longest.as_millis()), (100, 50));
        switch.record_wait(Decision::ThrottleWait, Duration::MAX);
        let total = switch.total_wait(Decision::ThrottleWait);
        assert_eq!(total, Duration::from_nanos(u64::MAX));
        assert_eq!(switch.total_wait(Decision::Retry), Duration::ZERO);
    }

    #[test]
    fn a_switch_that_is_off_is_as_none() {
        let switch = ObserveOnly::from(false);
        assert_eq!(ObserveOnly::active(Some(&switch)), None);
        switch.clone().set(true);
        assert_eq!(ObserveOnly::active(Some(&switch)), Some(&switch));
        assert_eq!(ObserveOnly::active(None), None);
    }

    #[test]
    fn debug_shows_the_mode_and_what_was_decided() {
        let switch = ObserveOnly::new();
        switch.record(Decision::Retry);
        assert_eq!(format!("{switch:?}"), "ObserveOnly { on: true, Retry: 1 }");
    }
}
