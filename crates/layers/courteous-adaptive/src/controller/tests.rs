use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds {
    min: 0.0,
    max: 1000.0,
    tolerance: 5.0,
    attempt_timeout: Some(10.0),
};

/// A client of one server, call by call.
struct Client {
    controller: Controller,
    now: f64,
}

impl Client {
    fn new() -> Self {
        let controller = Controller::new(BOUNDS);
        Self {
            controller,
            now: 0.0,
        }
    }

    /// A call comes, and its attempt ends after `latency` seconds. Returns whether it was admitted.
    fn call(&mut self, latency: f64, outcome: Outcome) -> bool {
        self.controller.offer(self.now);
        if self.controller.admit(self.now) != Admission::Admitted {
            return false;
        }
        let flight = self.controller.start(self.now);
        self.now += latency;
        self.controller.hear(flight, outcome, self.now);
        self.controller.release();
        true
    }

    /// `calls` calls a tenth of a second apart, each answered after `latency`. Returns how many were
    /// admitted.
    fn answered(&mut self, calls: usize, latency: f64) -> usize {
        let is_success = true;
        let admitted = (0..calls).filter(|_| {
            let next = self.now + 0.1;
            let is_admitted = self.call(latency, Outcome::Answered { is_success });
            self.now = self.now.max(next);
            is_admitted
        });
        admitted.count()
    }
}

fn begin(controller: &mut Controller, now: f64) -> Flight {
    controller.admit_beyond(now);
    controller.start(now)
}

#[test]
fn a_calm_client_is_never_held_back_and_its_baseline_is_the_median() {
    let mut client = Client::new();
    assert_eq!(client.answered(1_000, 0.05), 1_000);
    assert!((client.controller.baseline() - 0.05).abs() < 1e-6);
    assert_eq!(client.controller.load(client.now), Load::Calm);
}

#[test]
fn a_timeout_cuts_to_what_is_in_use_and_time_and_an_answer_bring_it_back() {
    let mut client = Client::new();
    client.answered(100, 0.05);
    client.now += 3.0;
    client.call(10.0, Outcome::TimedOut);
    let controller = &mut client.controller;
    assert!(
        (controller.limit() - 0.35).abs() < 0.01,
        "{}",
        controller.limit()
    );
    // One failure in a hundred is no lack of calm.
    assert_eq!(controller.load(client.now), Load::Calm);
    assert_eq!(controller.admit(client.now), Admission::Admitted);
    controller.release();
    // The latency is 2 s by now, as the time-out counts in it: so the next token takes long.
    assert!(matches!(controller.admit(client.now), Admission::Paced(_)));
    client.now += 3.0;
    assert!(matches!(controller.admit(client.now), Admission::Admitted));
    assert!(
        (controller.limit() - 0.7).abs() < 0.05,
        "{}",
        controller.limit()
    );
    controller.release();
    client.now += 3.0;
    client.answered(1, 0.05);
    assert!(client.controller.limit() >= 1.0);
}

#[test]
fn of_many_attempts_that_time_out_together_one_cuts() {
    let mut client = Client::new();
    client.answered(100, 0.05);
    let (now, end) = (client.now, client.now + 10.0);
    let controller = &mut client.controller;
    let flights: Vec<_> = (0..10).map(|_| begin(controller, now)).collect();
    controller.hear(flights[0], Outcome::TimedOut, end);
    let once = controller.limit();
    for flight in &flights[1..] {
        controller.hear(*flight, Outcome::TimedOut, end);
    }
    assert_eq!(controller.limit(), once);
}

#[test]
fn what_was_overtaken_is_no_mark() {
    for lost in [
        Outcome::TimedOut,
        Outcome::Answered { is_success: true },
        Outcome::Dropped,
    ] {
        let mut client = Client::new();
        client.answered(100, 0.05);
        let before = client.controller.limit();
        let lost_one = begin(&mut client.controller, client.now);
        client.answered(10, 0.05);
        client.controller.hear(lost_one, lost, client.now + 1.0);
        assert!(client.controller.limit() >= before, "{lost:?}");
    }
}

#[test]
fn quotas_refused_connections_and_our_own_rejections_are_no_marks() {
    let mut client = Client::new();
    client.answered(100, 0.05);
    let before = client.controller.limit();
    for _ in 0..100 {
        assert!(client.call(5.0, Outcome::Unknown));
    }
    assert_eq!(client.controller.limit(), before);
}

#[test]
fn one_late_answer_in_many_is_a_mild_mark_and_so_is_one_timeout_in_many() {
    for (latency, outcome) in [
        (1.0, Outcome::Answered { is_success: true }),
        (10.0, Outcome::TimedOut),
    ] {
        let mut client = Client::new();
        client.answered(200, 0.05);
        let now = client.now;
        let controller = &mut client.controller;
        // 100 others came back within the last two seconds, all started before this one.
        let flight = begin(controller, now);
        for _ in 0..100 {
            controller.outcomes.add(now + latency);
        }
        let used = USED * controller.rate(now + latency) * controller.baseline();
        let expected = MILD * controller.limit.min(used.max(1.0));
        controller.hear(flight, outcome, now + latency);
        let floor = expected.max(controller.limit);
        assert!(
            controller.limit >= expected && controller.limit <= floor,
            "{outcome:?}"
        );
        assert!(controller.severe_at < now, "{outcome:?}");
    }
}

#[test]
fn a_lasting_step_becomes_the_baseline_and_a_queue_does_not() {
    let mut client = Client::new();
    client.answered(200, 0.05);
    let held_back = 600 - client.answered(600, 0.32);
    assert!(client.controller.baseline() > 0.3);
    assert!(held_back < 100, "{held_back}");
    assert_eq!(client.answered(100, 0.32), 100);
    // One answer in three is timely, as in a queue from which clients hold back.
    let mut client = Client::new();
    client.answered(200, 0.05);
    for _ in 0..200 {
        client.answered(1, 0.05);
        client.answered(2, 0.32);
    }
    assert!(
        client.controller.baseline() < 0.06,
        "{}",
        client.controller.baseline()
    );
}

#[test]
fn an_escape_into_timeouts_is_taken_back_and_the_next_one_takes_longer() {
    let mut client = Client::new();
    client.answered(200, 0.05);
    let mut escapes = Vec::new();
    let mut began = client.now;
    while escapes.len() < 3 {
        let was_escaped = client.controller.baseline() > 0.3;
        client.answered(1, 0.4);
        client.now += 0.5;
        if client.controller.baseline() > 0.3 && !was_escaped {
            escapes.push(client.now - began);
            for _ in 0..3 {
                while !client.call(10.0, Outcome::TimedOut) {
                    client.now += 0.1;
                }
            }
            assert!(client.controller.baseline() < 0.06);
            began = client.now;
        }
    }
    assert!(escapes[1] > 15.0 && escapes[2] > 60.0, "{escapes:?}");
}

#[test]
fn without_answers_pacing_begins_after_eight_timeouts() {
    let mut client = Client::new();
    for timeouts in 1..=20 {
        client.now += 0.5;
        while !client.call(10.0, Outcome::TimedOut) {
            client.now += 0.1;
        }
        let limit = client.controller.limit();
        assert_eq!(limit < 1.0, timeouts >= 8, "{timeouts}: {limit}");
    }
}

/// A server that answers 100 calls a second in 50 ms each gets `offered` calls a second, in bursts,
/// and all attempts time out after half a second. Returns the highest limit of the last second.
fn flooded(offered: usize, is_known: bool) -> f64 {
    let mut client = Client::new();
    client.controller.set_bounds(Bounds {
        attempt_timeout: Some(0.5),
        ..BOUNDS
    });
    let controller = &mut client.controller;
    let mut flights = std::collections::VecDeque::new();
    let mut highest: f64 = 0.0;
    let flood_from = if is_known { 2_000 } else { 100 };
    for tick in 0..flood_from + 1_000 {
        let now = f64::from(tick) * 0.01;
        let is_flood = tick >= flood_from;
        for _ in 0..if is_flood { offered / 100 } else { 1 } {
            controller.offer(now);
            if controller.admit(now) == Admission::Admitted {
                let (time, outcome) = match is_flood {
                    true => (0.5, Outcome::TimedOut),
                    false => (0.05, Outcome::Answered { is_success: true }),
                };
                flights.push_back((now + time, controller.start(now), outcome));
            }
        }
        while let Some((_, flight, outcome)) = flights.pop_front_if(|it| it.0 <= now) {
            controller.hear(flight, outcome, now);
            controller.release();
        }
        if tick >= flood_from + 900 {
            highest = highest.max(controller.limit());
        }
    }
    highest
}

#[test]
fn a_flood_does_not_hold_the_limit_up() {
    // A tenth of what the server bore, for as long as an attempt takes.
    let usual = flooded(100, true);
    assert!((1.0..=10.0).contains(&usual), "{usual}");
    for offered in [1_000, 10_000, 100_000] {
        let limit = flooded(offered, true);
        assert!(limit <= 1.5 * usual, "{offered}: {limit}");
        let limit = flooded(offered, false);
        assert!(limit <= 4.0 * usual, "{offered}: {limit}");
    }
}

#[test]
fn a_mark_raises_no_limit() {
    let mut client = Client::new();
    client.answered(1_000, 0.05);
    let controller = &mut client.controller;
    let flights: Vec<_> = (0..30).map(|_| begin(controller, client.now)).collect();
    let before = controller.limit();
    for _ in 0..100_000 {
        controller.offer(client.now);
    }
    controller.hear(
        flights[0],
        Outcome::Answered { is_success: true },
        client.now + 0.3,
    );
    assert!(controller.limit() <= before);
}

#[test]
fn after_a_step_a_timeout_does_not_slow_the_limit_down() {
    // 100 calls a second, each of 50 ms; then of 400 ms, until that is the baseline.
    let mut client = Client::new();
    let controller = &mut client.controller;
    let mut flights = Vec::new();
    let mut now = 0.0;
    while controller.baseline() < 0.3 {
        now += 0.01;
        controller.offer(now);
        if controller.admit(now) == Admission::Admitted {
            let time = if now < 30.0 { 0.05 } else { 0.4 };
            flights.push((now + time, controller.start(now)));
        }
        let (over, left) = flights.drain(..).partition::<Vec<_>, _>(|it| it.0 <= now);
        flights = left;
        for (_, flight) in over {
            controller.hear(flight, Outcome::Answered { is_success: true }, now);
            controller.release();
        }
    }
    now += 0.5;
    let timely = Outcome::Answered { is_success: true };
    let lost = begin(controller, now);
    controller.hear(lost, Outcome::TimedOut, now + 0.5);
    let cut = controller.limit();
    assert!((1.0..20.0).contains(&cut), "{cut}");
    // Each answer adds one, up to what the server bore: 100/s of 0.4 s each.
    for _ in 0..10 {
        let flights: Vec<_> = (0..10).map(|_| begin(controller, now + 1.0)).collect();
        for flight in flights {
            controller.hear(flight, timely, now + 1.4);
        }
    }
    let grown = controller.limit();
    assert!((28.0..45.0).contains(&grown), "{cut}, {grown}");
}

#[test]
fn a_pinned_limit_holds_and_learning_goes_on() {
    let mut client = Client::new();
    client.controller.pin(Some(2.0));
    let flights: Vec<_> = (0..2).map(|_| client.controller.admit(0.0)).collect();
    assert!(
        flights
            .iter()
            .all(|flight| matches!(flight, Admission::Admitted))
    );
    assert_eq!(client.controller.admit(0.0), Admission::Full);
    client.controller.release();
    client.controller.release();
    client.answered(100, 0.05);
    assert_eq!(client.controller.limit(), 2.0);
    client.controller.pin(None);
    assert!(client.controller.limit() >= 20.0);
}

#[test]
fn a_call_that_was_never_sent_leaves_no_trace() {
    let mut client = Client::new();
    client.answered(100, 0.05);
    client.now += 3.0;
    client.call(10.0, Outcome::TimedOut);
    for _ in 0..10 {
        assert!(matches!(
            client.controller.admit(client.now),
            Admission::Admitted
        ));
        client.controller.unsend();
    }
    assert_eq!(client.controller.in_flight(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(f64),
    Call,
    End(usize, Outcome),
    Unsend,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => any::<bool>().prop_map(|is_success| Outcome::Answered { is_success }),
        1 => Just(Outcome::Overloaded),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Dropped),
        1 => Just(Outcome::Unknown),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let times = prop_oneof![
        8 => 0.0..0.2f64,
        2 => 0.2..15.0f64,
        1 => Just(0.0),
        1 => Just(86_400.0),
        // The clock of a machine that was suspended, or a test's.
        1 => Just(1e9),
    ];
    prop_oneof![
        2 => times.prop_map(Step::Wait),
        3 => Just(Step::Call),
        3 => (any::<usize>(), outcome()).prop_map(|(at, outcome)| Step::End(at, outcome)),
        1 => Just(Step::Unsend),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The bound: an escape may have to wait 64 times 5 s, and the limit then doubles each 3 s.
    #[test]
    fn the_limit_is_within_its_bounds_and_a_healthy_server_is_back_at_full_service_in_400_s(
        steps in proptest::collection::vec(step(), 0..300),
        latency in prop_oneof![Just(0.0), 0.001..2.0f64],
    ) {
        let mut client = Client::new();
        let mut flights = Vec::new();
        for step in steps {
            match step {
                Step::Wait(time) => client.now += time,
                Step::Call => {
                    client.controller.offer(client.now);
                    if client.controller.admit(client.now) == Admission::Admitted {
                        flights.push(client.controller.start(client.now));
                    }
                }
                Step::End(at, outcome) if !flights.is_empty() => {
                    let flight = flights.swap_remove(at % flights.len());
                    client.controller.hear(flight, outcome, client.now);
                    client.controller.release();
                }
                Step::Unsend if flights.pop().is_some() => client.controller.unsend(),
                Step::End(..) | Step::Unsend => {}
            }
            let limit = client.controller.limit();
            prop_assert!((0.0..=1000.0).contains(&limit), "{}", limit);
            prop_assert!(client.controller.baseline().is_finite());
            prop_assert_eq!(client.controller.in_flight(), flights.len());
        }
        for flight in flights {
            client.controller.hear(flight, Outcome::Unknown, client.now);
            client.controller.release();
        }
        let until = client.now + 400.0;
        while client.now < until {
            client.answered(1, latency);
        }
        prop_assert_eq!(client.answered(100, latency), 100);
    }
}
