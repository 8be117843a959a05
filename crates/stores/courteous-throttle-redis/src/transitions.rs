use crate::keys::Keys;

/// The changes that a call to Redis has shown, to be reported as events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transitions {
    /// Redis answers again (`reached`), or does not answer any more (`lost`).
    pub(crate) reached: bool,
    pub(crate) lost: bool,
    pub(crate) late: bool,
    pub(crate) cold: bool,
    pub(crate) stepped: bool,
    /// How many rates are stated, if that number has changed.
    pub(crate) rates: Option<u32>,
}

impl Transitions {
    /// Emits the events. Must not be called under a bucket's lock, as a subscriber may look at the
    /// bucket.
    pub(crate) fn report(self, keys: &Keys, fault: Option<&str>) {
        #[cfg(feature = "tracing")]
        {
            let key = keys.names()[0].as_str();
            // A server's answer may be long.
            let fault = fault.map(|fault| fault.chars().take(300).collect::<String>());
            let fault = fault.as_deref();
            if self.reached {
                tracing::info!(name: "reached", target: "courteous::throttle_redis", key, "Redis answers");
            }
            if self.lost {
                tracing::warn!(name: "lost", target: "courteous::throttle_redis", key, error = fault, "Redis cannot be reached");
            }
            if self.late {
                tracing::warn!(name: "late", target: "courteous::throttle_redis", key, "a call to Redis takes longer than a lease");
            }
            if self.cold {
                tracing::warn!(name: "cold", target: "courteous::throttle_redis", key, "Redis has lost the schedule: a new one begins");
            }
            if self.stepped {
                tracing::warn!(name: "stepped", target: "courteous::throttle_redis", key, "the clock of Redis was set forward");
            }
            if let Some(rates) = self.rates.filter(|&rates| rates > 1) {
                tracing::warn!(
                    name: "rates_differ",
                    target: "courteous::throttle_redis",
                    key,
                    rates,
                    "workers state different rates: the strictest counts"
                );
            }
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (self, keys, fault);
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use courteous_testkit::Events;

    use super::*;

    #[test]
    fn each_change_is_told_with_the_buckets_key() {
        let events = Events::listen();
        let all = Transitions {
            reached: true,
            lost: true,
            late: true,
            cold: true,
            stepped: true,
            rates: Some(2),
        };
        let keys = Keys::new("api", None);
        Transitions::default().report(&keys, None);
        assert!(events.take().is_empty());
        all.report(&keys, Some("timed out"));
        let told = events.take();
        let starts: Vec<_> = told
            .iter()
            .map(|line| line.split(" message=").next().unwrap_or_default())
            .collect();
        let key = keys.names()[0].as_str();
        let expected = [
            format!("INFO courteous::throttle_redis reached key={key}"),
            format!("WARN courteous::throttle_redis lost key={key} error=timed out"),
            format!("WARN courteous::throttle_redis late key={key}"),
            format!("WARN courteous::throttle_redis cold key={key}"),
            format!("WARN courteous::throttle_redis stepped key={key}"),
            format!("WARN courteous::throttle_redis rates_differ key={key} rates=2"),
        ];
        assert_eq!(starts, expected);
    }
}
