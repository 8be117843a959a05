use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use courteous::{
    Error,
    core::Idempotent,
    reqwest::{PoliteMiddleware, ReadRetryInfo},
    retry::StopReason,
};
use courteous_testing::{Answer, Script};
use http::Extensions;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next, Result};

use crate::{busy, client, nowhere, polite};

fn polite_client() -> ClientWithMiddleware {
    ClientBuilder::new(client())
        .with(PoliteMiddleware::new(polite()))
        .build()
}

/// The stack, then this.
fn around(inner: impl Middleware) -> ClientWithMiddleware {
    let builder = ClientBuilder::new(client()).with(PoliteMiddleware::new(polite()));
    builder.with(inner).build()
}

fn courteous(error: &reqwest_middleware::Error) -> &Error {
    let reqwest_middleware::Error::Middleware(error) = error else {
        panic!("{error:?}");
    };
    error.downcast_ref().unwrap()
}

type Answered<'a> = std::pin::Pin<Box<dyn Future<Output = Result<reqwest::Response>> + Send + 'a>>;

/// Says for which lifetimes `f` is a middleware, which a closure alone does not.
fn middleware<F>(f: F) -> F
where
    F: for<'a> Fn(reqwest::Request, &'a mut Extensions, Next<'a>) -> Answered<'a>,
{
    f
}

#[tokio::test]
async fn no_call_site_changes_and_url_and_retry_info_are_kept() {
    let server = Script::new([busy(), Answer::ok().body("7")])
        .serve()
        .await
        .unwrap();
    let request = polite_client().get(server.url("/a")).query(&[("b", "c")]);
    let response = request.bearer_auth("t").send().await.unwrap();
    assert_eq!(response.url().as_str(), server.url("/a?b=c"));
    assert_eq!(response.retry_info().attempts(), 2);
    assert_eq!(response.json::<u32>().await.unwrap(), 7);
    assert!(
        server
            .calls()
            .iter()
            .all(|call| call.header("user-agent") == Some("own"))
    );
}

#[tokio::test]
async fn what_the_caller_says_beside_the_request_reaches_the_stack() {
    let answers = [Answer::status(502), Answer::status(502), Answer::ok()];
    let server = Script::new(answers).serve().await.unwrap();
    let client = polite_client();
    let response = client.post(server.url("/")).send().await.unwrap();
    let info = response.retry_info();
    assert_eq!(
        (info.attempts(), info.stop_reason()),
        (1, StopReason::NotIdempotent)
    );
    let request = client
        .post(server.url("/"))
        .with_extension(Idempotent(true));
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.retry_info().attempts()),
        (200, 2)
    );
}

#[derive(Clone, Debug, PartialEq)]
struct Marks(Vec<&'static str>);

#[tokio::test]
async fn each_attempt_has_the_first_extensions_and_the_last_ones_are_written_back() {
    let server = Script::new([busy(), Answer::ok()]).serve().await.unwrap();
    let mark = middleware(|request, extensions, next| {
        let marks = extensions.get_mut::<Marks>().unwrap();
        marks.0.push("attempt");
        assert_eq!(marks.0, ["caller", "attempt"]);
        next.run(request, extensions)
    });
    let client = around(mark);
    let request = client.get(server.url("/")).build().unwrap();
    let mut extensions = Extensions::new();
    extensions.insert(Marks(vec!["caller"]));
    let response = client
        .execute_with_extensions(request, &mut extensions)
        .await;
    assert_eq!(response.unwrap().retry_info().attempts(), 2);
    assert_eq!(extensions.get(), Some(&Marks(vec!["caller", "attempt"])));
}

#[tokio::test]
async fn the_error_is_the_stacks_and_reqwests_class_is_kept() {
    // A POST without a key: sent again, as none was sent.
    let error = polite_client().post(nowhere()).send().await.unwrap_err();
    let error = courteous(&error);
    assert_eq!(error.attempts(), Some(3));
    assert!(error.find::<reqwest::Error>().unwrap().is_connect());

    // Sent, and perhaps processed: not sent again.
    let server = Script::always(Answer::connection_reset())
        .serve()
        .await
        .unwrap();
    let error = polite_client()
        .post(server.url("/"))
        .send()
        .await
        .unwrap_err();
    let error = courteous(&error);
    assert_eq!(error.stop_reason(), Some(StopReason::NotIdempotent));
    assert!(error.find::<reqwest::Error>().unwrap().is_request());
    server.assert_calls(1);
}

#[tokio::test]
async fn the_error_of_a_further_middleware_is_found() {
    let fails = middleware(|_, _, _| {
        let error = io::Error::other("no credentials");
        Box::pin(async { Err(reqwest_middleware::Error::middleware(error)) })
    });
    let error = around(fails)
        .post("http://api.test/")
        .send()
        .await
        .unwrap_err();
    let error = courteous(&error);
    assert_eq!(error.attempts(), Some(1));
    let inner = error.find::<reqwest_middleware::Error>().unwrap();
    assert_eq!(inner.to_string(), "no credentials");
}

/// Counts what is dropped.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn the_requests_timeout_is_the_calls_and_drops_the_attempt() {
    let server = Script::new([busy(), Answer::never()])
        .serve()
        .await
        .unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let guard = Arc::clone(&dropped);
    let client = around(middleware(move |request, extensions, next| {
        let guard = Guard(Arc::clone(&guard));
        Box::pin(async move {
            let response = next.run(request, extensions).await;
            drop(guard);
            response
        })
    }));
    let request = client
        .get(server.url("/"))
        .timeout(Duration::from_millis(300));
    let error = request.send().await.unwrap_err();
    assert!(courteous(&error).is_timeout());
    assert_eq!(dropped.load(Relaxed), 2);
    server.assert_calls(2);
}

#[tokio::test]
async fn an_attempt_that_its_timeout_ended_is_dropped_while_the_call_goes_on() {
    let stack = courteous::Stack::new().with_attempt_timeout(Duration::from_millis(200));
    let stack = stack
        .build()
        .unwrap()
        .layer(courteous::reqwest::ReqwestService::default());
    let server = Script::new([Answer::never(), Answer::ok()])
        .serve()
        .await
        .unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let at_start = Arc::new(Mutex::new(Vec::new()));
    let (guard, seen) = (Arc::clone(&dropped), Arc::clone(&at_start));
    let guarded = middleware(move |request, extensions, next| {
        seen.lock().unwrap().push(guard.load(Relaxed));
        let guard = Guard(Arc::clone(&guard));
        Box::pin(async move {
            let response = next.run(request, extensions).await;
            drop(guard);
            response
        })
    });
    let client = ClientBuilder::new(client())
        .with(PoliteMiddleware::new(stack))
        .with(guarded)
        .build();
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.retry_info().attempts(), 2);
    // When the second attempt began, the first one was gone.
    assert_eq!(*at_start.lock().unwrap(), [0, 1]);
}

#[tokio::test]
async fn one_stack_serves_both_ways() {
    use courteous::reqwest::SendThrough;

    let server = Script::always(Answer::ok()).serve().await.unwrap();
    let stack = polite();
    let middle = ClientBuilder::new(client())
        .with(PoliteMiddleware::new(stack.clone()))
        .build();
    middle.get(server.url("/")).send().await.unwrap();
    client()
        .get(server.url("/"))
        .send_through(&stack)
        .await
        .unwrap();
    stack
        .closer()
        .close(tokio::time::Instant::now())
        .await
        .unwrap();
    let error = middle.get(server.url("/")).send().await.unwrap_err();
    assert!(courteous(&error).is_rejected());
    server.assert_calls(2);
}
