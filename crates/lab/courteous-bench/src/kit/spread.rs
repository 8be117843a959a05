use std::fmt;

/// What was measured in many rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of at least one sample.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self {
            min: at(0),
            median: at(sorted.len() / 2),
            max: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// `min < **median** < max`, in whole numbers, or with digits after the point if the format says so.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        write!(
            f,
            "{:.digits$} < **{:.digits$}** < {:.digits$}",
            self.min, self.median, self.max
        )
    }
}

/// Ours in proportion to the lowest of the peers' values, for a table; a dash if there is none.
pub(crate) fn to_best(ours: f64, peers: impl IntoIterator<Item = f64>) -> String {
    let best = peers.into_iter().reduce(f64::min);
    best.map_or_else(|| "-".to_owned(), |best| format!("{:.2}", ours / best))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let spread = Spread::of(&[3.0, 1.0, 100.0, 2.0, 4.0]);
        assert_eq!(spread.to_string(), "1 < **3** < 100");
        assert_eq!(format!("{spread:.1}"), "1.0 < **3.0** < 100.0");
    }
}
