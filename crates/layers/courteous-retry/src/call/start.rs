//! Makes the request of each attempt.
//!
//! The first attempt is the caller's own request, changed in place. Before that it is copied into a
//! snapshot, so that nothing that an attempt adds leaks into the next one. A further attempt is the
//! snapshot with a body that is read again, and the same additions: the call's context with the
//! attempt's number, the call's record, the claim on the key, and the attempt's number for the server.
//!
//! Attempt 1 of `POST /orders` with `RetryLayer::with_attempt_header(x-attempt)` is sent with
//! `x-attempt: 1`. Attempt 2 is sent with `x-attempt: 2`, and, if it is a gRPC request, with
//! `grpc-previous-rpc-attempts: 1`.

use std::{mem, num::NonZeroU32};

use courteous_body::Keep;
use courteous_budget::Payment;
use courteous_classify::is_grpc;
use courteous_core::{
    BoxError, CallContext, CallId, CallKeys, CallRecord, KeyClaim, NoteKind, RejectReason, Upload,
    is_idempotent,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request};

use super::{Call, Told};
use crate::{settings::Settings, snapshot::Snapshot};

/// Tells a gRPC server how many attempts came before this one (gRFC A6).
const GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// Reads and copies what further attempts need, and turns `request` into the first attempt.
    /// Fails if another operation was sent under the request's key.
    // Writes into its place: inlined, the call would be built elsewhere and moved twice.
    #[inline(never)]
    pub(crate) fn begin(&mut self, request: &mut Request<B>) -> Result<(), BoxError> {
        let extensions = request.extensions();
        let context = extensions.get::<CallContext>().copied();
        let outer_attempt = context.and_then(|context| context.attempt());
        // Most requests have no other extension: then nothing else is looked up or copied.
        let mut known = usize::from(context.is_some());
        let claim = match extensions.len() > known {
            true => extensions.get::<KeyClaim>(),
            false => None,
        };
        known += usize::from(claim.is_some());
        // A safe request has no effect that could happen twice, so it claims no key.
        if let Some(claim) = claim.filter(|_| !request.method().is_safe()) {
            self.key = claim.claim(outer_attempt);
            if self.key.is_none() {
                if let Some(record) = CallRecord::of(request.extensions()) {
                    record.note(NoteKind::Rejected(RejectReason::KeyReused));
                }
                return Err(self.key_reused());
            }
        }
        // After the key is claimed: the operation that holds it may write into the same record.
        if request.extensions().len() > known && self.follow(request.extensions_mut()) {
            known += 1;
        }
        let has_more = request.extensions().len() > known;
        let overrides = match has_more {
            true => request.extensions(),
            false => &Extensions::new(),
        };
        self.facts = self.settings.facts(request, overrides);
        if let (Some(record), Some(said)) = (self.record(), self.facts.said) {
            record.say_idempotent(said);
        }
        self.max_attempts = self.settings.max_attempts(overrides);
        self.context = context.unwrap_or_default();
        if let Some(key) = &self.key
            && let Some(claim) = request.extensions_mut().get_mut::<KeyClaim>()
        {
            // Replaced in place, as inserting another one would allocate. With one attempt, the
            // attempt has no number that tells it from this call's own claim.
            *claim = match self.max_attempts.get() {
                1 => KeyClaim::new(),
                _ => key.for_retries_inside(),
            };
        }
        if self.max_attempts.get() > 1 {
            let body_limit = self.settings.body_limit(request, self.facts);
            let kept = self.keep.keep_in_place(request.body_mut(), body_limit);
            self.snapshot = Some(Snapshot::of(request, has_more, kept));
            if !self.facts.keyed && !is_idempotent(request.method()) {
                let is_within_another =
                    has_more && request.extensions().get::<CallKeys>().is_some();
                self.identify(is_within_another);
            }
            self.context.set_attempt(NonZeroU32::MIN);
            *CallContext::edit(request.extensions_mut()) = self.context;
            if let Some(keys) = &self.keys {
                request.extensions_mut().insert(keys.clone());
            }
            self.watch(request);
        } else if request.extensions().get::<Upload>().is_none()
            && let Some(upload) = self.keep.watch_in_place(request.body_mut())
        {
            request.extensions_mut().insert(upload);
        }
        number(request.headers_mut(), 1, &self.settings);
        Ok(())
    }

    /// Counts the call's attempts in its record from now on, if it has one.
    fn follow(&mut self, extensions: &mut Extensions) -> bool {
        let Some(place) = extensions.get_mut::<CallRecord>() else {
            return false;
        };
        // The attempts have the record too, but a retry further in leaves the counting to this one.
        let within = place.within_attempt();
        let record = mem::replace(place, within);
        record.begin_attempt();
        self.told = Told::Record(record);
        true
    }

    /// Gives the call an id, from which a key layer further in derives its key. If no id can be
    /// drawn, that layer adds no key, and this retry treats the call as one without a key.
    ///
    /// No key is derived if the call `is_within_another` whose attempts derive keys: the keys would
    /// differ between those attempts.
    fn identify(&mut self, is_within_another: bool) {
        let is_outermost = self.context.call_id().is_none();
        let id = self.context.ensure_call_id().ok();
        if is_within_another {
            self.keys = Some(CallKeys::new(None));
        } else if self.facts.idempotent {
            // Within an attempt of another retry, each operation has an id of its own.
            let id = match is_outermost {
                true => id,
                false => CallId::random().ok(),
            };
            self.keys = Some(CallKeys::new(id));
        }
    }

    /// Lets the layers inside see how far the body of `request` was sent, if it streams.
    pub(super) fn watch(&self, request: &mut Request<B>) {
        let kept = self.snapshot.as_ref().map(Snapshot::body);
        if let Some(upload) = kept.and_then(|kept| self.keep.upload(kept)) {
            request.extensions_mut().insert(upload);
        }
    }

    /// Takes the next attempt out of the wait and makes its request. From here on it counts as
    /// under way.
    pub(crate) fn start(&mut self) -> Option<Request<B>> {
        let so_far = self.later.as_mut()?.as_mut().project().so_far;
        let next = so_far.next.take()?;
        let mut request = self.snapshot.as_mut()?.request(&self.line, next.body);
        so_far.receipt = next.payment.map(Payment::sent);
        so_far.progress.attempts = so_far.progress.attempts.saturating_add(1);
        let attempt = so_far.progress.attempts;
        if let Some(attempt) = NonZeroU32::new(attempt) {
            self.context.set_attempt(attempt);
        }
        *CallContext::edit(request.extensions_mut()) = self.context;
        if let Some(record) = self.record() {
            record.begin_attempt();
            let within = || record.within_attempt();
            request.extensions_mut().get_or_insert_with(within);
        }
        if let Some(key) = &self.key {
            request.extensions_mut().insert(key.for_retries_inside());
        }
        if let Some(keys) = &self.keys {
            request.extensions_mut().insert(keys.next_attempt());
        }
        self.watch(&mut request);
        number(request.headers_mut(), attempt, &self.settings);
        Some(request)
    }
}

/// Writes the attempt's number into its request, for the server.
fn number(headers: &mut HeaderMap, attempt: u32, settings: &Settings) {
    if let Some(name) = &settings.attempt_header {
        headers.insert(name, HeaderValue::from(attempt));
    }
    if attempt > 1 && is_grpc(headers) {
        headers.insert(GRPC_PREVIOUS_ATTEMPTS, HeaderValue::from(attempt - 1));
    }
}
