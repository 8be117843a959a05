use crate::{
    Tick,
    chance::{Chance, Stream},
    scenario::{Load, Scenario},
};

/// When calls begin, and which client makes them: the same for every stack. A batch's jobs begin
/// when its clients are ready for them, so a batch has no arrivals here.
pub(crate) fn arrivals(scenario: &Scenario) -> Vec<(Tick, usize)> {
    let mut chance = Chance::new(scenario.seed, Stream::Arrivals);
    let (per_second, surge, end) = match &scenario.load {
        Load::Open {
            per_second,
            surge,
            end,
        } => (per_second, surge, end),
        Load::Burst { calls, .. } => {
            let call = |_| (0, chance.below(scenario.clients));
            return (0..*calls).map(call).collect();
        }
        Load::Batch { .. } => return Vec::new(),
    };
    let rate = |now: Tick| match surge {
        Some((during, factor)) if during.contains(&now) => per_second * factor,
        _ => *per_second,
    };
    let mut at = 0.0;
    std::iter::from_fn(|| {
        at += chance.exponential(1000.0 / rate(at as Tick));
        ((at as Tick) < *end).then(|| (at as Tick, chance.below(scenario.clients)))
    })
    .collect()
}
