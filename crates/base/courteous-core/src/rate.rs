use std::{error::Error, fmt, num::NonZeroU32, str::FromStr, time::Duration};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// What a period is written in, longest first.
const UNITS: [(&str, u64); 7] = [
    ("d", 24 * HOUR),
    ("h", HOUR),
    ("min", MINUTE),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
/// The text of [`Rate::UNLIMITED`].
const UNLIMITED: &str = "unlimited";
/// What stands before a burst.
const BURST: &str = " burst ";
/// How exactly a rate that is no whole number is kept.
const FRACTIONS: f64 = 1e6;
/// The default burst comes back in this time: well above the timer's lateness.
const BURST_WITHIN: u64 = SECOND / 100;
/// Up to one token in this time there is no burst.
const EVEN: u64 = SECOND / 10;

/// How many tokens come back in how much time, and how many a bucket holds.
///
/// In any window of length `w`, at most `burst + rate * w` tokens are spent.
///
/// The default burst is 1 up to a rate of 10 per second: calls are spaced evenly, as a client that knows nothing of the
/// server's window should. Above that it is what comes back in 10 ms, and at least 2. Without a burst, a call that a timer
/// sends late delays all that follow; a timer is up to 2 ms late, which costs a rate of 10 per second 2 % at most, and much
/// of a rate of 1,000. A server that counts in fixed windows may see `burst` more than its limit in one of them.
///
/// Rates are exact: tokens are counted in integers, with the fractions that come back in each nanosecond.
///
/// # Text
///
/// A rate is read from text, and written as such: tokens, a period, and a burst that is not the default. `Debug` is the same.
///
/// | text | meaning |
/// |---|---|
/// | `25/s`, `0.5/s` | tokens in each second; the units are `ns`, `us`, `ms`, `s`, `min` or `m`, `h`, `d` |
/// | `100/10s` | tokens in each 10 seconds |
/// | `90000/min burst 1000` | with a burst of 1,000 |
/// | `unlimited` | [`Rate::UNLIMITED`] |
///
/// ```
/// use courteous_core::Rate;
///
/// let rate: Rate = "90000/min burst 1000".parse()?;
/// assert_eq!((rate.tokens(), rate.burst().get()), (90_000, 1_000));
/// assert_eq!(rate.to_string(), "90000/min burst 1000");
/// let error = "25/x".parse::<Rate>().unwrap_err();
/// assert_eq!(error.to_string(), "invalid rate `25/x`: its unit must be `ms`, `s`, `min`, `h` or `d`");
/// # Ok::<_, courteous_core::InvalidRate>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    tokens: u64,
    /// The nanoseconds in which `tokens` come back.
    per: u64,
    burst: NonZeroU32,
}

impl Rate {
    /// No limit that a client could reach: a bucket with it only listens to what the server says.
    pub const UNLIMITED: Self = Self {
        tokens: 1,
        per: 1,
        burst: NonZeroU32::MAX,
    };

    /// `tokens` in each `per`.
    ///
    /// # Errors
    ///
    /// If either is zero, if a token would take less than a nanosecond, or if `per` is more than 500 years.
    pub fn new(tokens: u32, per: Duration) -> Result<Self, InvalidRate> {
        let shown = || format!("{tokens} per {per:?}");
        let Ok(nanos) = u64::try_from(per.as_nanos()) else {
            return Err(InvalidRate::new(
                shown(),
                "the period must be at most 500 years",
            ));
        };
        if nanos == 0 {
            return Err(InvalidRate::new(shown(), "the period must be above zero"));
        }
        Self::exact(u64::from(tokens), nanos).map_err(|rule| InvalidRate::new(shown(), rule))
    }

    /// `tokens` in each second. Fractions are kept to six digits, and a rate below one as a whole number of nanoseconds
    /// per token.
    ///
    /// # Errors
    ///
    /// If `tokens` is zero, negative, infinite or not a number, or a token would take less than a nanosecond or more than
    /// 100 years.
    pub fn per_second(tokens: f64) -> Result<Self, InvalidRate> {
        Self::fractional(tokens, SECOND, "s")
    }

    /// `tokens` in each minute, as [`per_second`](Self::per_second).
    ///
    /// # Errors
    ///
    /// As [`per_second`](Self::per_second).
    pub fn per_minute(tokens: f64) -> Result<Self, InvalidRate> {
        Self::fractional(tokens, MINUTE, "m")
    }

    /// `tokens` in each hour, as [`per_second`](Self::per_second).
    ///
    /// # Errors
    ///
    /// As [`per_second`](Self::per_second).
    pub fn per_hour(tokens: f64) -> Result<Self, InvalidRate> {
        Self::fractional(tokens, HOUR, "h")
    }

    /// The rate that cannot exceed a server's fixed window of `quota` requests in each `window`, wherever the window begins:
    /// `burst` at once, and the rest evenly, `(quota - burst) / window`.
    ///
    /// # Errors
    ///
    /// If `burst` leaves nothing of the quota, and as [`new`](Self::new).
    pub fn within_window(
        quota: u32,
        window: Duration,
        burst: NonZeroU32,
    ) -> Result<Self, InvalidRate> {
        let Some(rest @ 1..) = quota.checked_sub(burst.get()) else {
            let shown = format!("{quota} per {window:?} with a burst of {burst}");
            return Err(InvalidRate::new(shown, "the burst must be below the quota"));
        };
        Self::new(rest, window).map(|rate| rate.with_burst(burst))
    }

    /// Lets a bucket that was left alone hold `burst` tokens, which may then be spent at once. A call that costs more than
    /// that is rejected.
    #[must_use]
    pub const fn with_burst(mut self, burst: NonZeroU32) -> Self {
        self.burst = burst;
        self
    }

    /// How many tokens a full bucket holds.
    #[must_use]
    pub const fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// The time in which one token comes back, rounded down to a nanosecond.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration::from_nanos(self.per / self.tokens)
    }

    /// How many tokens come back in each [`per`](Self::per). With it, the exact rate.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The nanoseconds in which [`tokens`](Self::tokens) come back.
    #[must_use]
    pub const fn per(&self) -> u64 {
        self.per
    }

    fn fractional(tokens: f64, per: u64, unit: &str) -> Result<Self, InvalidRate> {
        let parts = || {
            if !(tokens.is_finite() && tokens > 0.0) {
                return Err("it must be a number above zero");
            }
            let interval = per as f64 / tokens;
            if interval > 100.0 * 366.0 * 24.0 * HOUR as f64 {
                return Err("a token must take at most 100 years");
            }
            // Casts from a float saturate; `exact` checks what is then out of range.
            if tokens.fract() == 0.0 {
                Self::exact(tokens as u64, per)
            } else if tokens < 1.0 {
                Self::exact(1, interval.round() as u64)
            } else {
                let scaled = (tokens * FRACTIONS).round() as u64;
                let per = per.checked_mul(FRACTIONS as u64);
                let per = per.ok_or("in so long a period the tokens must be a whole number")?;
                Self::exact(scaled, per)
            }
        };
        parts().map_err(|rule| InvalidRate::new(format!("{tokens}/{unit}"), rule))
    }

    fn exact(tokens: u64, per: u64) -> Result<Self, &'static str> {
        if tokens == 0 {
            return Err("it must be above zero");
        }
        if tokens > per {
            return Err("a token must take at least a nanosecond");
        }
        let even = u128::from(tokens) * u128::from(EVEN) <= u128::from(per);
        let burst = if even {
            1
        } else {
            (u128::from(tokens) * u128::from(BURST_WITHIN) / u128::from(per)).max(2)
        };
        let burst = u32::try_from(burst).ok().and_then(NonZeroU32::new);
        Ok(Self {
            tokens,
            per,
            burst: burst.unwrap_or(NonZeroU32::MAX),
        })
    }
}

/// Reads `"10/s"`, `"0.5/s"`, `"100/10s"`, `"90000/min burst 1000"`, `"unlimited"`: see [`Rate`](Rate#text).
impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let invalid = |rule| InvalidRate::new(text.to_owned(), rule);
        if text == UNLIMITED {
            return Ok(Self::UNLIMITED);
        }
        let (rate, burst) = match text.split_once(BURST) {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (number, period) = rate
            .split_once('/')
            .ok_or_else(|| invalid("it must read like `10/s`"))?;
        let per = read_period(period).map_err(invalid)?;
        // The standard library's parsers alone would take `+5`, `inf` and `1e9`.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let decimal = number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        let rate = match (number.parse(), number.parse()) {
            (Ok(tokens @ 1..), _) if digits => Self::exact(tokens, per).map_err(invalid)?,
            (_, Ok(tokens)) if decimal => {
                Self::fractional(tokens, per, period).map_err(|error| invalid(error.rule()))?
            }
            _ => {
                return Err(invalid(
                    "its number must be a decimal one, like `10` or `0.5`",
                ));
            }
        };
        let Some(burst) = burst else {
            return Ok(rate);
        };
        let digits = burst.bytes().all(|byte| byte.is_ascii_digit());
        match burst.parse() {
            Ok(burst) if digits => Ok(rate.with_burst(burst)),
            _ => Err(invalid("its burst must be a whole number above zero")),
        }
    }
}

/// The nanoseconds of `s`, or of `10s`.
fn read_period(text: &str) -> Result<u64, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let unit = match unit {
        "m" => MINUTE,
        unit => {
            let known = UNITS.iter().find(|(name, _)| *name == unit);
            known
                .ok_or("its unit must be `ms`, `s`, `min`, `h` or `d`")?
                .1
        }
    };
    if count.is_empty() {
        return Ok(unit);
    }
    let count: Option<u64> = count.parse().ok();
    match count.and_then(|count| count.checked_mul(unit)) {
        None => Err("its period must be at most 500 years"),
        Some(0) => Err("its period must be above zero"),
        Some(per) => Ok(per),
    }
}

/// The text that reads as this rate: see [`Rate`](Rate#text).
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNLIMITED {
            return f.write_str(UNLIMITED);
        }
        let fractions = FRACTIONS as u64;
        let decimal = self.per / fractions;
        let is_decimal = UNITS[1..4].iter().any(|&(_, unit)| unit == decimal)
            && self.per.is_multiple_of(fractions)
            && !self.tokens.is_multiple_of(fractions)
            // A float has as many digits.
            && (fractions..1 << 53).contains(&self.tokens);
        let per = match is_decimal {
            true => {
                let number = format!("{}.{:06}", self.tokens / fractions, self.tokens % fractions);
                f.write_str(number.trim_end_matches('0'))?;
                decimal
            }
            false => {
                write!(f, "{}", self.tokens)?;
                self.per
            }
        };
        let divides = |&&(_, unit): &&(&str, u64)| per.is_multiple_of(unit);
        if let Some(&(name, unit)) = UNITS.iter().find(divides) {
            match per / unit {
                1 => write!(f, "/{name}")?,
                count => write!(f, "/{count}{name}")?,
            }
        }
        let default = Self::exact(self.tokens, self.per).map(|rate| rate.burst);
        match default == Ok(self.burst) {
            true => Ok(()),
            false => write!(f, "{BURST}{}", self.burst),
        }
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A rate that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRate {
    value: String,
    rule: &'static str,
}

impl InvalidRate {
    const fn new(value: String, rule: &'static str) -> Self {
        Self { value, rule }
    }

    const fn rule(&self) -> &'static str {
        self.rule
    }
}

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid rate `{}`: {}", self.value, self.rule)
    }
}

impl Error for InvalidRate {}
