//! A generated gRPC client under the stack. A call that may be made twice is retried, and one of
//! our deadlines arrives as the gRPC status for it.
//!
//! ```text
//! cargo run --example tonic_client
//! ```

use std::{error::Error, net::Ipv4Addr, pin::Pin, time::Duration};

use courteous::{Stack, retry::RetryInfo};
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

    // All gRPC calls are POSTs. So a call that the server may have acted on is sent again only if
    // its method is named: here, a method that only reads.
    let stack = Stack::grpc()
        .with_idempotent_methods(["/grpc.health.v1.Health/Check"])?
        .with_total_timeout(Duration::from_secs(4))
        .with_attempt_timeout(Duration::from_secs(2))
        .build()?;
    let channel = Endpoint::from_shared(server)?.connect_lazy();
    let mut client = HealthClient::new(stack.layer(channel));

    let response = client.check(named("flaky")).await?;
    let attempts = response.extensions().get().map(RetryInfo::attempts);
    println!(
        "flaky: {:?}, {attempts:?} attempts",
        response.get_ref().status()
    );
    assert_eq!(response.get_ref().status(), ServingStatus::Serving);
    assert_eq!(attempts, Some(2));

    let status = client.check(named("sick")).await.err().ok_or("sick")?;
    println!("sick: {:?}, {}", status.code(), status.message());
    assert_eq!(status.code(), Code::Unavailable);
    let error = courteous::Error::new(status);
    println!(
        "  {:?} after {:?} attempts",
        error.stop_reason(),
        error.attempts()
    );
    assert!(error.stop_reason().is_some());

    let status = client.check(named("slow")).await.err().ok_or("slow")?;
    println!("slow: {:?}, {}", status.code(), status.message());
    // The server knows the deadline, too. If it notices first, tonic's says CANCELLED.
    assert!(matches!(
        status.code(),
        Code::DeadlineExceeded | Code::Cancelled
    ));

    // The deadline covers a stream to its end.
    let mut updates = client.watch(named("slow")).await?.into_inner();
    let first = updates.message().await?.ok_or("an update")?;
    assert_eq!(first.status(), ServingStatus::Serving);
    let status = updates.message().await.err().ok_or("no end")?;
    println!("a stream: {:?}, {}", status.code(), status.message());
    assert!(matches!(
        status.code(),
        Code::DeadlineExceeded | Code::Cancelled
    ));
    Ok(())
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

/// A health service that fails at times.
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
            "sick" => Err(Status::unavailable("out of order")),
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
