use std::{error::Error, sync::Arc};

use courteous_core::{CallContext, KeyField, RequestView, Trail};
use courteous_replay::{Keep, NotReplayable};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::Body;
use tokio::time::Instant;

use crate::{
    Letter, LetterId, NotRecordedCause, Payload, Reason, Replaying, Tags, collect::Collect,
    recording::Recording, replay::TOTAL_TIMEOUT, settings::Settings, verdict::Failed,
};

/// What is kept of a call while it is under way. Dropped before the call has come to anything, it is an abandoned call.
pub(crate) struct Ticket<K: Keep<B>, B: Body>(Option<Open<K, B>>);

struct Open<K: Keep<B>, B> {
    settings: Arc<Settings>,
    keep: K,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    tags: Tags,
    body: K::Kept,
    trail: Trail,
    begun: Instant,
    /// A retry outside, which may try again what fails here.
    inside_retry: bool,
}

impl<K: Keep<B> + Clone, B: Body> Ticket<K, B> {
    /// The ticket of `request`, and what is to be sent in its place. A replay has one that is void: its failure goes back to
    /// the record that it came from.
    pub(crate) fn of(
        mut request: Request<B>,
        settings: &Arc<Settings>,
        keep: &K,
    ) -> (Self, Request<B>) {
        let is_replay = request.extensions().get::<Replaying>().is_some();
        let is_wanted = match &settings.filter {
            Some(only) => only(RequestView::of(&request)),
            None => true,
        };
        if is_replay || !is_wanted {
            return (Self(None), request);
        }
        let trail = Trail::new();
        let extensions = request.extensions_mut();
        let tags = extensions.remove().unwrap_or_default();
        let inside_retry = CallContext::of(extensions).attempt().is_some();
        extensions.insert(trail.clone());
        let (parts, body) = request.into_parts();
        let (body, kept) = keep.keep(body, settings.body_limit);
        let open = Open {
            settings: Arc::clone(settings),
            keep: keep.clone(),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            tags,
            body: kept,
            trail,
            begun: Instant::now(),
            inside_retry,
        };
        (Self(Some(open)), Request::from_parts(parts, body))
    }
}

impl<K: Keep<B>, B: Body> Ticket<K, B> {
    /// The recording that is to follow the call's `result`, if it has failed for a reason that counts.
    pub(crate) fn settle<RB: Body>(
        &mut self,
        result: Result<&Response<RB>, &(dyn Error + 'static)>,
    ) -> Option<Recording<B>> {
        let open = self.0.take()?;
        let classifier = &*open.settings.classifier;
        let (failed, error) = match result {
            Ok(response) => (Failed::of_response(response, &open.trail, classifier), None),
            Err(error) => (
                Failed::of_error(error, &open.trail, classifier),
                Some(error),
            ),
        };
        let counts = |failed: &Failed| open.settings.reasons.contains(failed.reason);
        let failed = failed.filter(counts)?;
        Some(open.record(failed, error))
    }
}

impl<K: Keep<B>, B: Body> Open<K, B> {
    fn record(self, failed: Failed, error: Option<&(dyn Error + 'static)>) -> Recording<B> {
        let settings = self.settings;
        let stripped = settings
            .secrecy
            .strip(&self.uri, self.headers, &settings.key_header);
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
        // The name of a letter that cannot have one of its own is that of its time: for the hook.
        let id = LetterId::new(now);
        let refusal = match id {
            _ if self.inside_retry => Some(NotRecordedCause::RetryOutside),
            Err(error) => Some(NotRecordedCause::NoId(error)),
            Ok(_) => None,
        };
        let mut letter = Letter {
            headers: stripped.headers,
            withheld: stripped.withheld,
            payload,
            key_header: has_key.then(|| settings.key_header.clone()),
            first_at: clock.at(self.begun),
            tags,
            ..Letter::new(
                id.unwrap_or_else(|_| LetterId::floor(now)),
                self.method,
                stripped.uri,
                failure,
            )
        };
        let lifetime = settings.key_lifetime.saturating_sub(TOTAL_TIMEOUT);
        if letter.outlives_key(lifetime) {
            letter.failure.reason = Reason::KeyRunsOut;
        }
        let body = body.map(|body| Collect::new(body, settings.body_limit));
        Recording::new(settings, letter, body, refusal)
    }
}

impl<K: Keep<B>, B: Body> Drop for Ticket<K, B> {
    fn drop(&mut self) {
        if let Some(open) = self.0.take()
            && open.settings.reasons.contains(Reason::Abandoned)
        {
            let failed = Failed::abandoned(&open.trail);
            // Dropped at once, which hands it over.
            drop(open.record(failed, None));
        }
    }
}
