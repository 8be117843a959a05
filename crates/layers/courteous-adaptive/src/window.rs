/// How many parts a window has. The oldest part is forgotten as a whole.
const PARTS: usize = 16;

/// How often something happened lately: a count over a window that moves with time.
///
/// The window moves by a sixteenth of its length at a time. Adding and reading take constant time
/// and no memory of their own, however much happens.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// The length of one part, in seconds.
    part: f64,
    counts: [u32; PARTS],
    /// The number of the newest part since time 0.
    newest: u64,
    total: u32,
}

impl Window {
    /// A window of `length` seconds.
    pub(crate) const fn new(length: f64) -> Self {
        Self {
            part: length / PARTS as f64,
            counts: [0; PARTS],
            newest: 0,
            total: 0,
        }
    }

    /// Counts one more at `now`, in seconds.
    pub(crate) fn add(&mut self, now: f64) {
        self.advance(now);
        let at = self.newest as usize % PARTS;
        self.counts[at] = self.counts[at].saturating_add(1);
        self.total = self.total.saturating_add(1);
    }

    /// Takes back one that was counted lately, if it is still in the window.
    pub(crate) fn take_back(&mut self) {
        let newest = self.newest as usize;
        let parts = (0..PARTS).map(|back| (newest + PARTS - back) % PARTS);
        for at in parts {
            if self.counts[at] > 0 {
                self.counts[at] -= 1;
                self.total -= 1;
                return;
            }
        }
    }

    /// How many there are in the window that ends at `now`.
    pub(crate) fn total(&mut self, now: f64) -> f64 {
        self.advance(now);
        f64::from(self.total)
    }

    /// How many there are in the last `parts` sixteenths of the window that ends at `now`.
    pub(crate) fn latest(&mut self, now: f64, parts: usize) -> f64 {
        self.advance(now);
        let newest = self.newest as usize;
        let latest = (0..parts.min(PARTS)).map(|back| (newest + PARTS - back) % PARTS);
        latest.map(|at| f64::from(self.counts[at])).sum()
    }

    pub(crate) const fn clear(&mut self) {
        self.counts = [0; PARTS];
        self.total = 0;
    }

    fn advance(&mut self, now: f64) {
        // A float that is too big, or no number, becomes the nearest whole number.
        let part = (now / self.part) as u64;
        if part <= self.newest {
            return;
        }
        let steps = (part - self.newest).min(PARTS as u64);
        for step in 1..=steps {
            let at = (self.newest + step) as usize % PARTS;
            self.total = self.total.saturating_sub(self.counts[at]);
            self.counts[at] = 0;
        }
        if steps == PARTS as u64 {
            self.clear();
        }
        self.newest = part;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_counts_what_happened_within_its_length_but_for_one_part(
            steps in proptest::collection::vec(0.0..1.0f64, 1..200),
        ) {
            let mut window = Window::new(4.0);
            let (mut now, mut all) = (0.0, Vec::new());
            for step in steps {
                now += step;
                window.add(now);
                all.push(now);
                let within = |length: f64| all.iter().filter(|&&at| now - at < length).count() as f64;
                let total = window.total(now);
                prop_assert!(within(4.0 - 0.25) <= total && total <= within(4.0 + 1e-9));
                let latest = window.latest(now, 4);
                prop_assert!(within(0.75) <= latest && latest <= within(1.0 + 1e-9));
            }
            prop_assert_eq!(window.total(now + 5.0), 0.0);
        }
    }

    #[test]
    fn time_that_runs_back_or_is_no_number_changes_nothing() {
        let mut window = Window::new(4.0);
        window.add(10.0);
        for now in [9.0, 0.0, -1.0, f64::NAN] {
            assert_eq!(window.total(now), 1.0);
        }
        window.take_back();
        window.take_back();
        assert_eq!(window.total(f64::INFINITY), 0.0);
    }
}
