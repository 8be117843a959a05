use std::task::Poll;

use http::Response;
use tower_layer::Layer;

use super::{
    Client, Subject,
    subject::{paused, ready, request},
};
use crate::{Probe, Reply, Seen, Task};

/// How many names the server has: as many as a map has keys by default.
const NAMES: usize = 10_000;

/// A server with many names that refuses each call, or says that its quota is used up, changes nothing for other origins:
/// one that is new is served at once, and what is known of one, such as that it is closed, is not forgotten. For a subject
/// that [keeps origins apart](Subject::keeps_origins_apart).
pub fn a_server_with_many_names_changes_nothing_for_others<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    let subject = make();
    let Some(calls) = subject.apart else {
        return;
    };
    let probe = Probe::new().otherwise(reply);
    let service = subject.service(&probe);
    paused(async {
        let mut known = Vec::new();
        for _ in 0..calls {
            let call = Call::to("known.example", &service).await;
            assert!(call.response.is_some(), "a first call waits");
            known.push(call);
        }
        assert!(is_held_up(&service, &probe).await, "no call is held up");
        let mut flood = Vec::new();
        for number in 0..NAMES {
            let host = format!("n{number}.hostile.example");
            flood.push(Call::to(&host, &service).await);
        }
        let call = Call::to("new.bystander.example", &service).await;
        match call.response {
            None => panic!("a call to a new origin waits"),
            Some(Err(error)) => panic!("a call to a new origin fails: {}", error.into()),
            Some(Ok(response)) => assert_eq!(response.status(), 200),
        }
        assert!(is_held_up(&service, &probe).await, "an origin is forgotten");
    });
}

fn reply(seen: &Seen) -> Reply {
    let host = seen.uri.host().unwrap_or_default();
    if host.ends_with("bystander.example") {
        Reply::ok()
    } else if host.ends_with("7.hostile.example") {
        // The last good response for now.
        Reply::ok()
            .header("ratelimit-limit", "100")
            .header("ratelimit-remaining", "0")
            .header("ratelimit-reset", "300")
            .body("the last")
    } else {
        Reply::status(429)
            .header("retry-after", "300")
            .body("too many")
    }
}

/// Whether the origin that is known takes no further call now.
async fn is_held_up<C: Client>(service: &C, probe: &Probe) -> bool {
    let before = probe.calls();
    drop(Call::to("known.example", service).await);
    probe.calls() == before
}

/// A call that got as far as it does without time passing, and what it holds.
struct Call<C: Client> {
    response: Option<Result<Response<C::Body>, C::Failure>>,
    /// `None` if the call was over.
    _waiting: Option<Task<C::Call>>,
}

impl<C: Client> Call<C> {
    async fn to(host: &str, service: &C) -> Self {
        let mut service = service.clone();
        ready(&mut service).await.unwrap();
        let mut request = request();
        *request.uri_mut() = format!("http://{host}/").parse().unwrap();
        let mut task = Task::new(service.call(request));
        match task.settle().await {
            Poll::Ready(response) => Self {
                response: Some(response),
                _waiting: None,
            },
            Poll::Pending => Self {
                response: None,
                _waiting: Some(task),
            },
        }
    }
}
