/// A request extension: whether sending this request twice does no more than sending it once, whatever its method and its
/// key say.
///
/// The caller's word, for a POST that only reads (as all gRPC calls are POSTs), for a PUT that is not idempotent, or for a write
/// under a precondition whose caller can tell its own effect from another's. A retry goes by it, and a dead letter keeps it.
///
/// ```
/// # mod courteous { pub use courteous_core as core; pub use courteous_core as retry; }
/// use courteous::retry::Idempotent;
/// use http::Request;
///
/// let request = Request::post("http://api.example/search").extension(Idempotent(true)).body(())?;
/// # assert!(request.extensions().get::<Idempotent>().is_some());
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a value for callers to make")]
pub struct Idempotent(pub bool);
