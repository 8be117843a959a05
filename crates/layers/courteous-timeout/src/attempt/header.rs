use std::time::Duration;

use courteous_core::DeadlineFormat;
use http::{HeaderMap, HeaderName};

/// The header field that tells the server how much time is left.
#[derive(Clone, Debug)]
pub(super) struct DeadlineHeader {
    name: HeaderName,
    format: DeadlineFormat,
}

impl DeadlineHeader {
    pub(super) const fn new(name: HeaderName, format: DeadlineFormat) -> Self {
        Self { name, format }
    }

    /// Sees to it that `headers` state no more than `left`. `None` if so little is left that it
    /// cannot be stated.
    pub(super) fn state(&self, left: Duration, headers: &mut HeaderMap) -> Option<Stated> {
        let value = self.format.write(left)?;
        let stated = headers.get_all(&self.name);
        let is_short = |value| self.format.read(value).is_some_and(|time| time <= left);
        // It is unknown which one of several fields the server takes, so each has to be short
        // enough.
        if headers.contains_key(&self.name) && stated.iter().all(is_short) {
            return Some(Stated::ByCaller);
        }
        let short = stated.iter().filter(|&value| is_short(value));
        let shortest = short.min_by_key(|value| self.format.read(value)).cloned();
        let stated = match shortest {
            Some(_) => Stated::ByCaller,
            None => Stated::ByUs,
        };
        headers.insert(self.name.clone(), shortest.unwrap_or(value));
        Some(stated)
    }
}

/// Whose deadline the server was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stated {
    ByUs,
    /// The caller's, which is shorter than ours.
    ByCaller,
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NAME: HeaderName = HeaderName::from_static("x-time-left");

    fn state(left: Duration, stated: &[&'static str]) -> Vec<String> {
        let header = DeadlineHeader::new(NAME, DeadlineFormat::Millis);
        let mut headers = HeaderMap::new();
        for value in stated {
            headers.append(NAME, HeaderValue::from_static(value));
        }
        assert!(header.state(left, &mut headers).is_some());
        let values = headers.get_all(NAME).iter();
        values.map(|v| v.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_stated_time_is_only_ever_shortened() {
        let left = Duration::from_millis(1500);
        assert_eq!(state(left, &[]), ["1500"]);
        assert_eq!(state(left, &["2000"]), ["1500"]);
        assert_eq!(state(left, &["1500"]), ["1500"]);
        assert_eq!(state(left, &["0200"]), ["0200"]);
    }

    #[test]
    fn of_several_stated_times_the_shortest_stays() {
        let left = Duration::from_millis(1500);
        assert_eq!(state(left, &["300", "200"]), ["300", "200"]);
        assert_eq!(state(left, &["2000", "200", "300"]), ["200"]);
        assert_eq!(state(left, &["2000", "3000"]), ["1500"]);
    }

    #[test]
    fn what_is_no_time_is_replaced() {
        let left = Duration::from_millis(1500);
        assert_eq!(state(left, &["soon"]), ["1500"]);
        assert_eq!(state(left, &["soon", "20"]), ["20"]);
        assert_eq!(state(left, &["+20"]), ["1500"]);
    }

    #[test]
    fn less_than_can_be_stated_is_not_stated() {
        let header = DeadlineHeader::new(NAME, DeadlineFormat::Millis);
        let mut headers = HeaderMap::new();
        assert_eq!(header.state(Duration::from_micros(999), &mut headers), None);
        assert!(headers.is_empty());
    }
}
