use std::{
    future::poll_fn,
    pin::pin,
    time::{Duration, SystemTime},
};

use bytes::{Buf, Bytes};
use courteous_classify::is_grpc;
use courteous_core::{BoxError, CallContext, CallRecord, Elapsed, Idempotent, RequestLine, Scope};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

use crate::{
    Letter, NotSent, Reason, Record, Redrive, RedriveOutcome, Redriving, Secrets, Settlement,
    letter::Failed,
    redact::{Scrubber, Secrecy},
};

/// How long a stack may continue beyond its deadline, so that it can report the timeout itself.
const GRACE: Duration = Duration::from_secs(5);

/// How long the rest of a response's body is read, so that its connection is used again.
const DRAIN_TIME: Duration = Duration::from_millis(50);
const DRAIN_BYTES: usize = 64 * 1024;

/// The outcome of sending a record: how it is settled and shown, and the rest of a response.
pub(super) struct Attempted<RB> {
    pub(super) settlement: Settlement,
    pub(super) outcome: RedriveOutcome,
    pub(super) rest: Option<RB>,
}

impl<RB> Attempted<RB> {
    pub(super) const fn not_sent(why: NotSent) -> Self {
        Self {
            settlement: Settlement::Released,
            outcome: RedriveOutcome::NotSent(why),
            rest: None,
        }
    }
}

impl Redrive {
    /// Sends `record`, which was claimed at `claimed_at` or later.
    pub(super) async fn send<S, B, RB>(
        &self,
        record: &Record,
        service: S,
        claimed_at: Instant,
    ) -> Attempted<RB>
    where
        S: Service<Request<B>, Response = Response<RB>>,
        S::Error: Into<BoxError>,
        B: From<Bytes>,
        RB: Body,
    {
        let letter = &record.letter;
        let end = claimed_at.checked_add(self.total_timeout);
        let secrets = match (&self.secrets, end) {
            (Some(source), Some(end)) if !letter.withheld.is_empty() => {
                // Later, the claim could be over, or the key too old.
                timeout_at(end, source.secrets(letter))
                    .await
                    .unwrap_or_else(|_| Err(Elapsed::new(self.total_timeout, Scope::Total).into()))
            }
            (Some(source), None) if !letter.withheld.is_empty() => source.secrets(letter).await,
            _ => Ok(Secrets::new()),
        };
        let secrets = match secrets {
            Ok(secrets) => secrets,
            Err(error) => return Attempted::not_sent(NotSent::SecretsFailed(error)),
        };
        let (uri, headers) = match secrets.fill(letter) {
            Ok(filled) => filled,
            Err(missing) => return Attempted::not_sent(NotSent::MissingSecrets(missing)),
        };
        if end.is_some_and(|end| end <= Instant::now()) {
            return Attempted::not_sent(NotSent::TooLate);
        }
        let mut request = Request::new(B::from(letter.payload.bytes().clone()));
        *request.method_mut() = letter.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let extensions = request.extensions_mut();
        extensions.insert(Redriving::new(letter.id));
        let call_record = CallRecord::of_or_insert(extensions);
        if let Some(said) = letter.idempotent {
            extensions.insert(Idempotent(said));
        }
        if let Some(deadline) = end {
            CallContext::edit(extensions).tighten_to_end_of(self.total_timeout, deadline);
        }
        let scrubber = scrubber(letter, &request);
        let line = RequestLine::of(&request);
        let call = call(service, request);
        let result = match end.and_then(|end| end.checked_add(GRACE)) {
            Some(end) => timeout_at(end, call)
                .await
                .unwrap_or_else(|_| Err(Elapsed::new(self.total_timeout, Scope::Total).into())),
            None => call.await,
        };
        let began = self.clock.at(claimed_at);
        self.judge(record, &line, result, &call_record, &scrubber, began)
    }

    fn judge<RB: Body>(
        &self,
        record: &Record,
        line: &RequestLine,
        result: Result<Response<RB>, BoxError>,
        call_record: &CallRecord,
        scrubber: &Scrubber,
        began: SystemTime,
    ) -> Attempted<RB> {
        let (failed, error, response) = match result {
            Ok(response) => {
                let failed = Failed::of_response(&response, call_record, line, &*self.classifier);
                (failed, None, Some(response))
            }
            Err(error) => {
                let failed = Failed::of_error(&*error, call_record, line, &*self.classifier);
                (failed, Some(scrubber.error(&*error)), None)
            }
        };
        let status = response.as_ref().map(status_of);
        let rest = response.map(Response::into_body);
        let (settlement, outcome) = match (failed, status) {
            (None, Some(status)) if status.is_success() => (
                Settlement::Delivered { status },
                RedriveOutcome::Delivered { status },
            ),
            (failed, Some(status)) if is_of_this_time(status, &record.letter) => {
                let failed = failed.unwrap_or_else(|| Failed::answered(status, call_record));
                self.failed(record, failed, None, began)
            }
            (None, Some(status)) => refused(status),
            (Some(failed), Some(status)) if would_come_again(failed.reason) => refused(status),
            (Some(failed), _) if failed.was_rejected() => {
                return Attempted::not_sent(NotSent::Limited);
            }
            (Some(failed), _) => self.failed(record, failed, error, began),
            // A classifier that takes an error for an answer.
            (None, None) => self.failed(record, Failed::unknown(), error, began),
        };
        Attempted {
            settlement,
            outcome,
            rest,
        }
    }

    fn failed(
        &self,
        record: &Record,
        failed: Failed,
        error: Option<String>,
        began: SystemTime,
    ) -> (Settlement, RedriveOutcome) {
        let mut later = failed.into_failure(&self.clock, error);
        later.maybe_processed_since = Some(began);
        let mut letter = record.letter.clone();
        letter.failure = letter.failure.and_then(later);
        if letter.outlives_key(self.usable_key_lifetime()) {
            letter.failure.reason = Reason::KeyRunsOut;
        }
        let failure = letter.failure;
        let reason = failure.reason;
        match reason.is_end() || record.redrives.saturating_add(1) >= self.max_redrives {
            true => (
                Settlement::Exhausted(failure),
                RedriveOutcome::Exhausted { reason },
            ),
            false => (
                Settlement::Failed(failure),
                RedriveOutcome::Failed { reason },
            ),
        }
    }
}

/// The status of `response`. For a gRPC failure, which is a 200, the status that `google.rpc.Code`
/// names for its code. For CANCELLED, whose 499 is not registered, 500.
fn status_of<RB: Body>(response: &Response<RB>) -> StatusCode {
    let code = response.headers().get("grpc-status");
    let is_failure = response.body().is_end_stream() && is_grpc(response.headers());
    match code.filter(|_| is_failure).map(HeaderValue::as_bytes) {
        None | Some(b"0") => response.status(),
        Some(b"3" | b"9" | b"11") => StatusCode::BAD_REQUEST,
        Some(b"4") => StatusCode::GATEWAY_TIMEOUT,
        Some(b"5") => StatusCode::NOT_FOUND,
        Some(b"6" | b"10") => StatusCode::CONFLICT,
        Some(b"7") => StatusCode::FORBIDDEN,
        Some(b"8") => StatusCode::TOO_MANY_REQUESTS,
        Some(b"12") => StatusCode::NOT_IMPLEMENTED,
        Some(b"14") => StatusCode::SERVICE_UNAVAILABLE,
        Some(b"16") => StatusCode::UNAUTHORIZED,
        Some(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const fn refused(status: StatusCode) -> (Settlement, RedriveOutcome) {
    (
        Settlement::Refused { status },
        RedriveOutcome::Refused { status },
    )
}

/// Whether the answer may differ at another time: because it is about the credentials, or about an
/// earlier copy of the request that is still being processed under the same key.
fn is_of_this_time(status: StatusCode, letter: &Letter) -> bool {
    match status.as_u16() {
        401 | 403 | 407 => true,
        // An earlier attempt may be at work, so there must have been one.
        409 => {
            letter.key().is_some() && letter.failure.maybe_sent && letter.failure.maybe_processed
        }
        _ => false,
    }
}

const fn would_come_again(reason: Reason) -> bool {
    matches!(reason, Reason::Permanent | Reason::Vetoed)
}

/// The scrubber that removes the secrets of `request` from texts: the secrets known by name, and
/// the fresh ones.
fn scrubber<B>(letter: &Letter, request: &Request<B>) -> Scrubber {
    let mut secrecy = Secrecy::new();
    for name in &letter.withheld.query {
        secrecy.query.add_secret(name);
    }
    for name in &letter.withheld.headers {
        secrecy.headers.add_secret(name.as_str());
    }
    let no_key = HeaderName::from_static("idempotency-key");
    let key_header = letter.key_header.as_ref().unwrap_or(&no_key);
    let headers = request.headers().clone();
    secrecy.strip(request.uri(), headers, key_header).scrubber
}

async fn call<S, B, RB>(mut service: S, request: Request<B>) -> Result<Response<RB>, BoxError>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
{
    let ready = poll_fn(|cx| service.poll_ready(cx)).await;
    ready.map_err(Into::into)?;
    service.call(request).await.map_err(Into::into)
}

/// Reads the rest of a response, within bounds.
pub(super) async fn drain<RB: Body>(body: RB) {
    let mut body = pin!(body);
    let mut left = DRAIN_BYTES;
    let read = async {
        while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let len = frame.data_ref().map_or(0, Buf::remaining);
            if len > left {
                return;
            }
            left -= len;
        }
    };
    // If the rest does not arrive in time, it is dropped with its connection.
    let _ = timeout(DRAIN_TIME, read).await;
}
