//! The script in a real Redis answers as its model does, call by call.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::LazyLock,
    time::Duration,
};

use proptest::{prelude::*, test_runner::TestRunner};

use super::{model::Model, set_clock::script_with_clock};
use crate::{
    keys::Keys,
    script::{Call, Reply, SOURCE, Seen},
    terms::Terms,
};

/// The script, with the time as its last argument.
static SCRIPT: LazyLock<&str> = LazyLock::new(|| script_with_clock("tonumber(ARGV[14])"));

/// What happens between one call and the next.
#[derive(Clone, Debug)]
enum Event {
    /// Redis' clock is set forward or back by this much.
    Clock(i64),
    /// All data is lost.
    Flush,
    /// A field is lost, or has another value.
    Spoil(usize, &'static str),
    /// The present state is copied elsewhere, or the copy comes back.
    Keep,
    Restore,
    /// A call. It may state a forward step, with the skew of the last answer or with a wrong skew.
    /// Its worker has seen the last answer, or none.
    Call(Call, Option<(i64, bool)>, bool),
}

fn nanos(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    prop_oneof![4 => Just(Duration::ZERO), 1 => range.prop_map(Duration::from_nanos)]
}

fn call() -> impl Strategy<Value = Event> {
    // There are two rates, and most calls state the first.
    let terms = prop_oneof![9 => Just((10_000_000, 30)), 1 => Just((33_333_334, 7))];
    let slots = prop_oneof![1 => Just((0, 0)), 3 => Just((1, 1)), 3 => (1_u32..8, 1_u32..40)];
    let step = prop::option::weighted(0.05, (1_i64..30_000_000, any::<bool>()));
    let times = (
        nanos(0..3_000_000_000),
        nanos(0..800_000_000),
        nanos(1..3_000_000_000),
    );
    let events = (0_u64..5, terms, slots, times, step, any::<bool>());
    events.prop_map(|(worker, terms, slots, times, step, has_seen)| {
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
            seen: Seen::default(),
        };
        Event::Call(call, step, has_seen)
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => call(),
        6 => (0_i64..80_000).prop_map(Event::Clock),
        2 => (0_i64..9_000_000).prop_map(Event::Clock),
        1 => (-20_000_000_i64..20_000_000).prop_map(Event::Clock),
        1 => Just(Event::Flush),
        1 => (0_usize..12, prop::sample::select(GARBAGE)).prop_map(|(field, value)| Event::Spoil(field, value)),
        1 => Just(Event::Keep),
        1 => Just(Event::Restore),
    ]
}

/// Values that other programs, or mistakes, may leave in a field. An empty value means that the
/// field is lost.
const GARBAGE: &[&str] = &[
    "",
    "0",
    "-1",
    "nan",
    "inf",
    "-inf",
    "1e300",
    "0x7f",
    "7.5",
    "9007199254740993",
    "garbage",
    "\u{fffd}\n",
];

/// Loses a field of the schedule, or writes another value into it.
fn spoil(connection: &mut redis::Connection, key: &str, field: &str, value: &str) {
    let mut command = redis::cmd(if value.is_empty() { "HDEL" } else { "HSET" });
    command.arg(key).arg(field);
    if !value.is_empty() {
        command.arg(value);
    }
    command.exec(connection).unwrap();
}

/// The fields of the schedule.
fn schedule(connection: &mut redis::Connection, keys: &Keys) -> BTreeMap<String, String> {
    let key = &keys.names()[0];
    redis::cmd("HGETALL").arg(key).query(connection).unwrap()
}

/// Runs the script when the clock reads `now`.
fn run(connection: &mut redis::Connection, keys: &Keys, call: &Call, now: i64) -> Reply {
    let script = redis::Script::new(&SCRIPT);
    let mut invocation = script.prepare_invoke();
    for key in keys.names() {
        invocation.key(key);
    }
    for arg in call.args() {
        invocation.arg(arg);
    }
    let values: Vec<i64> = invocation.arg(now).invoke(connection).unwrap();
    Reply::read(&values).unwrap()
}

fn connected(server: &courteous_test_servers::Redis) -> redis::Connection {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_connection().unwrap()
}

#[test]
fn the_script_and_its_model_answer_alike() {
    let Some(server) = courteous_test_servers::Redis::start() else {
        return;
    };
    let (keys, kept) = (Keys::new("compared", None), Keys::new("kept", None));
    let connection = RefCell::new(connected(&server));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(60));
    let granted = Cell::new(0);
    runner
        .run(&prop::collection::vec(event(), 1..80), |events| {
            let mut connection = connection.borrow_mut();
            let connection = &mut *connection;
            redis::cmd("FLUSHALL").exec(connection).unwrap();
            // The second part holds the fields of the schedule, as long as none is spoiled.
            let mut model = (Model::default(), BTreeMap::new());
            let mut older = model.clone();
            let mut last: Option<Reply> = None;
            let mut now = 1_790_000_000_123_456_i64;
            for event in events {
                let mut call = match event {
                    Event::Clock(step) => {
                        now += step;
                        continue;
                    }
                    Event::Flush => {
                        redis::cmd("FLUSHALL").exec(connection).unwrap();
                        (model, older) = Default::default();
                        continue;
                    }
                    Event::Spoil(field, value) => {
                        let key = &keys.names()[0];
                        let mut fields: Vec<String> =
                            redis::cmd("HKEYS").arg(key).query(connection).unwrap();
                        fields.sort_unstable();
                        let field = fields.get(field).map_or("foreign", |field| field);
                        spoil(connection, key, field, value);
                        continue;
                    }
                    Event::Keep | Event::Restore => {
                        let is_kept = matches!(event, Event::Keep);
                        let (from, to) = if is_kept {
                            (&keys, &kept)
                        } else {
                            (&kept, &keys)
                        };
                        for (from, to) in from.names().iter().zip(to.names()) {
                            redis::cmd("DEL").arg(to).exec(connection).unwrap();
                            redis::cmd("COPY")
                                .arg(from)
                                .arg(to)
                                .exec(connection)
                                .unwrap();
                        }
                        if is_kept {
                            older.clone_from(&model);
                        } else {
                            model.clone_from(&older);
                        }
                        continue;
                    }
                    Event::Call(call, step, has_seen) => {
                        let skew = last.map_or(0, |last| last.skew);
                        let (step, right) = step.unwrap_or((0, true));
                        Call {
                            step,
                            skew: if right { skew } else { skew + 1 },
                            seen: last
                                .filter(|_| has_seen)
                                .map_or(Seen::default(), |last| last.seen()),
                            ..call
                        }
                    }
                };
                // The model's workers are numbers, and equal entries are sorted by these numbers.
                // So are equal entries in the script.
                call.worker += 7;
                let (model, sound) = &mut model;
                // If several values are written into a field, the last value may be the right one.
                if schedule(connection, &keys) != *sound {
                    model.flush();
                }
                let reply = run(connection, &keys, &call, now);
                prop_assert_eq!(reply, model.run(&call, reply.run, now), "{:?}", call);
                *sound = schedule(connection, &keys);
                last = Some(reply);
                granted.set(granted.get() + reply.granted);
            }
            Ok(())
        })
        .unwrap();
    assert!(granted.get() > 300, "{} slots in all", granted.get());
}

#[test]
fn a_server_that_does_not_say_which_run_it_is_is_an_error() {
    let Some(server) = courteous_test_servers::Redis::start() else {
        return;
    };
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    // This is as if `INFO` had no such line.
    let script = redis::Script::new(&SOURCE.replace("'run_id:", "'no_such_id:"));
    let mut invocation = script.prepare_invoke();
    for key in Keys::new("unknown", None).names() {
        invocation.key(key);
    }
    for arg in [
        "1", "10000000", "30", "1", "1", "0", "0", "0", "0", "0", "0", "0", "0",
    ] {
        invocation.arg(arg);
    }
    let error = invocation.invoke::<Vec<i64>>(&mut connection).unwrap_err();
    assert!(error.to_string().contains("has no run_id"), "{error}");
}

#[test]
fn an_answer_of_another_script_is_none() {
    assert_eq!(Reply::read(&[1, 2, 3]), None);
    assert_eq!(Reply::read(&[-1; 14]), None);
}
