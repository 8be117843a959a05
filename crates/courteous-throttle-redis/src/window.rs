use std::{error::Error, fmt, num::NonZeroU32, time::Duration};

use courteous_core::Rate;

/// The rate of a server that counts in fixed windows: `quota` requests in each `window`, whenever its windows begin.
///
/// With a burst of `burst`, the rate is what is left of the quota, in each window: so no window of that length, wherever
/// it begins, sees more than `quota` requests.
///
/// # Errors
///
/// If the burst is not below the quota, or there can be no such [`Rate`].
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
/// use courteous_throttle_redis::rate_of_window;
///
/// let burst = NonZeroU32::new(20).unwrap();
/// let rate = rate_of_window(100, Duration::from_secs(60), burst)?;
/// assert_eq!((rate.interval(), rate.burst()), (Duration::from_millis(750), burst));
/// # Ok::<(), courteous_throttle_redis::InvalidWindow>(())
/// ```
pub fn rate_of_window(
    quota: u32,
    window: Duration,
    burst: NonZeroU32,
) -> Result<Rate, InvalidWindow> {
    let rest = quota.checked_sub(burst.get()).filter(|&rest| rest > 0);
    let rate = rest.and_then(|rest| Rate::new(rest, window).ok());
    match rate {
        Some(rate) => Ok(rate.with_burst(burst)),
        None => Err(InvalidWindow {
            quota,
            window,
            burst,
        }),
    }
}

/// A fixed window that cannot be kept to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidWindow {
    quota: u32,
    window: Duration,
    burst: NonZeroU32,
}

impl fmt::Display for InvalidWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no rate keeps to {} per {:?} with a burst of {}: the burst must be below the quota, and the window above zero",
            self.quota, self.window, self.burst
        )
    }
}

impl Error for InvalidWindow {}
