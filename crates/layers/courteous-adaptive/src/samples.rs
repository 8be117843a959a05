/// How many values are kept. From so many, the median is known to about one part in 30.
const KEPT: usize = 256;

/// Values of which the median is asked, in bounded memory.
///
/// If there are more than are kept, each second one is let go, and from then on only each second
/// new one is kept. So those that are kept are spread evenly over all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    kept: Vec<f64>,
    /// How many there were.
    seen: usize,
    /// One in this many is kept, as a power of two.
    stride: u32,
}

impl Samples {
    pub(crate) const fn seen(&self) -> usize {
        self.seen
    }

    pub(crate) fn push(&mut self, value: f64) {
        if self.seen.trailing_zeros() >= self.stride {
            if self.kept.len() == KEPT {
                let mut at = 0;
                self.kept.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.stride += 1;
            }
            if self.seen.trailing_zeros() >= self.stride {
                self.kept.push(value);
            }
        }
        self.seen = self.seen.saturating_add(1);
    }

    /// The median; `None` if there is no value.
    pub(crate) fn median(&mut self) -> Option<f64> {
        let middle = self.kept.len() / 2;
        if self.kept.is_empty() {
            return None;
        }
        let (_, median, _) = self.kept.select_nth_unstable_by(middle, f64::total_cmp);
        Some(*median)
    }

    /// Forgets all, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        (self.seen, self.stride) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_any_number_is_about_right_and_the_memory_is_bounded() {
        let mut samples = Samples::default();
        assert_eq!(samples.median(), None);
        for n in 1..=100_000 {
            samples.push(f64::from(n));
            assert_eq!(samples.seen(), n as usize);
            assert!(samples.kept.len() <= KEPT);
        }
        let median = samples.median().unwrap();
        assert!((45_000.0..55_000.0).contains(&median), "{median}");
        samples.clear();
        for value in [3.0, 1.0, 2.0] {
            samples.push(value);
        }
        assert_eq!(samples.median(), Some(2.0));
    }
}
