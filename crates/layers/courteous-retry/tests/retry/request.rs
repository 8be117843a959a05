//! Classifiers and hooks see which request an outcome is about.

use courteous_core::{Classify, Outcome};
use courteous_retry::HttpClassifier;
use http::header::HOST;

use super::*;

/// A 404 to a read from a replica may pass; all else is as usual.
fn lagging(outcome: Outcome<'_>) -> Verdict {
    match outcome.request() {
        Some(request)
            if outcome.status() == Some(StatusCode::NOT_FOUND)
                && request.method() == Method::GET
                && request.uri().path().starts_with("/replica/") =>
        {
            Verdict::transient(Effect::MaybeProcessed, Fault::Server)
        }
        _ => HttpClassifier::new().classify(outcome),
    }
}

fn to(method: Method, uri: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    request.body(body("payload")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_classifier_decides_by_method_and_path() {
    for (method, uri, calls) in [
        (Method::GET, "http://api.example/replica/7?v=1", 3),
        (Method::GET, "/replica/7", 3),
        (Method::PUT, "http://api.example/replica/7", 1),
        (Method::GET, "http://api.example/notes/7", 1),
    ] {
        let probe = Probe::new().otherwise(|_| Reply::status(404));
        let service = steady().with_classifier(lagging).layer(probe.clone());
        let response = send(&service, to(method, uri)).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), probe.calls()),
            (404, calls),
            "{uri}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_decides_by_origin_also_for_errors_and_later_attempts() {
    let by_host = |outcome: Outcome<'_>| {
        let origin = outcome
            .request()
            .map(|request| request.origin().to_string());
        match (origin.as_deref(), outcome.result()) {
            (Some("https://flaky.example"), Err(_)) => {
                Verdict::transient(Effect::NeverSent, Fault::NoResponse)
            }
            (Some("https://flaky.example"), Ok(head)) if head.status() == 400 => {
                Verdict::transient(Effect::Refused, Fault::Throttled)
            }
            (_, Err(_)) => Verdict::Permanent,
            (_, Ok(_)) => Verdict::Answered,
        }
    };
    for (uri, host, calls) in [
        ("https://me:word@FLAKY.example:443/a", None, 3),
        ("https://steady.example/a", None, 1),
        ("/a", Some("flaky.example"), 1),
    ] {
        let probe = Probe::new().replies([Reply::fail("reset"), Reply::status(400)]);
        let layer = steady().with_retry_refused(true).with_classifier(by_host);
        let service = layer.layer(probe.clone());
        let mut request = to(Method::POST, uri);
        if let Some(host) = host {
            let host = host.parse().unwrap();
            request.headers_mut().insert(HOST, host);
        }
        let result = send(&service, request).await;
        assert_eq!(
            (result.is_ok(), probe.calls()),
            (calls == 3, calls),
            "{uri}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_sees_the_request_also_where_there_is_only_one_attempt() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = steady().with_classifier(move |outcome: Outcome<'_>| {
        let request = outcome.request().unwrap();
        let line = format!("{} {}", request.method(), request.uri());
        log.lock().unwrap().push(line);
        Verdict::Permanent
    });
    let probe = Probe::new().replies([Reply::status(500), Reply::error()]);
    let service = layer.with_max_attempts(1).unwrap().layer(probe);
    let mut disabled = to(Method::PUT, "http://api.example/b?c");
    disabled.extensions_mut().insert(NoRetry);
    let _ = send(&service, to(Method::DELETE, "/a")).await;
    let _ = send(&service, disabled).await;
    let seen = seen.lock().unwrap();
    assert_eq!(*seen, ["DELETE /a", "PUT http://api.example/b?c"]);
}

#[tokio::test(start_paused = true)]
async fn the_hook_names_method_origin_and_status() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let layer = steady().with_on_retry(move |event| {
        let status = event.status().map(|status| status.as_u16());
        let path = event
            .outcome()
            .request()
            .map(|request| request.uri().path().to_owned());
        let line = format!("{} {} {status:?} {path:?}", event.method(), event.origin());
        log.lock().unwrap().push(line);
    });
    let probe = Probe::new().replies([Reply::status(503), Reply::error()]);
    let service = layer.layer(probe);
    let secret = to(
        Method::PUT,
        "https://me:word@api.example:8443/t0ken?key=k3y",
    );
    assert!(send(&service, secret).await.is_ok());
    let expected = [
        r#"PUT https://api.example:8443 Some(503) Some("/t0ken")"#,
        r#"PUT https://api.example:8443 None Some("/t0ken")"#,
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}
