use std::{error::Error, sync::Arc};

use courteous_body::{Keep, NotReplayable};
use courteous_core::{
    CallContext, CallRecord, Decision, Idempotent, KeyField, ObserveOnly, RequestLine, RequestView,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::{collect::Collect, events, recording::Recording, settings::Settings};
use crate::{
    Letter, LetterId, NotRecordedCause, Payload, Reason, Redriving, Tags, letter::Failed,
    redrive::TOTAL_TIMEOUT,
};

/// What is kept of a call in flight. If it is dropped before the call has ended, the call was
/// abandoned.
pub(crate) struct PendingCall<K: Keep<B>, B: Body>(Option<Mode<K, B>>);

#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are kept, and a box would be one more allocation for each call"
)]
enum Mode<K: Keep<B>, B> {
    Kept(KeptCall<K, B>),
    /// Nothing is recorded; the call is only reported.
    Observed(ObservedCall),
}

/// What must be known of a call to report that it would have been recorded.
struct ObservedCall {
    settings: Arc<Settings>,
    switch: ObserveOnly,
    line: RequestLine,
    call_record: CallRecord,
}

struct KeptCall<K: Keep<B>, B> {
    settings: Arc<Settings>,
    keep: K,
    line: RequestLine,
    headers: HeaderMap,
    tags: Tags,
    body: K::Kept,
    call_record: CallRecord,
    idempotent: Option<bool>,
    begun: Instant,
    /// There is a retry outside, which may retry a failure of this call.
    inside_retry: bool,
}

impl<K: Keep<B> + Clone, B: Body> PendingCall<K, B> {
    /// Returns the pending call of `request`, and the request to send in its place. A redrive gets
    /// an empty one: its failure goes back to the record that it came from.
    pub(crate) fn of(
        mut request: Request<B>,
        settings: &Arc<Settings>,
        keep: &K,
    ) -> (Self, Request<B>) {
        let is_redrive = request.extensions().get::<Redriving>().is_some();
        let is_wanted = match &settings.filter {
            Some(only) => only(RequestView::of(&request)),
            None => true,
        };
        if is_redrive || !is_wanted {
            return (Self(None), request);
        }
        let inside_retry = CallContext::of(request.extensions()).attempt().is_some();
        if let Some(switch) = ObserveOnly::active(settings.observe.as_ref()) {
            // This is an attempt, not a call, and would not be recorded.
            if inside_retry {
                return (Self(None), request);
            }
            let call_record = CallRecord::of_or_insert(request.extensions_mut());
            let observed = ObservedCall {
                settings: Arc::clone(settings),
                switch: switch.clone(),
                line: RequestLine::of(&request),
                call_record,
            };
            return (Self(Some(Mode::Observed(observed))), request);
        }
        let extensions = request.extensions_mut();
        let tags = extensions.remove().unwrap_or_default();
        let idempotent = extensions.get().map(|&Idempotent(said)| said);
        let call_record = CallRecord::of_or_insert(extensions);
        let line = RequestLine::of(&request);
        let (parts, body) = request.into_parts();
        let (body, kept) = keep.keep(body, settings.body_limit);
        let call = KeptCall {
            settings: Arc::clone(settings),
            keep: keep.clone(),
            line,
            headers: parts.headers.clone(),
            tags,
            body: kept,
            call_record,
            idempotent,
            begun: Instant::now(),
            inside_retry,
        };
        (
            Self(Some(Mode::Kept(call))),
            Request::from_parts(parts, body),
        )
    }
}

impl<K: Keep<B>, B: Body> PendingCall<K, B> {
    /// The recording that follows the call's `result`, if the call has failed for a reason that
    /// counts.
    pub(crate) fn settle<RB: Body>(
        &mut self,
        result: Result<&Response<RB>, &(dyn Error + 'static)>,
    ) -> Option<Recording<B>> {
        match self.0.take()? {
            Mode::Kept(kept) => {
                let failed = judge(&kept.settings, &kept.call_record, &kept.line, result)?;
                Some(kept.record(failed, result.err()))
            }
            Mode::Observed(observed) => {
                let failed = judge(
                    &observed.settings,
                    &observed.call_record,
                    &observed.line,
                    result,
                )?;
                let status = result.ok().map(Response::status);
                observed.tell(failed.reason, status);
                None
            }
        }
    }
}

/// How a call has failed, if it failed for a reason that counts.
fn judge<RB: Body>(
    settings: &Settings,
    call_record: &CallRecord,
    line: &RequestLine,
    result: Result<&Response<RB>, &(dyn Error + 'static)>,
) -> Option<Failed> {
    let classifier = &*settings.classifier;
    let failed = match result {
        Ok(response) => Failed::of_response(response, call_record, line, classifier),
        Err(error) => Failed::of_error(error, call_record, line, classifier),
    };
    failed.filter(|failed| settings.reasons.contains(failed.reason))
}

impl ObservedCall {
    #[cold]
    fn tell(self, reason: Reason, status: Option<StatusCode>) {
        self.switch.record(Decision::DeadLetter);
        events::observed(reason, &self.line, status);
    }
}

impl<K: Keep<B>, B: Body> KeptCall<K, B> {
    fn record(self, failed: Failed, error: Option<&(dyn Error + 'static)>) -> Recording<B> {
        let settings = self.settings;
        let stripped = settings
            .secrecy
            .strip(self.line.uri(), self.headers, &settings.key_header);
        let error = error.map(|error| stripped.scrubber.error(error));
        let tags = settings.secrecy.strip_tags(self.tags, &stripped.scrubber);
        let clock = &settings.clock;
        let (body, payload) = match self.keep.again(&self.body) {
            Ok(body) => (Some(body), Payload::Gone),
            Err(NotReplayable::TooLarge) => (None, Payload::Truncated(bytes::Bytes::new())),
            Err(_) => (None, Payload::Gone),
        };
        let has_key = KeyField::of(&stripped.headers, &settings.key_header).is_key();
        let failure = failed.into_failure(clock, error);
        let now = clock.now();
        // A letter that could not get an id of its own gets one from its time, for the hook.
        let id = LetterId::new(now);
        let not_recorded = match id {
            _ if self.inside_retry => Some(NotRecordedCause::RetryOutside),
            Err(error) => Some(NotRecordedCause::NoId(error)),
            Ok(_) => None,
        };
        let mut letter = Letter {
            headers: stripped.headers,
            withheld: stripped.withheld,
            payload,
            key_header: has_key.then(|| settings.key_header.clone()),
            idempotent: self.call_record.idempotent().or(self.idempotent),
            first_at: clock.at(self.begun),
            tags,
            ..Letter::new(
                id.unwrap_or_else(|_| LetterId::floor(now)),
                self.line.method().clone(),
                stripped.uri,
                failure,
            )
        };
        let lifetime = settings.key_lifetime.saturating_sub(TOTAL_TIMEOUT);
        if letter.outlives_key(lifetime) {
            letter.failure.reason = Reason::KeyRunsOut;
        }
        let body = body.map(|body| Collect::new(body, settings.body_limit));
        Recording::new(settings, self.line, letter, body, not_recorded)
    }
}

impl<K: Keep<B>, B: Body> Drop for PendingCall<K, B> {
    fn drop(&mut self) {
        let abandoned = |settings: &Settings| settings.reasons.contains(Reason::Abandoned);
        match self.0.take() {
            Some(Mode::Kept(kept)) if abandoned(&kept.settings) => {
                let failed = Failed::abandoned(&kept.call_record);
                // Dropping the recording at once hands the letter over.
                drop(kept.record(failed, None));
            }
            Some(Mode::Observed(observed)) if abandoned(&observed.settings) => {
                observed.tell(Reason::Abandoned, None);
            }
            _ => {}
        }
    }
}
