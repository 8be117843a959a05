use std::time::Duration;

use courteous::retry::StopReason;
use courteous_clients::kube_recipe::client;
use http::{Method, Response};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, Config,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::server::{Answer, Server};

fn api<K>(server: &Server) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    Api::default_namespaced(client(Config::new(server.uri())).unwrap())
}

fn answer(status: u16, json: &Value) -> Response<String> {
    let response = Response::builder().status(status);
    response.body(json.to_string()).unwrap()
}

fn pods() -> Answer {
    let pods = json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [
        { "metadata": { "name": "web-1" } },
    ]});
    Some(answer(200, &pods))
}

fn settings() -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": "settings" } })).unwrap()
}

#[tokio::test]
async fn a_list_that_is_throttled_is_sent_again_after_the_pause() {
    let busy =
        json!({ "kind": "Status", "status": "Failure", "code": 429, "reason": "TooManyRequests" });
    let mut busy = answer(429, &busy);
    busy.headers_mut().insert("retry-after", 1.into());
    let server = Server::start([Some(busy), pods()]).await;

    let start = Instant::now();
    let pods = api::<Pod>(&server).list(&ListParams::default()).await;
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        pods.unwrap().items[0].metadata.name.as_deref(),
        Some("web-1")
    );
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    for (head, body) in seen {
        assert_eq!(head.uri.path(), "/api/v1/namespaces/default/pods");
        assert_eq!((head.method, body.as_str()), (Method::GET, ""));
    }
}

#[tokio::test]
async fn a_list_is_sent_again_if_its_answer_was_lost_and_a_create_is_not() {
    let server = Server::start([None, pods(), None]).await;
    let pods = api::<Pod>(&server).list(&ListParams::default()).await;
    assert_eq!(pods.unwrap().items.len(), 1);
    assert_eq!(server.seen().len(), 2);

    let created = api(&server)
        .create(&PostParams::default(), &settings())
        .await;
    let error = courteous::Error::new(created.unwrap_err());
    assert_eq!(error.stop_reason(), Some(StopReason::NotIdempotent));
    assert_eq!((error.attempts(), server.seen().len()), (Some(1), 3));
}

#[tokio::test]
async fn a_body_is_sent_again_as_it_was() {
    let made = answer(200, &serde_json::to_value(settings()).unwrap());
    let server = Server::start([Some(answer(503, &json!({}))), Some(made)]).await;
    let api = api::<ConfigMap>(&server);
    api.replace("settings", &PostParams::default(), &settings())
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!((seen.len(), &seen[0].0.method), (2, &Method::PUT));
    assert_eq!(seen[0].1, seen[1].1);
    assert_eq!(seen[0].0.headers, seen[1].0.headers);
    assert_eq!(
        seen[0].0.headers["content-length"],
        seen[0].1.len().to_string()
    );
}
