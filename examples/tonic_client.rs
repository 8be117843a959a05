//! A generated gRPC client under the stack: a call that may be made twice is, and a deadline of
//! ours arrives as the status that gRPC has for it.
//!
//! ```text
//! cargo run --example tonic_client
//! ```

use std::{error::Error, net::Ipv4Addr, pin::Pin, time::Duration};

use courteous::{
    Elapsed, GrpcStatusLayer, RetryLayer, ServiceBuilder, ServiceBuilderExt, TonicClassifier,
    find_cause,
};
use futures_util::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let server = format!("http://{}", listener.local_addr()?);
    let serving = Server::builder().add_service(HealthServer::new(Moody));
    tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));

    // All gRPC calls are POSTs, so nothing is sent twice until somebody says what may be: here,
    // what only reads.
    let retry = RetryLayer::new()
        .with_classifier(TonicClassifier::new())
        .with_idempotent(|request| request.uri().path().ends_with("/Check").then_some(true));
    let channel = ServiceBuilder::new()
        // Outermost: it makes statuses of the errors of all that is inside.
        .layer(GrpcStatusLayer::new())
        .total_timeout(Duration::from_secs(4))
        .retry(retry)
        .attempt_timeout(Duration::from_secs(2))
        .service(Endpoint::from_shared(server)?.connect_lazy());
    let mut client = HealthClient::new(channel);

    let health = client.check(named("flaky")).await?.into_inner().status();
    println!("flaky: {health:?}, at the second attempt");
    assert_eq!(health, ServingStatus::Serving);

    let status = client.check(named("slow")).await.err().ok_or("slow")?;
    println!("slow: {:?}, {}", status.code(), status.message());
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(find_cause::<Elapsed>(&status).is_some());

    // The deadline covers a stream to its end.
    let mut updates = client.watch(named("slow")).await?.into_inner();
    let first = updates.message().await?.ok_or("an update")?;
    assert_eq!(first.status(), ServingStatus::Serving);
    let status = updates.message().await.err().ok_or("no end")?;
    println!("a stream: {:?}, {}", status.code(), status.message());
    assert_eq!(status.code(), Code::DeadlineExceeded);
    Ok(())
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

/// A health service that is not well itself.
struct Moody;

#[tonic::async_trait]
impl Health for Moody {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let is_first = !request
            .metadata()
            .contains_key("grpc-previous-rpc-attempts");
        match request.get_ref().service.as_str() {
            "flaky" if is_first => Err(Status::unavailable("try again")),
            "slow" => std::future::pending().await,
            _ => Ok(Response::new(serving())),
        }
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // One update, and then none for ever.
        let updates = stream::iter([Ok(serving())]).chain(stream::pending());
        Ok(Response::new(updates.boxed()))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse {
        status: ServingStatus::Serving.into(),
    }
}
