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

use super::rules::{Aws, Failure, Grpc, Pause, Plain, Progress, Rule, Seeded, Tower};
use crate::{
    Terms, Transport,
    chance::{Chance, Stream},
};

pub(crate) type Client<R> = Timeout<Retry<Rival<R>, Timeout<Transport>>>;

pub(crate) fn no_retry(transport: Transport, terms: &Terms) -> Timeout<Timeout<Transport>> {
    whole(Timeout::new(transport, terms.attempt_timeout()), terms)
}

pub(crate) fn naive(transport: Transport, terms: &Terms) -> Client<Plain> {
    plain(transport, terms, Duration::ZERO)
}

pub(crate) fn full_jitter(transport: Transport, terms: &Terms) -> Client<Plain> {
    plain(transport, terms, Duration::from_millis(100))
}

fn plain(transport: Transport, terms: &Terms, base: Duration) -> Client<Plain> {
    let rule = Plain {
        max_attempts: attempts(terms, 4),
        base,
        cap: Duration::from_secs(20),
        chance: chance(terms),
    };
    client(transport, terms, rule)
}

pub(crate) fn tower(transport: Transport, terms: &Terms) -> Client<Tower> {
    let shortest = Duration::from_millis(50);
    let longest = Duration::from_millis(u64::MAX);
    let rng = HasherRng::with_hasher(Seeded(terms.seed()));
    let rule = Tower {
        budget: (!terms.is_budget_off()).then(TpsBudget::default),
        backoff: ExponentialBackoffMaker::new(shortest, longest, 0.99, rng).ok(),
        max_attempts: attempts(terms, u32::MAX),
    };
    client(transport, terms, rule)
}

pub(crate) fn reqwest(transport: Transport, terms: &Terms) -> Client<Tower> {
    let rule = Tower {
        budget: (!terms.is_budget_off()).then(TpsBudget::default),
        backoff: None,
        max_attempts: attempts(terms, 3),
    };
    client(transport, terms, rule)
}

pub(crate) fn aws(transport: Transport, terms: &Terms) -> Client<Aws> {
    let rule = Aws {
        tokens: (!terms.is_budget_off()).then_some(Aws::FULL),
        max_attempts: attempts(terms, 3),
        chance: chance(terms),
    };
    client(transport, terms, rule)
}

pub(crate) fn grpc(transport: Transport, terms: &Terms) -> Client<Grpc> {
    let rule = Grpc {
        tokens: (!terms.is_budget_off()).then_some(Grpc::FULL),
        max_attempts: attempts(terms, 4),
        chance: chance(terms),
    };
    client(transport, terms, rule)
}

fn client<R: Rule>(transport: Transport, terms: &Terms, rule: R) -> Client<R> {
    let rival = Rival {
        rule: Rc::new(RefCell::new(rule)),
        call: Progress::default(),
    };
    let attempt = Timeout::new(transport, terms.attempt_timeout());
    whole(Retry::new(rival, attempt), terms)
}

fn whole<S>(service: S, terms: &Terms) -> Timeout<S> {
    Timeout::new(service, terms.total_timeout().unwrap_or(Duration::MAX))
}

fn attempts(terms: &Terms, own: u32) -> u32 {
    terms.attempts().map_or(own, std::num::NonZeroU32::get)
}

fn chance(terms: &Terms) -> Chance {
    Chance::new(terms.seed(), Stream::Clients)
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
