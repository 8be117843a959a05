/// A request extension: this exchange goes on for long after its response head, such as an event stream, a watch, or a
/// gRPC stream.
///
/// Layers that bound a whole exchange bound it to the response head only. A total timeout ends there, a concurrency limit
/// frees the permit there, and the server is told no deadline of a single attempt.
///
/// ```
/// # mod courteous { pub use courteous_core as core; pub use courteous_core as retry; }
/// use courteous::core::LongLived;
/// use http::Request;
///
/// let request = Request::get("http://api.example/events").extension(LongLived).body(())?;
/// # assert!(request.extensions().get::<LongLived>().is_some());
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a marker")]
pub struct LongLived;
