//! A client of Kubernetes.

use std::time::Duration;

use courteous::{BoxError, ServiceBuilderExt, Stack, timeout::AttemptTimeoutLayer};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use kube::{Config, client::ConfigExt};
use tower::ServiceBuilder;

pub fn client(config: Config) -> Result<kube::Client, BoxError> {
    let http = Client::builder(TokioExecutor::new());
    let http = http.build_http(); // with TLS: http.build(config.rustls_https_connector()?)
    // A watch may be silent for as long as it lasts: 290 s by default.
    let attempt = AttemptTimeoutLayer::new(Duration::from_secs(10));
    let attempt = attempt.with_idle_timeout(Duration::from_secs(300));
    let stack = Stack::new().streaming().with_attempt_timeout(attempt);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .any_body()
        .layer(stack.build()?)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace))
}
