use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// A seeded source of random numbers. Each purpose has its own stream, so that two stacks meet the
/// same arrivals, however much they draw elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Chance(SmallRng);

/// The purpose of the numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Arrivals = 1,
    Work,
    Network,
    Clients,
    Ideal,
}

impl Chance {
    pub(crate) fn new(seed: u64, stream: Stream) -> Self {
        Self(SmallRng::seed_from_u64(mix(seed, stream as u64)))
    }

    /// Uniform in 0 (included) to 1 (excluded).
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// Draws nothing if the outcome is certain.
    pub(crate) fn hits(&mut self, probability: f64) -> bool {
        probability >= 1.0 || (probability > 0.0 && self.unit() < probability)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n <= 1 { 0 } else { self.0.random_range(0..n) }
    }

    pub(crate) fn seed(&mut self) -> u64 {
        self.0.random()
    }

    /// Exponential: the time between the arrivals of a Poisson process.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Lognormal with that mean; `sigma` is the deviation of the logarithm.
    pub(crate) fn lognormal(&mut self, mean: f64, sigma: f64) -> f64 {
        let normal = (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos();
        (mean.ln() - sigma * sigma / 2.0 + sigma * normal).exp()
    }
}

/// A seed for one of many.
pub(crate) fn mix(seed: u64, n: u64) -> u64 {
    // SplitMix64: neighbours get unrelated seeds.
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(n: usize, mut draw: impl FnMut() -> f64) -> f64 {
        (0..n).map(|_| draw()).sum::<f64>() / n as f64
    }

    #[test]
    fn distributions_have_the_mean_that_they_are_given() {
        let mut chance = Chance::new(7, Stream::Work);
        assert!((mean(200_000, || chance.lognormal(50.0, 0.5)) - 50.0).abs() < 0.3);
        assert!((mean(200_000, || chance.exponential(10.0)) - 10.0).abs() < 0.1);
    }

    #[test]
    fn streams_of_one_seed_differ_and_one_stream_repeats() {
        let draw = |seed, stream| Chance::new(seed, stream).seed();
        assert_eq!(draw(1, Stream::Work), draw(1, Stream::Work));
        assert_ne!(draw(1, Stream::Work), draw(1, Stream::Network));
        assert_ne!(draw(1, Stream::Work), draw(2, Stream::Work));
    }
}
