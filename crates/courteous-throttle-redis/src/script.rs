use std::time::Duration;

use crate::terms::Terms;

/// The script that reserves slots.
pub(crate) const SOURCE: &str = include_str!("reserve.lua");

/// What the script is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) worker: u64,
    pub(crate) terms: Terms,
    /// Less than this is of no use. With zero, no slot is asked for.
    pub(crate) need: u32,
    pub(crate) want: u32,
    /// A server asked this worker for a pause, which goes on for this long.
    pub(crate) closed_for: Duration,
    /// A server's quota lasts with a call in each `pace`, and is reset after `paced_for`.
    pub(crate) pace: Duration,
    pub(crate) paced_for: Duration,
    /// Redis' clock was set forward by `step` microseconds, as a worker saw when the skew was `skew`.
    pub(crate) skew: i64,
    pub(crate) step: i64,
}

impl Call {
    pub(crate) fn args(&self) -> [String; 10] {
        let nanos = |time: Duration| bounded(time).to_string();
        [
            format!("{:016x}", self.worker),
            self.terms.interval().to_string(),
            self.terms.burst().to_string(),
            self.need.to_string(),
            self.want.to_string(),
            nanos(self.closed_for),
            nanos(self.pace),
            nanos(self.paced_for),
            self.skew.to_string(),
            self.step.to_string(),
        ]
    }
}

/// In nanoseconds, and exact in floating point.
pub(crate) fn bounded(time: Duration) -> i64 {
    const MAX: i64 = 1 << 52;
    i64::try_from(time.as_nanos()).unwrap_or(MAX).min(MAX)
}

/// What the script answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) granted: u32,
    /// When the first slot begins, and where the schedule ends now: nanoseconds from the script's run on.
    pub(crate) first: i64,
    pub(crate) ends: i64,
    /// If nothing was granted: how long until there may be something.
    pub(crate) wait: Duration,
    pub(crate) workers: u32,
    /// How many different rates were stated lately; and the strictest of all.
    pub(crate) rates: u32,
    pub(crate) terms: Terms,
    pub(crate) closed_for: Duration,
    /// Redis' clock in microseconds, as corrected by `skew`.
    pub(crate) now: i64,
    pub(crate) skew: i64,
    /// Which run of which server this is.
    pub(crate) run: i64,
    /// Nothing was known of the schedule, which was begun anew.
    pub(crate) cold: bool,
}

impl Reply {
    /// `None` if it is no answer of this script's.
    pub(crate) fn read(values: &[i64]) -> Option<Self> {
        let &[
            granted,
            first,
            ends,
            wait,
            workers,
            rates,
            interval,
            burst,
            closed,
            now,
            skew,
            run,
            cold,
        ] = values
        else {
            return None;
        };
        Some(Self {
            granted: u32::try_from(granted).ok()?,
            first,
            ends,
            wait: Duration::from_nanos(u64::try_from(wait).ok()?),
            workers: u32::try_from(workers).ok()?,
            rates: u32::try_from(rates).ok()?,
            terms: Terms::new(u64::try_from(interval).ok()?, u32::try_from(burst).ok()?),
            closed_for: Duration::from_nanos(u64::try_from(closed).ok()?),
            now,
            skew,
            run,
            cold: cold != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::{prelude::*, test_runner::TestRunner};

    use super::*;
    use crate::{keys::Keys, model::Model};

    /// What happens between one call and the next.
    #[derive(Clone, Debug)]
    enum Event {
        /// Redis' clock reads that much more, or less.
        Clock(i64),
        /// All is lost.
        Flush,
        /// A call, that states a forward step with the skew of the last answer, or a wrong one.
        Call(Call, Option<(i64, bool)>),
    }

    fn nanos(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
        prop_oneof![4 => Just(Duration::ZERO), 1 => range.prop_map(Duration::from_nanos)]
    }

    fn call() -> impl Strategy<Value = Event> {
        // Two rates, as a rule the first.
        let terms = prop_oneof![9 => Just((10_000_000, 30)), 1 => Just((33_333_334, 7))];
        let slots = prop_oneof![1 => Just((0, 0)), 3 => Just((1, 1)), 3 => (1_u32..8, 1_u32..40)];
        let step = prop::option::weighted(0.05, (1_i64..30_000_000, any::<bool>()));
        let times = (
            nanos(0..3_000_000_000),
            nanos(0..800_000_000),
            nanos(1..3_000_000_000),
        );
        (0_u64..5, terms, slots, times, step).prop_map(|(worker, terms, slots, times, step)| {
            let (closed_for, pace, paced_for) = times;
            let rare = worker == 0;
            let call = Call {
                worker,
                terms: Terms::new(terms.0, terms.1),
                need: slots.0,
                want: slots.0.max(slots.1),
                closed_for: if rare { closed_for } else { Duration::ZERO },
                pace,
                paced_for: if rare { paced_for } else { Duration::ZERO },
                skew: 0,
                step: 0,
            };
            Event::Call(call, step)
        })
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            8 => call(),
            6 => (0_i64..80_000).prop_map(Event::Clock),
            2 => (0_i64..9_000_000).prop_map(Event::Clock),
            1 => (-20_000_000_i64..20_000_000).prop_map(Event::Clock),
            1 => Just(Event::Flush),
        ]
    }

    #[test]
    fn the_script_and_its_model_answer_alike() {
        let Some(server) = courteous_testkit::Redis::start() else {
            return;
        };
        let keys = Keys::new("compared", None);
        let connection = redis::Client::open(server.url())
            .unwrap()
            .get_connection()
            .unwrap();
        let connection = RefCell::new(connection);
        let script = redis::Script::new(SOURCE);
        let mut runner = TestRunner::new(ProptestConfig::with_cases(60));
        let granted = Cell::new(0);
        runner
            .run(&prop::collection::vec(event(), 1..80), |events| {
                let mut connection = connection.borrow_mut();
                let connection = &mut *connection;
                redis::cmd("FLUSHALL").exec(connection).unwrap();
                let (mut model, mut skew) = (Model::default(), 0);
                let mut now = 1_790_000_000_123_456_i64;
                for event in events {
                    let mut call = match event {
                        Event::Clock(step) => {
                            now += step;
                            continue;
                        }
                        Event::Flush => {
                            redis::cmd("FLUSHALL").exec(connection).unwrap();
                            model.flush();
                            continue;
                        }
                        Event::Call(call, None) => call,
                        Event::Call(call, Some((step, right))) => Call {
                            step,
                            skew: if right { skew } else { skew + 1 },
                            ..call
                        },
                    };
                    // The model's workers are numbers, in whose order equals are sorted; so are the script's.
                    call.worker += 7;
                    let mut invocation = script.prepare_invoke();
                    for key in keys.names() {
                        invocation.key(key);
                    }
                    for arg in call.args() {
                        invocation.arg(arg);
                    }
                    invocation.arg(format!("={now}"));
                    let values: Vec<i64> = invocation.invoke(connection).unwrap();
                    let reply = Reply::read(&values).unwrap();
                    prop_assert_eq!(reply, model.run(&call, reply.run, now), "{:?}", call);
                    skew = reply.skew;
                    granted.set(granted.get() + reply.granted);
                }
                Ok(())
            })
            .unwrap();
        assert!(granted.get() > 300, "{} slots in all", granted.get());
    }

    #[test]
    fn a_server_that_does_not_say_which_run_it_is_is_an_error() {
        let Some(server) = courteous_testkit::Redis::start() else {
            return;
        };
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        // As if `INFO` had no such line.
        let script = redis::Script::new(&SOURCE.replace("'run_id:", "'no_such_id:"));
        let mut invocation = script.prepare_invoke();
        for key in Keys::new("unknown", None).names() {
            invocation.key(key);
        }
        for arg in ["1", "10000000", "30", "1", "1", "0", "0", "0", "0", "0", ""] {
            invocation.arg(arg);
        }
        let error = invocation.invoke::<Vec<i64>>(&mut connection).unwrap_err();
        assert!(error.to_string().contains("has no run_id"), "{error}");
    }

    #[test]
    fn an_answer_of_another_script_is_none() {
        assert_eq!(Reply::read(&[1, 2, 3]), None);
        assert_eq!(Reply::read(&[-1; 13]), None);
    }
}
