//! A client of GitHub.

use courteous::{BoxError, ServiceBuilder, ServiceBuilderExt, Stack};
use http::{Uri, header::USER_AGENT};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use octocrab::service::middleware::{base_uri::BaseUriLayer, extra_headers::ExtraHeadersLayer};
use octocrab::{AuthState, Octocrab, OctocrabBuilder};

pub fn client(api: Uri, auth: AuthState) -> Result<Octocrab, BoxError> {
    let http = Client::builder(TokioExecutor::new());
    let http = http.build_http(); // with TLS: http.build(..), as for kube
    let headers = vec![(USER_AGENT, "my-tool".parse()?)];
    let service = ServiceBuilder::new()
        .layer(BaseUriLayer::new(api)) // https://api.github.com
        .layer(ExtraHeadersLayer::new(headers.into()))
        .any_body()
        .layer(Stack::new().build()?)
        .service(http);
    let octocrab = OctocrabBuilder::new_empty().with_service(service);
    Ok(octocrab.with_auth(auth).build()?)
}
