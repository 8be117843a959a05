//! The clients of others, by their rules.

mod rules;

use std::{
    cell::RefCell,
    future::{Ready, ready},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tokio::time::{Sleep, sleep};
use tower::{
    BoxError,
    retry::{Policy, Retry, backoff::ExponentialBackoffMaker, budget::TpsBudget},
    timeout::Timeout,
    util::rng::HasherRng,
};

use self::rules::{Aws, Failure, Grpc, Pause, Plain, Progress, Rule, Seeded, Tower};
use crate::{
    Requirements, Transport,
    chance::{Chance, Stream},
};

pub(crate) type Client<R> = Timeout<Retry<Rival<R>, Timeout<Transport>>>;

pub(crate) fn no_retry(
    transport: Transport,
    required: &Requirements,
) -> Timeout<Timeout<Transport>> {
    whole(
        Timeout::new(transport, required.attempt_timeout()),
        required,
    )
}

pub(crate) fn naive(transport: Transport, required: &Requirements) -> Client<Plain> {
    plain(transport, required, Duration::ZERO)
}

pub(crate) fn full_jitter(transport: Transport, required: &Requirements) -> Client<Plain> {
    plain(transport, required, Duration::from_millis(100))
}

fn plain(transport: Transport, required: &Requirements, base: Duration) -> Client<Plain> {
    let rule = Plain {
        max_attempts: attempts(required, 4),
        base,
        cap: Duration::from_secs(20),
        chance: chance(required),
    };
    client(transport, required, rule)
}

pub(crate) fn tower(transport: Transport, required: &Requirements) -> Client<Tower> {
    let shortest = Duration::from_millis(50);
    let longest = Duration::from_millis(u64::MAX);
    let rng = HasherRng::with_hasher(Seeded(required.seed()));
    let rule = Tower {
        budget: (!required.is_budget_off()).then(TpsBudget::default),
        backoff: ExponentialBackoffMaker::new(shortest, longest, 0.99, rng).ok(),
        max_attempts: attempts(required, u32::MAX),
    };
    client(transport, required, rule)
}

pub(crate) fn reqwest(transport: Transport, required: &Requirements) -> Client<Tower> {
    let rule = Tower {
        budget: (!required.is_budget_off()).then(TpsBudget::default),
        backoff: None,
        max_attempts: attempts(required, 3),
    };
    client(transport, required, rule)
}

pub(crate) fn aws(transport: Transport, required: &Requirements) -> Client<Aws> {
    let rule = Aws {
        tokens: (!required.is_budget_off()).then_some(Aws::FULL),
        max_attempts: attempts(required, 3),
        chance: chance(required),
    };
    client(transport, required, rule)
}

pub(crate) fn grpc(transport: Transport, required: &Requirements) -> Client<Grpc> {
    let rule = Grpc {
        tokens: (!required.is_budget_off()).then_some(Grpc::FULL),
        max_attempts: attempts(required, 4),
        chance: chance(required),
    };
    client(transport, required, rule)
}

fn client<R: Rule>(transport: Transport, required: &Requirements, rule: R) -> Client<R> {
    let rival = Rival {
        rule: Rc::new(RefCell::new(rule)),
        call: Progress::default(),
    };
    let attempt = Timeout::new(transport, required.attempt_timeout());
    whole(Retry::new(rival, attempt), required)
}

fn whole<S>(service: S, required: &Requirements) -> Timeout<S> {
    Timeout::new(service, required.total_timeout().unwrap_or(Duration::MAX))
}

fn attempts(required: &Requirements, own: u32) -> u32 {
    required.attempts().map_or(own, std::num::NonZeroU32::get)
}

fn chance(required: &Requirements) -> Chance {
    Chance::new(required.seed(), Stream::Clients)
}

/// A rule as a policy of Tower's: cloned for each call.
pub(crate) struct Rival<R> {
    rule: Rc<RefCell<R>>,
    call: Progress,
}

impl<R> Clone for Rival<R> {
    fn clone(&self) -> Self {
        Self {
            rule: Rc::clone(&self.rule),
            call: self.call.clone(),
        }
    }
}

type Asked = Request<Full<Bytes>>;
type Answered = Response<Empty<Bytes>>;

impl<R: Rule> Policy<Asked, Answered, BoxError> for Rival<R> {
    type Future = Either<Ready<()>, Sleep>;

    fn retry(
        &mut self,
        _: &mut Asked,
        result: &mut Result<Answered, BoxError>,
    ) -> Option<Self::Future> {
        self.call.attempts += 1;
        let failure = match result {
            Ok(response) if response.status().is_success() => {
                self.rule.borrow_mut().succeeded(&mut self.call);
                return None;
            }
            Ok(response) => Failure::Status(response.status()),
            Err(_) => Failure::NoResponse,
        };
        let pause = self.rule.borrow_mut().failed(&mut self.call, failure)?;
        Some(match pause {
            Pause::For(Duration::ZERO) => Either::Left(ready(())),
            Pause::For(wait) => Either::Right(sleep(wait)),
            Pause::Until(sleep) => Either::Right(sleep),
        })
    }

    fn clone_request(&mut self, request: &Asked) -> Option<Asked> {
        Some(request.clone())
    }
}
