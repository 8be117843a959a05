use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use courteous_core::Rate;
use rustix::time::{ClockId, clock_gettime};

/// The clock that all processes of a machine share, in nanoseconds from an arbitrary instant. The
/// clock stands still while the machine is suspended, as Tokio's clock does.
#[must_use]
pub fn machine_clock() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanos
}

/// When requests were sent, and by which worker. A handle that all senders share.
///
/// # What it proves
///
/// No test can read the clock at the exact instant when a store decides to send a request. On a
/// busy machine, a thread may pause for long between that instant and the test's. So two instants
/// are kept for each request: one *before* the decision and one *after* it. A window counts a
/// request only if the window holds both instants. What [`worst`](Self::worst) finds is therefore
/// true of the requests themselves, wherever between its two instants each request was sent. It
/// never blames a store for a delay of the machine. It misses an excess only if requests paused
/// across the edge of the window.
#[derive(Clone, Debug, Default)]
pub struct Sends {
    list: Arc<Mutex<Vec<Sent>>>,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a record")]
pub struct Sent {
    /// The worker that sent it: 0, 1, 2, ...
    pub worker: usize,
    /// An instant of the [machine's clock](machine_clock) before the request was sent.
    pub after: u64,
    /// An instant of that clock after the request was sent.
    pub by: u64,
}

impl Sends {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sent request.
    pub fn push(&self, sent: Sent) {
        self.with(|list| list.push(sent));
    }

    /// How many requests were sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|list| list.len())
    }

    /// Whether no request was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many requests each of `workers` has sent from the instant `since` until now.
    #[must_use]
    pub fn by_worker(&self, workers: usize, since: u64) -> Vec<usize> {
        let mut counts = vec![0; workers];
        self.with(|list| {
            for sent in list.iter().filter(|sent| sent.after >= since) {
                counts[sent.worker] += 1;
            }
        });
        counts
    }

    /// All sent requests.
    #[must_use]
    pub fn all(&self) -> Vec<Sent> {
        self.with(|list| list.clone())
    }

    /// The window in which the most was sent, relative to the `burst + rate * w` requests that
    /// `rate` allows in a window of length w. `None` if nothing was sent.
    #[must_use]
    pub fn worst(&self, rate: Rate) -> Option<Window> {
        worst(self.all(), rate)
    }

    /// Panics if more was sent in any window than `rate` allows.
    pub fn assert_within(&self, rate: Rate) {
        if let Some(window) = self.worst(rate) {
            assert!(window.is_within(), "{window}");
        }
    }

    fn with<T>(&self, see: impl FnOnce(&mut Vec<Sent>) -> T) -> T {
        see(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The requests that were sent in a window, and how many were allowed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    start: u64,
    end: u64,
    sent: usize,
    rate: Rate,
}

impl Window {
    /// When the window began, on the [machine's clock](machine_clock).
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// How long the window was.
    #[must_use]
    pub const fn length(&self) -> Duration {
        Duration::from_nanos(self.end - self.start)
    }

    /// How many requests were sent in the window.
    #[must_use]
    pub const fn sent(&self) -> usize {
        self.sent
    }

    /// How many requests were allowed in the window.
    #[must_use]
    pub fn allowed(&self) -> f64 {
        let fresh = (self.end - self.start) as f64 * self.rate.tokens() as f64;
        f64::from(self.rate.burst().get()) + fresh / self.rate.per() as f64
    }

    /// Whether no more was sent than allowed, computed in integers.
    #[must_use]
    pub fn is_within(&self) -> bool {
        let (tokens, per) = parts(self.rate);
        let over = self.sent as i128 - i128::from(self.rate.burst().get());
        over * per <= i128::from(self.end - self.start) * tokens
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, length, allowed) = (self.sent, self.length(), self.allowed());
        write!(f, "{sent} sent in {length:.3?}, {allowed:.1} allowed")
    }
}

/// How evenly `counts` are spread: 1 if all are equal, 1/n if one worker has all (R. Jain et al.,
/// DEC-TR-301, 1984).
#[must_use]
pub fn jain_index(counts: &[usize]) -> f64 {
    let sum: f64 = counts.iter().map(|&count| count as f64).sum();
    let squares: f64 = counts.iter().map(|&count| (count as f64).powi(2)).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (counts.len() as f64 * squares)
}

fn parts(rate: Rate) -> (i128, i128) {
    (i128::from(rate.tokens()), i128::from(rate.per()))
}

/// For a window from `a` to `b`, the excess is `requests * per - (b - a) * tokens`, of the requests
/// with both instants in it. The loop visits the starts from the latest to the earliest. Each start adds its
/// request to all ends that are not before it. The loop then takes the best of the ends that are
/// not before the start.
fn worst(mut list: Vec<Sent>, rate: Rate) -> Option<Window> {
    let (tokens, per) = parts(rate);
    let mut ends: Vec<_> = list.iter().map(|sent| sent.by).collect();
    ends.sort_unstable();
    let mut best = Peaks::new(ends.iter().map(|&end| -i128::from(end) * tokens).collect());
    list.sort_unstable_by_key(|sent| sent.after);
    let mut found: Option<(i128, u64, usize)> = None;
    for sent in list.iter().rev() {
        best.add(ends.partition_point(|&end| end < sent.by), per);
        let (peak, end) = best.peak_from(ends.partition_point(|&end| end < sent.after));
        let excess = peak + i128::from(sent.after) * tokens;
        if found.is_none_or(|(most, ..)| excess > most) {
            found = Some((excess, sent.after, end));
        }
    }
    let (_, start, end) = found?;
    let end = ends[end];
    let inside = list
        .iter()
        .filter(|sent| sent.after >= start && sent.by <= end);
    Some(Window {
        start,
        end,
        sent: inside.count(),
        rate,
    })
}

/// Numbers that support two operations: add to all numbers from an index on, and find the highest
/// number from an index on. A tree of sums over a tree of maxima.
struct Peaks {
    leaves: usize,
    /// For each node, the highest number below it and that number's leaf, without what was added
    /// above the node.
    peaks: Vec<(i128, usize)>,
    added: Vec<i128>,
}

impl Peaks {
    fn new(numbers: Vec<i128>) -> Self {
        let leaves = numbers.len().next_power_of_two();
        let mut peaks = vec![(i128::MIN / 2, 0); 2 * leaves];
        for (leaf, number) in numbers.into_iter().enumerate() {
            peaks[leaves + leaf] = (number, leaf);
        }
        for node in (1..leaves).rev() {
            peaks[node] = peaks[2 * node].max(peaks[2 * node + 1]);
        }
        Self {
            leaves,
            peaks,
            added: vec![0; 2 * leaves],
        }
    }

    /// Adds `amount` to all numbers from `first` on.
    fn add(&mut self, first: usize, amount: i128) {
        // All right siblings on the way up are wholly behind `first`.
        let mut node = self.leaves + first;
        self.add_below(node, amount);
        while node > 1 {
            if node.is_multiple_of(2) {
                self.add_below(node + 1, amount);
            }
            node /= 2;
            let (peak, leaf) = self.peaks[2 * node].max(self.peaks[2 * node + 1]);
            self.peaks[node] = (peak + self.added[node], leaf);
        }
    }

    fn add_below(&mut self, node: usize, amount: i128) {
        self.peaks[node].0 += amount;
        self.added[node] += amount;
    }

    /// The highest number from `first` on, and its place.
    fn peak_from(&self, first: usize) -> (i128, usize) {
        let mut node = self.leaves + first;
        let mut best = self.peaks[node];
        while node > 1 {
            if node.is_multiple_of(2) {
                best = best.max(self.peaks[node + 1]);
            }
            node /= 2;
            best.0 += self.added[node];
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use courteous_testkit::Chance;

    const MS: u64 = 1_000_000;

    fn sends(list: &[(u64, u64)]) -> Sends {
        let sends = Sends::new();
        for &(after, by) in list {
            let worker = 0;
            sends.push(Sent { worker, after, by });
        }
        sends
    }

    #[test]
    fn one_too_many_is_found_and_all_that_are_allowed_are_not() {
        // 100 per second, burst 2: two at once, then one every 10 ms.
        let rate = Rate::per_second(100.0)
            .unwrap()
            .with_burst(2.try_into().unwrap());
        let on_time = [0, 0, 10, 20, 30].map(|at| (at * MS, at * MS));
        let worst = sends(&on_time).worst(rate).unwrap();
        assert!(worst.is_within(), "{worst}");
        let mut early = on_time;
        early[4] = (30 * MS - 1, 30 * MS - 1);
        let worst = sends(&early).worst(rate).unwrap();
        assert!(!worst.is_within());
        let length = Duration::from_nanos(30 * MS - 1);
        assert_eq!((worst.sent(), worst.length()), (5, length));
    }

    #[test]
    fn a_sender_that_stood_still_is_not_blamed() {
        let rate = Rate::per_second(100.0)
            .unwrap()
            .with_burst(1.try_into().unwrap());
        // The first request was sent some time before the second.
        assert!(
            sends(&[(0, 20 * MS), (20 * MS, 20 * MS)])
                .worst(rate)
                .unwrap()
                .is_within()
        );
        assert!(
            !sends(&[(15 * MS, 20 * MS), (20 * MS, 20 * MS)])
                .worst(rate)
                .unwrap()
                .is_within()
        );
    }

    #[test]
    fn the_worst_window_is_that_of_trying_all_of_them() {
        let mut chance = Chance::new(7);
        for _ in 0..300 {
            let count = 1 + chance.below(40);
            let list: Vec<_> = (0..count)
                .map(|_| {
                    let after = chance.below(50) * MS;
                    (after, after + chance.below(4) * MS)
                })
                .collect();
            let rate = Rate::per_second(1.0 + chance.below(2000) as f64).unwrap();
            let (tokens, per) = parts(rate);
            let excess = |start: u64, end: u64| {
                let inside = list
                    .iter()
                    .filter(|(after, by)| *after >= start && *by <= end);
                inside.count() as i128 * per - (i128::from(end) - i128::from(start)) * tokens
            };
            let starts = list.iter().map(|sent| sent.0);
            let most = starts
                .flat_map(|start| list.iter().map(move |sent| (start, sent.1)))
                .filter(|(start, end)| start <= end)
                .map(|(start, end)| excess(start, end))
                .max()
                .unwrap();
            let found = sends(&list).worst(rate).unwrap();
            assert_eq!(excess(found.start, found.end), most, "{list:?} {rate:?}");
        }
    }

    #[test]
    fn an_even_spread_is_one_and_a_monopoly_one_by_all() {
        assert_eq!(jain_index(&[5, 5, 5, 5]), 1.0);
        assert_eq!(jain_index(&[8, 0, 0, 0]), 0.25);
        assert_eq!(jain_index(&[0, 0]), 1.0);
    }

    #[test]
    fn the_clock_is_that_of_tokio() {
        let (clock, instant) = (machine_clock(), tokio::time::Instant::now());
        std::thread::park_timeout(Duration::from_millis(20));
        let (passed, clock) = (instant.elapsed(), machine_clock() - clock);
        assert!(passed <= Duration::from_nanos(clock) && passed >= Duration::from_millis(15));
    }
}
