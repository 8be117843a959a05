use std::{fs, thread::available_parallelism};

/// The compiler that made this program.
pub(crate) const RUSTC: &str = env!("COURTEOUS_BENCH_RUSTC");

/// What was measured in addition to courteous.
const PEERS: [&str; 12] = [
    "tokio",
    "tower",
    "tower-resilience-bulkhead",
    "tower-resilience-ratelimiter",
    "tower-resilience-retry",
    "tower-resilience-timelimiter",
    "governor",
    "leaky-bucket",
    "hyper-util",
    "reqwest",
    "reqwest-middleware",
    "reqwest-retry",
];

/// Date, machine and compiler, in one line.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("an unknown processor", |(_, model)| model.trim());
    let cores = available_parallelism().map_or(1, |cores| cores.get());
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    let os = std::env::consts::OS;
    format!("{date}, {model}, {cores} cores, {os}, {RUSTC}")
}

/// The peers with their versions in the lock file, in one line.
pub(crate) fn versions() -> String {
    let lock = include_str!("../../../../../Cargo.lock");
    let version = |name: &str| {
        let entry = format!("name = \"{name}\"\nversion = \"");
        let rest = lock.split_once(&entry)?.1;
        Some(rest.split_once('"')?.0)
    };
    PEERS
        .map(|name| format!("{name} {}", version(name).unwrap_or("?")))
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_a_version() {
        assert!(!versions().contains('?'), "{}", versions());
    }
}
