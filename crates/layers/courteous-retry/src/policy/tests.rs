//! The decision, as a table: every outcome x every method x key or none x body replayable or not.

use std::{error::Error, io};

use courteous_core::{
    BoxError, Classified, Classify, Effect, Elapsed, RejectReason, Rejected, Scope,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{Empty, Full};

use super::*;
use crate::{HttpClassifier, settings::Settings};

/// Which requests are sent again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Again {
    /// All: it was never sent, or refused before it was processed.
    Any,
    /// Those that are idempotent, by method or key.
    Safe,
    /// Those with a key.
    Keyed,
    /// None, as the server has answered.
    Answered,
    /// None, as it would fail alike.
    Permanent,
    /// None, as the server has said so.
    Vetoed,
}

const IDEMPOTENT: [&str; 5] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];
const OTHERS: [&str; 3] = ["POST", "PATCH", "BREW"];

fn check(name: &str, outcome: Outcome<'_>, classifier: HttpClassifier, expected: Again) {
    let settings = Settings::new();
    let verdict = classifier.classify(outcome);
    for method in IDEMPOTENT.iter().chain(&OTHERS) {
        for keyed in [false, true] {
            for replayable in [true, false] {
                let mut request = Request::builder().method(*method);
                if keyed {
                    request = request.header("idempotency-key", "k");
                }
                let request = request.body(()).unwrap();
                let now = Instant::now();
                let situation = Situation {
                    request: settings.facts(&request, request.extensions()),
                    replayable,
                    outcome,
                    verdict,
                    progress: Progress::new(settings.max_attempts(request.extensions())),
                    now,
                    deadline: None,
                };
                let decision = settings.policy.decide(&situation, &Dice::seeded(1));
                let idempotent = IDEMPOTENT.contains(method);
                let wanted = match expected {
                    Again::Answered => Some(StopReason::Answered),
                    Again::Permanent => Some(StopReason::Permanent),
                    Again::Vetoed => Some(StopReason::Vetoed),
                    Again::Safe if !idempotent && !keyed => Some(StopReason::NotIdempotent),
                    Again::Keyed if !keyed => Some(StopReason::NotIdempotent),
                    _ if !replayable => Some(StopReason::BodyNotReplayable),
                    _ => None,
                };
                let found = match decision {
                    Decision::Stop(stop) => Some(stop.reason),
                    Decision::Retry(_) => None,
                };
                assert_eq!(
                    found, wanted,
                    "{name}, {method}, keyed: {keyed}, replayable: {replayable}"
                );
            }
        }
    }
}

fn response(
    status: u16,
    headers: &[(&'static str, &'static str)],
) -> Response<Full<&'static [u8]>> {
    let mut response = Response::new(Full::new(&b"body"[..]));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response
            .headers_mut()
            .append(HeaderName::from_static(name), value);
    }
    response
}

fn check_error(name: &str, error: impl Into<BoxError>, expected: Again) {
    let error = error.into();
    check(
        name,
        Outcome::error(&*error),
        HttpClassifier::new(),
        expected,
    );
}

#[test]
fn every_status() {
    for status in 200..400 {
        check(
            "success",
            Outcome::response(&response(status, &[])),
            HttpClassifier::new(),
            Again::Answered,
        );
    }
    for status in 400..600 {
        let expected = match status {
            425 | 429 => Again::Any,
            408 => Again::Safe,
            400..=499 => Again::Answered,
            501 | 505 | 506 | 508 | 510 | 511 => Again::Permanent,
            _ => Again::Safe,
        };
        let name = status.to_string();
        check(
            &name,
            Outcome::response(&response(status, &[])),
            HttpClassifier::new(),
            expected,
        );
        let hinted = response(status, &[("retry-after", "1")]);
        let refused = match expected {
            Again::Any => Again::Any,
            _ => Again::Safe,
        };
        check(
            &name,
            Outcome::response(&hinted),
            HttpClassifier::new(),
            refused,
        );
        let vetoed = response(status, &[("x-should-retry", "false")]);
        let veto = match expected {
            Again::Safe | Again::Any => Again::Vetoed,
            expected => expected,
        };
        check(
            &name,
            Outcome::response(&vetoed),
            HttpClassifier::new(),
            veto,
        );
        let asked = response(status, &[("x-should-retry", "true")]);
        check(
            &name,
            Outcome::response(&asked),
            HttpClassifier::new(),
            refused,
        );
        let replayed = response(status, &[("idempotent-replayed", "true")]);
        check(
            &name,
            Outcome::response(&replayed),
            HttpClassifier::new(),
            veto,
        );
    }
}

#[test]
fn the_stripe_dialect() {
    let stripe = HttpClassifier::stripe();
    check(
        "409",
        Outcome::response(&response(409, &[])),
        stripe,
        Again::Keyed,
    );
    check(
        "500",
        Outcome::response(&response(500, &[])),
        stripe,
        Again::Permanent,
    );
    let asked = response(500, &[("stripe-should-retry", "true")]);
    check("500, asked", Outcome::response(&asked), stripe, Again::Safe);
    check(
        "503",
        Outcome::response(&response(503, &[])),
        stripe,
        Again::Safe,
    );
}

#[test]
fn grpc_statuses_of_responses_that_are_nothing_but_a_head() {
    let grpc = |status: &str, pushback: Option<&str>| {
        let mut headers = HeaderMap::new();
        headers.insert(
            "content-type",
            HeaderValue::from_static("application/grpc+proto"),
        );
        headers.insert("grpc-status", status.parse().unwrap());
        if let Some(pushback) = pushback {
            headers.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
        }
        let mut response = Response::new(Empty::<&[u8]>::new());
        *response.headers_mut() = headers;
        response
    };
    let standard = HttpClassifier::new();
    for status in 0..=16 {
        let expected = if status == 14 {
            Again::Safe
        } else {
            Again::Answered
        };
        let name = format!("grpc-status {status}");
        let response = grpc(&status.to_string(), None);
        check(&name, Outcome::response(&response), standard, expected);
        let invited = grpc(&status.to_string(), Some("10"));
        let expected = if status == 8 { Again::Safe } else { expected };
        check(&name, Outcome::response(&invited), standard, expected);
    }
    check(
        "veto",
        Outcome::response(&grpc("14", Some("-1"))),
        standard,
        Again::Vetoed,
    );
    check(
        "garbage is a veto",
        Outcome::response(&grpc("14", Some("soon"))),
        standard,
        Again::Vetoed,
    );
    check(
        "status that is no number",
        Outcome::response(&grpc("x", None)),
        standard,
        Again::Answered,
    );

    // With a body to follow, a status among the headers says nothing: the one in the trailers counts.
    let headers = [("content-type", "application/grpc"), ("grpc-status", "14")];
    check(
        "not the end",
        Outcome::response(&response(200, &headers)),
        standard,
        Again::Answered,
    );
}

// `google.rpc.Status` with details of 5 s, and of two hours.
const FIVE_SECONDS: &str = "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIBQ";
const TWO_HOURS: &str = "CAgaMQoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIFCgMIoDg";

#[test]
fn a_retry_info_makes_a_refusal_of_an_exhausted_resource_and_is_a_floor() {
    let grpc = |status: &'static str, info: &'static str| {
        let headers = [
            ("content-type", "application/grpc"),
            ("grpc-status", status),
            ("grpc-status-details-bin", info),
        ];
        response(200, &headers).map(|_| Empty::<&[u8]>::new())
    };
    for status in ["8", "14"] {
        let told = grpc(status, FIVE_SECONDS);
        let outcome = Outcome::response(&told);
        check(status, outcome, HttpClassifier::new(), Again::Safe);
        let now = Instant::now();
        let decision = decide(outcome, policy(), |situation| situation.now = now);
        let Decision::Retry(plan) = decision else {
            panic!("{decision:?}")
        };
        assert!(plan.wait.hinted && plan.wait.until >= now + Duration::from_secs(5));

        let absurd = grpc(status, TWO_HOURS);
        let decision = decide(Outcome::response(&absurd), policy(), |situation| {
            situation.now = now;
        });
        let Decision::Stop(stop) = decision else {
            panic!("{decision:?}")
        };
        assert_eq!(stop.reason, StopReason::WaitTooLong);
        assert!(stop.not_before >= Some(now + Duration::from_secs(7200)));
    }
    // Of another status it is no invitation.
    let told = grpc("9", FIVE_SECONDS);
    let outcome = Outcome::response(&told);
    check("9", outcome, HttpClassifier::new(), Again::Answered);
}

#[test]
fn an_answer_that_the_attempts_own_deadline_has_passed_is_an_attempt_timeout() {
    let standard = HttpClassifier::new();
    let late = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);
    let verdict = |status: u16, grpc: &'static str, told: Option<Scope>| {
        let headers = [("content-type", "application/grpc"), ("grpc-status", grpc)];
        let mut response = response(status, &headers).map(|_| Empty::<&[u8]>::new());
        if let Some(scope) = told {
            let elapsed = Elapsed::new(Duration::from_secs(1), scope);
            response.extensions_mut().insert(elapsed);
        }
        standard.classify(Outcome::response(&response))
    };
    for (status, grpc) in [(200, "4"), (200, "1"), (504, ""), (408, "")] {
        let told = verdict(status, grpc, Some(Scope::Attempt));
        assert_eq!(told, late, "{status}, grpc-status {grpc}");
        for own in [None, Some(Scope::Total)] {
            assert_ne!(verdict(status, grpc, own), late, "{status}, {own:?}");
        }
    }
    // All else is what it is.
    assert_eq!(verdict(200, "5", Some(Scope::Attempt)), Verdict::Answered);
    assert_eq!(verdict(404, "", Some(Scope::Attempt)), Verdict::Answered);
}

#[test]
fn errors_without_a_client_to_ask() {
    let io = |kind: io::ErrorKind| io::Error::from(kind);
    check_error(
        "connect refused",
        io(io::ErrorKind::ConnectionRefused),
        Again::Any,
    );
    check_error(
        "reset, before or after it was sent",
        io(io::ErrorKind::ConnectionReset),
        Again::Safe,
    );
    check_error("broken pipe", io(io::ErrorKind::BrokenPipe), Again::Safe);
    check_error("unknown", "what is this", Again::Safe);
    let limit = Duration::from_secs(1);
    check_error(
        "attempt timeout",
        Elapsed::new(limit, Scope::Attempt),
        Again::Safe,
    );
    check_error(
        "idle timeout",
        Elapsed::new(limit, Scope::Idle),
        Again::Safe,
    );
    check_error(
        "total timeout",
        Elapsed::new(limit, Scope::Total),
        Again::Permanent,
    );
    check_error(
        "rejected locally",
        Rejected::new(RejectReason::QueueFull),
        Again::Permanent,
    );
    check_error(
        "cannot be sent",
        Classified::new(Verdict::Unsendable, "certificate has expired"),
        Again::Permanent,
    );
    let unsent = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
    check_error("connect", Classified::new(unsent, "no route"), Again::Any);
}

fn decide(
    outcome: Outcome<'_>,
    policy: Policy,
    change: impl FnOnce(&mut Situation<'_>),
) -> Decision {
    let mut situation = Situation {
        request: RequestFacts {
            idempotent: true,
            keyed: false,
            conditional: false,
            said: None,
        },
        replayable: true,
        outcome,
        verdict: HttpClassifier::new().classify(outcome),
        progress: Progress::new(Allowance::Allowed(NonZeroU32::MAX)),
        now: Instant::now(),
        deadline: None,
    };
    change(&mut situation);
    policy.decide(&situation, &Dice::seeded(7))
}

fn wait_of(
    status: u16,
    headers: &[(&'static str, &'static str)],
    policy: Policy,
) -> Result<Duration, StopReason> {
    let response = response(status, headers);
    let now = Instant::now();
    match decide(Outcome::response(&response), policy, |situation| {
        situation.now = now
    }) {
        Decision::Retry(plan) => Ok(plan.wait.until.duration_since(now)),
        Decision::Stop(stop) => Err(stop.reason),
    }
}

fn policy() -> Policy {
    Settings::new().policy
}

fn unjittered() -> Policy {
    let still = |base| Backoff::constant(Duration::from_millis(base)).with_jitter(Jitter::None);
    Policy {
        backoff: still(100),
        overload_backoff: still(500),
        throttled_backoff: still(1000),
        ..policy()
    }
}

#[test]
fn the_backoff_depends_on_what_the_server_says() {
    for (status, wait) in [(500, 100), (502, 100), (503, 500)] {
        let waited = wait_of(status, &[], unjittered());
        assert_eq!(waited, Ok(Duration::from_millis(wait)), "{status}");
    }
    assert_eq!(wait_of(429, &[], unjittered()), Ok(Duration::from_secs(1)));
}

#[test]
fn a_hint_is_a_floor_and_jitter_only_adds() {
    let asked = Duration::from_secs(5);
    let wait = wait_of(429, &[("retry-after", "5")], policy()).unwrap();
    assert!(
        wait > asked && wait <= asked + Duration::from_secs(1),
        "{wait:?}"
    );
    assert_eq!(
        wait_of(429, &[("retry-after", "5")], unjittered()),
        Ok(asked)
    );
    assert_eq!(
        wait_of(503, &[("retry-after", "0")], unjittered()),
        Ok(Duration::from_millis(100))
    );
}

// Servers send these in normal operation, too.
#[test]
fn a_reset_whose_rest_is_unknown_is_a_floor_for_a_429_only() {
    for field in [
        ("anthropic-ratelimit-unified-reset", "3200"),
        ("x-ratelimit-reset", "3200"),
    ] {
        assert_eq!(
            wait_of(500, &[field], unjittered()),
            Ok(Duration::from_millis(100))
        );
        assert_eq!(
            wait_of(429, &[field], unjittered()),
            Err(StopReason::WaitTooLong)
        );
    }
    let malformed = [("beta-ratelimit", "\"q\";t=3200")];
    assert_eq!(
        wait_of(500, &malformed, unjittered()),
        Ok(Duration::from_millis(100))
    );
    assert_eq!(
        wait_of(429, &malformed, unjittered()),
        Ok(Duration::from_secs(1))
    );
}

#[test]
fn only_retry_after_and_its_kin_make_a_503_a_refusal() {
    let verdict = |field| {
        let response = response(503, &[field]);
        HttpClassifier::new().classify(Outcome::response(&response))
    };
    let of = |effect| Verdict::transient(effect, Fault::Overload);
    for field in [
        ("retry-after", "1"),
        ("retry-after-ms", "1"),
        ("x-ratelimit-retry-after", "1"),
    ] {
        assert_eq!(verdict(field), of(Effect::Refused), "{field:?}");
    }
    for field in [
        ("x-ratelimit-reset", "1"),
        ("ratelimit", "\"q\";r=0;t=1"),
        ("retry-after", "soon"),
    ] {
        assert_eq!(verdict(field), of(Effect::MaybeProcessed), "{field:?}");
    }
}

#[test]
fn a_pushback_is_obeyed_to_the_millisecond_and_the_backoff_begins_anew() {
    let mut response = Response::new(Empty::<&[u8]>::new());
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("grpc-status", "14"),
        ("grpc-retry-pushback-ms", "250"),
    ] {
        response.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let now = Instant::now();
    let decision = decide(Outcome::response(&response), policy(), |situation| {
        situation.now = now;
        situation.progress.growth = 7;
    });
    let Decision::Retry(plan) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(
        (plan.wait.until, plan.wait.growth),
        (now + Duration::from_millis(250), 0)
    );
}

#[test]
fn a_gate_stands_in_for_backoff_hint_and_jitter() {
    let mut response = response(429, &[("retry-after", "5")]);
    let now = Instant::now();
    let opens_at = now + Duration::from_millis(5_321);
    response.extensions_mut().insert(Gate::new(opens_at));
    let decision = decide(Outcome::response(&response), policy(), |situation| {
        situation.now = now
    });
    let Decision::Retry(plan) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!((plan.wait.until, plan.gate), (opens_at, Some(opens_at)));
}

#[test]
fn a_hint_that_is_too_long_means_stop_now_and_tells_when_to_come_back() {
    let response = response(429, &[("retry-after", "61")]);
    let now = Instant::now();
    let decision = decide(Outcome::response(&response), policy(), |situation| {
        situation.now = now
    });
    let Decision::Stop(stop) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(stop.reason, StopReason::WaitTooLong);
    assert!(stop.not_before >= Some(now + Duration::from_secs(61)));
}

#[test]
fn waits_are_summed_up() {
    let response = response(500, &[]);
    let waited = |waited: Duration| {
        let decision = decide(Outcome::response(&response), unjittered(), |situation| {
            situation.progress.waited = waited;
        });
        matches!(decision, Decision::Retry(_))
    };
    assert!(waited(Duration::from_millis(59_900)));
    assert!(!waited(Duration::from_millis(59_901)));
    assert!(!waited(Duration::MAX));
}

#[test]
fn a_wait_that_would_not_end_before_the_deadline_is_not_begun() {
    let response = response(503, &[("retry-after", "2")]);
    let with = |left: u64| {
        let now = Instant::now();
        let decision = decide(Outcome::response(&response), unjittered(), |situation| {
            situation.now = now;
            situation.deadline = Some(now + Duration::from_millis(left));
        });
        match decision {
            Decision::Stop(stop) => Some((
                stop.reason,
                stop.not_before == Some(now + Duration::from_secs(2)),
            )),
            Decision::Retry(_) => None,
        }
    };
    assert_eq!(with(2_001), None);
    assert_eq!(with(2_000), Some((StopReason::Deadline, true)));
    assert_eq!(with(0), Some((StopReason::Deadline, true)));
}

#[test]
fn attempts_are_counted_the_first_included() {
    let response = response(503, &[]);
    let after = |attempts, max_attempts| {
        let decision = decide(Outcome::response(&response), policy(), |situation| {
            situation.progress = Progress {
                attempts,
                ..Progress::new(max_attempts)
            };
        });
        match decision {
            Decision::Stop(stop) => Some(stop.reason),
            Decision::Retry(_) => None,
        }
    };
    let three = Allowance::Allowed(NonZeroU32::new(3).unwrap());
    assert_eq!(after(2, three), None);
    assert_eq!(after(3, three), Some(StopReason::AttemptsExhausted));
    assert_eq!(after(1, Allowance::Disabled), Some(StopReason::Disabled));
}

#[test]
fn a_refusal_is_sent_again_without_a_key_only_if_the_layer_says_so() {
    let response = response(429, &[]);
    let post = |policy: Policy| {
        let decision = decide(Outcome::response(&response), policy, |situation| {
            situation.request = RequestFacts {
                idempotent: false,
                keyed: false,
                conditional: false,
                said: None,
            };
        });
        matches!(decision, Decision::Retry(_))
    };
    assert!(post(policy()));
    let careful = Policy {
        retry_throttled: false,
        ..policy()
    };
    assert!(!post(careful));
    assert!(post(Policy {
        retry_refused: true,
        ..careful
    }));
}

#[test]
fn an_error_has_no_headers_to_read() {
    let error: Box<dyn Error> = "reset".into();
    let decision = decide(Outcome::error(&*error), unjittered(), |_| {});
    let Decision::Retry(plan) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(
        (plan.fault, plan.gate, plan.wait.hinted),
        (Fault::NoResponse, None, false)
    );
}
