use std::convert::Infallible;

use courteous_core::{CallContext, Decision, ObserveOnly};
use courteous_dead_letter::{DeadLettered, NotRecorded, Reason};
use courteous_testkit::{Probe, Reply};
use http::Request;
use tokio_test::task;
use tower::{Layer, ServiceExt};

use crate::support::*;

#[tokio::test]
async fn nothing_is_kept_and_as_many_are_told_as_would_have_been_recorded() {
    let (_, store, enforced) = layer();
    let switch = ObserveOnly::new();
    let layer = enforced.clone().observe_only(switch.clone());
    for code in [200, 404, 503, 500, 429] {
        let response = answered(&layer, code).await;
        assert_eq!(response.status(), code);
        assert!(response.extensions().get::<DeadLettered>().is_none());
        assert!(response.extensions().get::<NotRecorded>().is_none());
    }
    let refused = async |_| Err::<http::Response<Body>, _>(std::io::Error::other("no"));
    let error = call(&layer, post(), refused).await.unwrap_err();
    assert_eq!(error.to_string(), "no");
    assert!(error.source().is_none(), "as it is");
    assert!(letters(&store).await.is_empty());
    let told = switch.count(Decision::DeadLetter);

    for code in [200, 404, 503, 500, 429] {
        answered(&enforced, code).await;
    }
    call(&enforced, post(), refused).await.unwrap_err();
    assert_eq!(letters(&store).await.len() as u64, told);
    assert_eq!(told, 4);

    switch.set(false);
    answered(&layer, 503).await;
    assert_eq!(letters(&store).await.len() as u64, told + 1);
}

#[tokio::test]
async fn an_attempt_inside_a_retry_is_not_told_as_it_would_not_be_recorded() {
    let (_, store, enforced) = layer();
    let switch = ObserveOnly::new();
    for layer in [enforced.clone().observe_only(switch.clone()), enforced] {
        let mut request = post();
        CallContext::edit(request.extensions_mut()).set_attempt(std::num::NonZeroU32::MIN);
        let down = async |_| Ok::<_, Infallible>(status(503));
        call(&layer, request, down).await.unwrap();
    }
    assert_eq!(switch.count(Decision::DeadLetter), 0);
    assert!(letters(&store).await.is_empty());
}

#[tokio::test]
async fn a_dropped_call_is_told_by_choice() {
    let (_, store, layer) = layer();
    let switch = ObserveOnly::new();
    for (layer, told) in [
        (layer.clone(), 0),
        (layer.with_reason(Reason::Abandoned), 1),
    ] {
        let layer = layer.observe_only(switch.clone());
        let probe = Probe::new().pending_polls(0).otherwise(|_| Reply::never());
        let request = Request::post("https://api.test/").body(Body::default());
        let mut call = task::spawn(layer.layer(probe).oneshot(request.unwrap()));
        assert!(call.poll().is_pending());
        drop(call);
        assert_eq!(switch.count(Decision::DeadLetter), told);
    }
    assert!(letters(&store).await.is_empty());
}
