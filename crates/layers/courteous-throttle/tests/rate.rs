//! What is a rate, and what is not.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{num::NonZeroU32, time::Duration};

use courteous_throttle::Rate;
use proptest::prelude::*;

#[test]
fn a_rate_is_read_as_it_is_written() {
    for (text, nanos, burst) in [
        ("10/s", 100_000_000, 1),
        ("11/s", 90_909_090, 2),
        ("1000/s", 1_000_000, 10),
        ("20000/s", 50_000, 200),
        ("0.5/s", 2_000_000_000, 1),
        ("2.5/s", 400_000_000, 1),
        ("5/m", 12_000_000_000, 1),
        ("5/min", 12_000_000_000, 1),
        ("1/d", 86_400_000_000_000, 1),
        ("100/10s", 100_000_000, 1),
        ("0.5/10s", 20_000_000_000, 1),
        ("7/250us", 35_714, 280),
        ("90000/min burst 1000", 666_666, 1000),
        ("unlimited", 1, u32::MAX),
        ("1000/h", 3_600_000_000, 1),
        ("1000000000/s", 1, 10_000_000),
    ] {
        let rate: Rate = text.parse().unwrap();
        assert_eq!(rate.interval(), Duration::from_nanos(nanos), "{text}");
        assert_eq!(rate.burst().get(), burst, "{text}");
    }
}

#[test]
fn what_is_no_rate_is_rejected_with_its_rule() {
    for (text, rule) in [
        ("10", "it must read like `10/s`"),
        ("10/w", "its unit must be `ms`, `s`, `min`, `h` or `d`"),
        ("10/ s", "its unit must be `ms`, `s`, `min`, `h` or `d`"),
        ("10/10", "its unit must be `ms`, `s`, `min`, `h` or `d`"),
        ("10/0s", "its period must be above zero"),
        ("10/999999d", "its period must be at most 500 years"),
        (
            "1.5/d",
            "in so long a period the tokens must be a whole number",
        ),
        (
            "10/s burst 0",
            "its burst must be a whole number above zero",
        ),
        (
            "10/s burst +1",
            "its burst must be a whole number above zero",
        ),
        ("10/s burst ", "its burst must be a whole number above zero"),
        (
            "inf/s",
            "its number must be a decimal one, like `10` or `0.5`",
        ),
        (
            "+5/s",
            "its number must be a decimal one, like `10` or `0.5`",
        ),
        (
            "1e9/s",
            "its number must be a decimal one, like `10` or `0.5`",
        ),
        (
            "-1/s",
            "its number must be a decimal one, like `10` or `0.5`",
        ),
        ("/s", "its number must be a decimal one, like `10` or `0.5`"),
        ("0/s", "it must be a number above zero"),
        ("1000000001/s", "a token must take at least a nanosecond"),
        ("0.0000000001/h", "a token must take at most 100 years"),
    ] {
        let error = text.parse::<Rate>().unwrap_err();
        assert_eq!(error.to_string(), format!("invalid rate `{text}`: {rule}"));
    }
    for tokens in [
        0.0,
        -0.0,
        -1.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
    ] {
        assert!(Rate::per_second(tokens).is_err(), "{tokens}");
        assert!(Rate::per_minute(tokens).is_err(), "{tokens}");
        assert!(Rate::per_hour(tokens).is_err(), "{tokens}");
    }
    assert!(Rate::new(0, Duration::from_secs(1)).is_err());
    assert!(Rate::new(1, Duration::ZERO).is_err());
    assert!(Rate::new(1, Duration::MAX).is_err());
    assert!(Rate::new(u32::MAX, Duration::from_nanos(1)).is_err());
}

#[test]
fn the_extremes_are_rates() {
    assert_eq!(
        Rate::new(1, Duration::from_nanos(1)).unwrap().interval(),
        Duration::from_nanos(1)
    );
    let slow = Rate::new(1, Duration::from_nanos(u64::MAX)).unwrap();
    assert_eq!(slow.interval(), Duration::from_nanos(u64::MAX));
    assert!(Rate::new(u32::MAX, Duration::from_nanos(u64::MAX)).is_ok());
}

#[test]
fn a_fixed_window_cannot_be_exceeded_wherever_it_begins() {
    let burst = NonZeroU32::new(20).unwrap();
    let minute = Duration::from_secs(60);
    let rate = Rate::within_window(100, minute, burst).unwrap();
    assert_eq!(rate, Rate::new(80, minute).unwrap().with_burst(burst));
    assert_eq!(
        Rate::within_window(20, minute, burst)
            .unwrap_err()
            .to_string(),
        "invalid rate `20 per 60s with a burst of 20`: the burst must be below the quota",
    );
}

#[test]
fn a_rate_is_written_as_it_reads() {
    for text in [
        "25/s",
        "60/min",
        "1000/h",
        "1/d",
        "1.5/s",
        "2.000001/min",
        "100/10s",
        "7/13ms",
        "3/250us",
        "1/ns",
        "90000/min burst 1000",
        "20/s burst 1",
        "unlimited",
    ] {
        let rate: Rate = text.parse().unwrap();
        assert_eq!(
            (rate.to_string(), format!("{rate:?}")),
            (text.into(), text.into())
        );
    }
    // Equal rates are written in one way.
    for (text, written) in [
        ("5/m", "5/min"),
        ("0.5/s", "1/2s"),
        ("10/s burst 1", "10/s"),
        ("60/60s", "60/min"),
    ] {
        assert_eq!(text.parse::<Rate>().unwrap().to_string(), written);
    }
}

proptest! {
    #[test]
    fn every_rate_is_read_from_what_is_written(
        tokens in 1..=u32::MAX,
        nanos in prop_oneof![1..1_000_000_000_u64, (1..1_000_u64).prop_map(|s| s * 1_000_000_000), any::<u64>()],
        burst in proptest::option::of(1..=u32::MAX),
        fraction in 0.001..10_000.0,
    ) {
        let rates = [
            Rate::new(tokens, Duration::from_nanos(nanos)),
            Rate::per_second(fraction),
            Rate::per_minute(fraction),
            Rate::per_hour(fraction),
        ];
        for rate in rates.into_iter().flatten() {
            let burst = burst.and_then(NonZeroU32::new).unwrap_or(rate.burst());
            let rate = rate.with_burst(burst);
            prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
        }
    }
}
