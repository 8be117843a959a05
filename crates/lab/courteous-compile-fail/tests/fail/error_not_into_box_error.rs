use http::{Request, Response};
use http_body_util::Full;

type Body = Full<&'static [u8]>;

/// Not a `std::error::Error`.
#[derive(Debug)]
struct Failed;

fn main() {
    let client = tower::service_fn(async |request: Request<Body>| {
        Ok::<_, Failed>(Response::new(request.into_body()))
    });
    courteous::check::<Body, _>(client);
}
