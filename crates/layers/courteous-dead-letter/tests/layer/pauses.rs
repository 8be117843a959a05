//! Calls whose server asks for a pause that a key may not outlive.

use std::{convert::Infallible, time::Duration};

use courteous_core::{
    Attempt, Classified, Effect, Fault, History, RejectReason, Rejected, Retried, RetryInfo,
    StopReason, Verdict,
};
use courteous_dead_letter::{
    Clock, DeadLettered, Filter, LetterStore, MemoryStore, Page, Reason, Record, Redrive, State,
};
use http::{Method, Request, Response};
use tokio::time::Instant;
use tower::service_fn;

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);
const REFUSED: Verdict = Verdict::transient(Effect::Refused, Fault::Throttled);

fn keyed() -> Request<Body> {
    let mut request = post();
    let key = "8e03".parse().unwrap();
    request.headers_mut().insert("idempotency-key", key);
    request
}

async fn record(store: &MemoryStore) -> Record {
    let mut records = store.list(Filter::new(), Page::first(2)).await.unwrap();
    assert_eq!(records.len(), 1);
    records.remove(0)
}

async fn redrive(clock: &Clock, store: &MemoryStore) -> State {
    let up = service_fn(async |request: Request<Body>| {
        assert_eq!(request.headers()["idempotency-key"], "8e03");
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let redrive = Redrive::new().with_clock(clock.clone());
    redrive.run(store, up).await.unwrap();
    record(store).await.state
}

/// A retry that ends with the last of these attempts, as the server asks for this pause.
fn stopped(pause: Duration, verdicts: &[Verdict]) -> RetryInfo {
    let mut history = History::new();
    for (number, &verdict) in (1..).zip(verdicts) {
        history.push(Attempt::new(number, Instant::now(), verdict, None));
    }
    RetryInfo::new(
        verdicts.len() as u32,
        SECOND,
        StopReason::WaitTooLong,
        Some(Instant::now() + pause),
        history,
    )
}

/// A refusal with this status, for this pause.
fn refusal(code: u16, pause: Duration) -> Response<Body> {
    let mut response = status(code);
    let seconds = pause.as_secs().to_string().parse().unwrap();
    response.headers_mut().insert("retry-after", seconds);
    response
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_only_refused_is_sent_after_any_pause() {
    for pause in [23 * HOUR, 24 * HOUR] {
        for (code, retried) in [(429, false), (503, false), (429, true), (503, true)] {
            let (clock, store, layer) = layer();
            let server = async |_| {
                let mut response = refusal(code, pause);
                if retried {
                    let info = stopped(pause, &[REFUSED; 12]);
                    response.extensions_mut().insert(info);
                }
                Ok::<_, Infallible>(response)
            };
            call(&layer, keyed(), server).await.unwrap();
            let letter = record(&store).await.letter;
            assert!(letter.failure.maybe_sent && !letter.failure.maybe_processed);
            clock.advance(pause - SECOND);
            assert_eq!(redrive(&clock, &store).await, State::Pending, "not due");
            clock.advance(300 * HOUR);
            let state = redrive(&clock, &store).await;
            assert!(
                matches!(state, State::Delivered { .. }),
                "{code}: {state:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_sent_is_sent_after_any_pause() {
    let closed = || Rejected::new(RejectReason::Paused).with_wait(Instant::now(), 24 * HOUR);
    let nothing: [fn() -> Verdict; 2] = [|| NEVER_SENT, || Verdict::Unsendable];
    let mut errors: Vec<courteous_core::BoxError> = vec![closed().into()];
    errors.extend(nothing.map(|verdict| Classified::new(verdict(), "no connection").into()));
    let retried = Retried::new(stopped(24 * HOUR, &[NEVER_SENT, REFUSED]), closed().into());
    errors.push(retried.into());
    for error in errors {
        let (clock, store, layer) = layer();
        let error = std::sync::Mutex::new(Some(error));
        let server = async |_| Err(error.lock().unwrap().take().unwrap());
        call(&layer, keyed(), server).await.unwrap_err();
        assert_eq!(record(&store).await.state, State::Pending);
        clock.advance(100 * HOUR);
        let state = redrive(&clock, &store).await;
        assert!(matches!(state, State::Delivered { .. }), "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_processed_and_must_wait_for_longer_than_its_key_lives_says_so_at_once()
 {
    let answer = |pause: Duration| {
        let mut response = refusal(429, pause);
        let info = stopped(pause, &[FAILED, REFUSED]);
        response.extensions_mut().insert(info);
        response
    };
    for pause in [23 * HOUR, 48 * HOUR] {
        let (clock, store, layer) = layer();
        let server = async |_| Ok::<_, Infallible>(answer(pause));
        let response = call(&layer, keyed(), server).await.unwrap();
        let recorded = DeadLettered::of(&response).unwrap();
        assert_eq!(recorded.reason(), Reason::KeyRunsOut);
        let kept = record(&store).await;
        assert_eq!(kept.state, State::Expired);
        assert_eq!(kept.letter.failure.reason, Reason::KeyRunsOut);
        assert_eq!(kept.letter.failure.not_before, Some(clock.now() + pause));
        clock.advance(pause);
        assert_eq!(redrive(&clock, &store).await, State::Expired);
    }
    // A shorter pause, a key that is never forgotten, and requests whose keys do not make them
    // safe.
    let (_, store, short) = layer();
    let server = async |_| Ok::<_, Infallible>(answer(22 * HOUR));
    call(&short, keyed(), server).await.unwrap();
    assert_eq!(record(&store).await.state, State::Pending);
    let mut put = keyed();
    *put.method_mut() = Method::PUT;
    for (request, lifetime) in [
        (keyed(), Duration::MAX),
        (put, 23 * HOUR),
        (post(), 23 * HOUR),
    ] {
        let (_, store, layer) = layer();
        let layer = layer.with_key_lifetime(lifetime);
        let server = async |_| Ok::<_, Infallible>(answer(23 * HOUR));
        call(&layer, request, server).await.unwrap();
        let kept = record(&store).await;
        assert_eq!(kept.state, State::Pending);
        assert_eq!(kept.letter.failure.reason, Reason::WaitTooLong);
    }
}
