//! What the layer of idempotency keys promises.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::HashSet,
    convert::Infallible,
    num::NonZeroU32,
    rc::Rc,
    task::{Context, Poll},
};

use courteous_core::{
    BoxError, CallContext, CallKeys, CallRecord, KeyClaim, NoteKind, RejectReason, Rejected,
    RequestView, find_cause, test_util,
};
use courteous_idempotency::{
    Generator, IdempotencyKey, IdempotencyKeyLayer, Key, KeyFormat, RandomUuid,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header::HOST};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Answers with the header fields that it was sent.
#[derive(Clone, Copy, Debug)]
struct Echo;

impl<B> Service<Request<B>> for Echo {
    type Response = HeaderMap;
    type Error = Infallible;
    type Future = std::future::Ready<Result<HeaderMap, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        std::future::ready(Ok(request.headers().clone()))
    }
}

/// The header fields that a server sees.
fn sent<G: Generator + Clone, B>(layer: &IdempotencyKeyLayer<G>, request: Request<B>) -> HeaderMap {
    let mut service = layer.layer(Echo);
    assert_ready_ok!(task::spawn(service.call(request)).poll())
}

fn key(headers: &HeaderMap) -> &str {
    headers[KEY].to_str().unwrap()
}

fn post() -> Request<()> {
    Request::post("https://api.example.com/payments")
        .body(())
        .unwrap()
}

const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::TRACE,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::POST,
    Method::PATCH,
];

#[test]
fn post_and_patch_get_a_key_and_no_other_method_does() {
    let layer = IdempotencyKeyLayer::new();
    for method in METHODS {
        let mut request = post();
        *request.method_mut() = method.clone();
        let expected = [Method::POST, Method::PATCH].contains(&method);
        let headers = sent(&layer, request);
        assert_eq!(headers.contains_key(KEY), expected, "{method}");
        assert_eq!(headers.len(), usize::from(expected));
    }
}

#[test]
fn other_methods_can_be_chosen_and_safe_ones_are_rejected() {
    let chosen = [Method::PUT, Method::from_bytes(b"MERGE").unwrap()];
    let layer = IdempotencyKeyLayer::new()
        .with_methods(chosen.clone())
        .unwrap();
    for method in METHODS.into_iter().chain(chosen.clone()) {
        let mut request = post();
        *request.method_mut() = method.clone();
        assert_eq!(
            sent(&layer, request).contains_key(KEY),
            chosen.contains(&method),
            "{method}"
        );
    }
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        let methods = [Method::POST, method.clone()];
        let error = IdempotencyKeyLayer::new().with_methods(methods);
        let error = error.unwrap_err();
        assert_eq!(error.method(), method);
        assert!(error.to_string().starts_with(method.as_str()));
    }
}

#[test]
fn two_calls_have_two_keys() {
    let layer = IdempotencyKeyLayer::new();
    let (one, other) = (sent(&layer, post()), sent(&layer, post()));
    assert_ne!(key(&one), key(&other));
}

#[test]
fn a_key_that_the_caller_has_set_is_never_touched() {
    let layer = IdempotencyKeyLayer::new().with_format(KeyFormat::StructuredField);
    for value in ["mine", " mine ", r#""mine""#, r#""my key""#] {
        let request = with_fields(post(), &[value.as_bytes()]);
        let before = request.headers().clone();
        assert_eq!(sent(&layer, request), before);
    }
}

#[test]
fn a_blank_field_is_replaced_or_taken_out() {
    let blank: [&[&[u8]]; 5] = [&[b""], &[b" "], &[b" \t "], &[b"\"\""], &[b"", b" "]];
    for values in blank {
        let headers = sent(&IdempotencyKeyLayer::new(), with_fields(post(), values));
        assert_eq!((headers.len(), key(&headers).len()), (1, 36), "{values:?}");
        let none = IdempotencyKeyLayer::new().with_generator(|_| None::<Key>);
        assert!(sent(&none, with_fields(post(), values)).is_empty());
    }
}

#[test]
fn a_malformed_key_is_rejected_before_anything_is_sent() {
    let malformed: [&[&[u8]]; 6] = [
        &[b"one", b"two"],
        &[b"one", b"one"],
        &[b"", b"one"],
        &[b"not \xff text"],
        &[b"a key"],
        &[b"a\tkey"],
    ];
    let (inner, mut handle) = tower_test::mock::pair::<Request<()>, ()>();
    let mut service = task::spawn(IdempotencyKeyLayer::new().layer(inner));
    handle.allow(100);
    for values in malformed {
        let mut call = |request: Request<()>| {
            assert_ready_ok!(service.enter(|cx, mut service| service.poll_ready(cx)));
            task::spawn(service.call(request))
        };
        let error = assert_ready_err!(call(with_fields(post(), values)).poll());
        let rejected = find_cause::<Rejected>(&*error).unwrap();
        assert_eq!(rejected.reason(), RejectReason::MalformedKey);
        assert!(rejected.reason().is_final() && rejected.gate().is_none());
        let expected = "request not sent: its idempotency key is malformed";
        assert_eq!(error.to_string(), expected);
    }
    assert_pending!(task::spawn(handle.next_request()).poll());
}

#[test]
fn a_field_is_not_judged_where_no_key_goes() {
    let elsewhere = IdempotencyKeyLayer::new().with_hosts(["other.example"]);
    for (layer, method) in [
        (IdempotencyKeyLayer::new(), Method::PUT),
        (elsewhere.unwrap(), Method::POST),
    ] {
        for values in [&[&b" "[..]][..], &[b"one", b"two"]] {
            let mut request = with_fields(post(), values);
            *request.method_mut() = method.clone();
            let before = request.headers().clone();
            assert_eq!(sent(&layer, request), before);
        }
    }
}

/// `request` with a field for each of `values`.
fn with_fields(mut request: Request<()>, values: &[&[u8]]) -> Request<()> {
    for value in values {
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().append(KEY, value);
    }
    request
}

#[test]
fn another_field_can_hold_the_key() {
    let name = HeaderName::from_static("paypal-request-id");
    let layer = IdempotencyKeyLayer::new().with_header(name.clone());
    let headers = sent(&layer, post());
    assert_eq!((headers.len(), headers[&name].len()), (1, 36));

    let mut request = post();
    let mine = HeaderValue::from_static("mine");
    request.headers_mut().insert(name.clone(), mine);
    assert_eq!(sent(&layer, request)[&name], "mine");
}

#[test]
fn a_key_goes_to_the_named_hosts_and_to_no_other() {
    let layer = IdempotencyKeyLayer::new()
        .with_hosts(["api.example.com", "*.pay.example.com:8443"])
        .unwrap();
    for (uri, host, expected) in [
        ("https://api.example.com/", None, true),
        ("https://eu.pay.example.com:8443/", None, true),
        ("https://eu.pay.example.com/", None, false),
        ("https://evil.test/", Some("api.example.com"), false),
        ("/payments", Some("api.example.com"), true),
        ("/payments", Some("evil.test"), false),
        ("/payments", None, false),
    ] {
        let mut request = Request::post(uri).body(()).unwrap();
        if let Some(host) = host {
            let host = HeaderValue::from_static(host);
            request.headers_mut().insert(HOST, host);
        }
        let seen = sent(&layer, request).contains_key(KEY);
        assert_eq!(seen, expected, "{uri} {host:?}");
    }
    let nowhere = IdempotencyKeyLayer::new().with_hosts([""; 0]).unwrap();
    assert!(sent(&nowhere, post()).is_empty());
    let error = IdempotencyKeyLayer::new().with_hosts(["https://example.com"]);
    assert_eq!(error.unwrap_err().host(), "https://example.com");
}

#[test]
fn the_drafts_form_is_quoted() {
    let layer = IdempotencyKeyLayer::new().with_format(KeyFormat::StructuredField);
    let headers = sent(&layer, post());
    let key = key(&headers);
    assert_eq!(key.len(), 38);
    assert!(key.starts_with('"') && key.ends_with('"'));

    let layer = layer.with_generator(|_| Key::new(r#"a"\b"#).unwrap());
    assert_eq!(sent(&layer, post())[KEY], r#""a\"\\b""#);
}

#[test]
fn a_generator_sees_the_request_and_may_reject() {
    #[derive(Clone)]
    struct Order(u32);
    let layer = IdempotencyKeyLayer::new().with_generator(|request| {
        let &Order(number) = request.extensions().get()?;
        Key::new(&format!(
            "{}:{}:{number}",
            request.method(),
            request.uri().path()
        ))
        .ok()
    });
    let mut request = post();
    request.extensions_mut().insert(Order(42));
    assert_eq!(sent(&layer, request.clone())[KEY], "POST:/payments:42");
    assert_eq!(sent(&layer, request)[KEY], "POST:/payments:42");
    assert!(sent(&layer, post()).is_empty());
}

#[test]
fn a_generator_is_not_asked_where_no_key_goes() {
    let layer = IdempotencyKeyLayer::new()
        .with_hosts(["other.example"])
        .unwrap()
        .with_generator(|_| -> Key { panic!("asked") });
    assert!(sent(&layer, post()).is_empty());
}

/// A request as a retry outside sends it.
fn attempt(call: &CallContext, number: u32) -> Request<()> {
    let mut request = post();
    let context = CallContext::edit(request.extensions_mut());
    *context = *call;
    context.set_attempt(NonZeroU32::new(number).unwrap());
    request
}

/// The attempts of a call that a retry outside repeats also where it may have been processed.
struct Repeated {
    context: CallContext,
    keys: CallKeys,
}

impl Repeated {
    fn new() -> Self {
        let mut context = CallContext::default();
        let call = context.ensure_call_id().unwrap();
        let keys = CallKeys::new(Some(call));
        Self { context, keys }
    }

    /// What each request of the attempt that is made of it has.
    fn attempt(&self, number: u32) -> Request<()> {
        let mut request = attempt(&self.context, number);
        request.extensions_mut().insert(self.keys.next_attempt());
        request
    }
}

#[test]
fn inside_a_retry_that_repeats_what_may_have_been_processed_all_attempts_have_one_key() {
    let layer = IdempotencyKeyLayer::new();
    let (one, other) = (Repeated::new(), Repeated::new());
    // An attempt that a limit has rejected is sent again under its number.
    let keys = [1, 1, 2, 3].map(|number| sent(&layer, one.attempt(number)));
    for headers in &keys[1..] {
        assert_eq!(key(&keys[0]), key(headers));
    }
    let uuid = uuid::Uuid::try_parse(key(&keys[0])).unwrap();
    assert_eq!(uuid.get_version_num(), 4);
    assert_ne!(key(&keys[0]), key(&sent(&layer, other.attempt(1))));
    // However many others there are between two attempts.
    for _ in 0..1_000 {
        sent(&layer, Repeated::new().attempt(1));
    }
    assert_eq!(key(&keys[0]), key(&sent(&layer, one.attempt(4))));
}

#[test]
fn inside_a_retry_that_repeats_only_what_was_not_processed_two_requests_of_an_attempt_have_two_keys()
 {
    let layer = IdempotencyKeyLayer::new();
    let mut call = CallContext::default();
    call.ensure_call_id().unwrap();
    let two = |number| [(); 2].map(|()| key(&sent(&layer, attempt(&call, number))).to_owned());
    let first = two(1);
    assert_ne!(first[0], first[1]);
    assert_eq!(two(2), first);
}

#[test]
fn inside_two_retries_of_which_the_outer_one_repeats_what_may_have_been_processed_there_is_no_key()
{
    let call = Repeated::new();
    let mut request = call.attempt(1);
    request.extensions_mut().insert(CallKeys::new(None));
    assert!(sent(&IdempotencyKeyLayer::new(), request).is_empty());
}

#[test]
fn a_request_whose_key_cannot_be_drawn_is_rejected_before_anything_is_sent() {
    let (inner, mut handle) = tower_test::mock::pair::<Request<()>, ()>();
    handle.allow(100);
    let rejected = |error: BoxError| {
        let rejected = find_cause::<Rejected>(&*error).unwrap();
        assert_eq!(rejected.reason(), RejectReason::NoKey);
        let expected = "request not sent: no idempotency key could be drawn for it";
        assert_eq!(error.to_string(), expected);
    };
    let mut service = task::spawn(IdempotencyKeyLayer::new().layer(inner.clone()));
    assert_ready_ok!(service.enter(|cx, mut service| service.poll_ready(cx)));
    let call = test_util::without_random_bytes(|| service.call(post()));
    rejected(assert_ready_err!(task::spawn(call).poll()));

    // Also where a closure asks for it.
    let layer = IdempotencyKeyLayer::new().with_generator(|request| RandomUuid.key(request));
    let mut service = task::spawn(layer.layer(inner));
    assert_ready_ok!(service.enter(|cx, mut service| service.poll_ready(cx)));
    let call = test_util::without_random_bytes(|| service.call(post()));
    rejected(assert_ready_err!(task::spawn(call).poll()));
    assert_pending!(task::spawn(handle.next_request()).poll());
}

#[test]
fn inside_a_retry_that_gave_the_call_no_id_there_is_no_key_rather_than_one_per_attempt() {
    let layer = IdempotencyKeyLayer::new();
    for number in 1..3 {
        let headers = sent(&layer, attempt(&CallContext::default(), number));
        assert!(headers.is_empty(), "{headers:?}");
    }
}

#[test]
fn inside_a_retry_each_operation_of_an_attempt_has_its_own_key_and_keeps_it() {
    let layer = IdempotencyKeyLayer::new();
    let call = Repeated::new();
    let operations = [
        (Method::POST, "https://api.example.com/payments"),
        (Method::PATCH, "https://api.example.com/payments"),
        (Method::POST, "https://api.example.com/orders"),
        (Method::POST, "https://api.example.com/orders?a=b"),
        (Method::POST, "https://other.example.com/orders"),
    ];
    let send = |number| {
        let made_of = call.attempt(number);
        let keys = operations.iter().map(|(method, uri)| {
            let mut request = made_of.clone();
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.parse().unwrap();
            key(&sent(&layer, request)).to_owned()
        });
        keys.collect::<Vec<_>>()
    };
    let first = send(1);
    let different: HashSet<_> = first.iter().collect();
    assert_eq!(different.len(), operations.len());
    assert_eq!(send(2), first);
    assert_eq!(send(3), first);
}

#[test]
fn inside_a_retry_a_second_request_that_would_have_the_key_of_the_first_is_rejected() {
    fn check<G: Generator + Clone>(layer: &IdempotencyKeyLayer<G>) {
        let call = Repeated::new();
        for number in 1..3 {
            let made_of = call.attempt(number);
            assert!(!sent(layer, made_of.clone()).is_empty());
            let rejected = layer.layer(Echo).call(made_of);
            let error = assert_ready_err!(task::spawn(rejected).poll());
            let rejected = find_cause::<Rejected>(&*error).unwrap();
            assert_eq!(rejected.reason(), RejectReason::KeyReused);
        }
    }
    check(&IdempotencyKeyLayer::new());
    // Also where the generator is the caller's.
    check(&IdempotencyKeyLayer::new().with_generator(|_| Key::new("order-42").unwrap()));
    check(&IdempotencyKeyLayer::new().with_format(KeyFormat::StructuredField));
}

#[test]
fn a_key_of_the_callers_is_for_one_operation_as_well() {
    let claim_of = |request: Request<()>| {
        let (inner, mut handle) = tower_test::mock::pair::<Request<()>, ()>();
        handle.allow(1);
        let mut service = task::spawn(IdempotencyKeyLayer::new().layer(inner));
        assert_ready_ok!(service.enter(|cx, mut service| service.poll_ready(cx)));
        let _call = service.call(request);
        let mut next = task::spawn(handle.next_request());
        let (request, _) = assert_ready!(next.poll()).unwrap();
        request.extensions().get::<KeyClaim>().cloned()
    };
    let keyed = || with_fields(post(), &[b"mine"]);
    let claim = claim_of(keyed()).unwrap();
    assert!(claim.claim(None).is_some());
    // A key layer further out has claimed it.
    let mut request = keyed();
    request.extensions_mut().insert(claim);
    assert!(claim_of(request).unwrap().claim(None).is_none());
    // Another call has another claim, though extensions were copied.
    let mut request = post();
    let used = KeyClaim::new();
    assert!(used.claim(None).is_some());
    request.extensions_mut().insert(used);
    assert!(claim_of(request).unwrap().claim(None).is_some());
    let mut get = keyed();
    *get.method_mut() = Method::GET;
    assert!(claim_of(get).is_none());
}

#[test]
fn extensions_that_were_copied_into_two_calls_do_not_give_them_one_key() {
    let mut inbound = post();
    let context = CallContext::edit(inbound.extensions_mut());
    context.ensure_call_id().unwrap();
    let layer = IdempotencyKeyLayer::new();
    let (one, other) = (sent(&layer, inbound.clone()), sent(&layer, inbound));
    assert_ne!(key(&one), key(&other));
}

#[test]
fn nothing_but_the_key_and_its_claim_is_added() {
    struct NoExtensions;
    impl Service<Request<()>> for NoExtensions {
        type Response = ();
        type Error = Infallible;
        type Future = std::future::Ready<Result<(), Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, request: Request<()>) -> Self::Future {
            assert_eq!(request.extensions().len(), 1);
            assert!(request.extensions().get::<KeyClaim>().is_some());
            assert_eq!(request.headers().len(), 1);
            assert!(!request.headers()[KEY].is_sensitive(), "logs may show it");
            std::future::ready(Ok(()))
        }
    }
    // Nor has the inner service to be `Clone`, or its response to be an HTTP one.
    let mut service = IdempotencyKeyLayer::new().layer(NoExtensions);
    assert_ready_ok!(task::spawn(service.call(post())).poll());
}

#[test]
fn readiness_and_its_errors_are_the_inner_services() {
    let (inner, mut handle) = tower_test::mock::pair::<Request<()>, ()>();
    let mut service = task::spawn(IdempotencyKeyLayer::new().layer(inner));
    handle.allow(0);
    assert!(
        service
            .enter(|cx, mut service| service.poll_ready(cx))
            .is_pending()
    );
    handle.allow(1);
    assert!(service.is_woken());
    assert!(
        service
            .enter(|cx, mut service| service.poll_ready(cx))
            .is_ready()
    );
    handle.send_error("broken");
    let Poll::Ready(Err(error)) = service.enter(|cx, mut service| service.poll_ready(cx)) else {
        panic!("not broken");
    };
    assert_eq!(error.to_string(), "broken");
}

#[test]
fn the_types_can_be_named_and_go_wherever_the_inner_ones_go() {
    fn all<T: Send + Sync + Unpin + Clone + std::fmt::Debug + 'static>(value: T) -> T {
        value
    }
    fn serves<S: Service<Request<Rc<()>>, Error = BoxError>>(_: &S) {}

    let layer: IdempotencyKeyLayer = all(IdempotencyKeyLayer::default());
    let service: IdempotencyKey<Echo> = all(layer.layer(Echo));
    serves(&service);

    let generate: fn(RequestView<'_>) -> Option<Key> = |_| Key::new("mine").ok();
    let layer: IdempotencyKeyLayer<fn(RequestView<'_>) -> Option<Key>> =
        all(layer.with_generator(generate));
    serves(&all(layer.layer(Echo)));
}

#[cfg(feature = "load")]
#[test]
fn the_load_is_the_inner_services() {
    use tower::load::{Constant, Load};

    let service = IdempotencyKeyLayer::new().layer(Constant::new(Echo, 7));
    assert_eq!(service.load(), 7);
}

#[test]
fn a_call_that_is_rejected_says_why_in_its_record_and_one_that_gets_a_key_says_nothing() {
    let told = |mut request: Request<()>| {
        let record = CallRecord::of_or_insert(request.extensions_mut());
        let mut service = IdempotencyKeyLayer::new().layer(Echo);
        let outcome = assert_ready!(task::spawn(service.call(request)).poll());
        let kinds: Vec<_> = record.notes().iter().map(|note| note.kind()).collect();
        assert_eq!(outcome.is_err(), !kinds.is_empty());
        kinds
    };
    let malformed = NoteKind::Rejected(RejectReason::MalformedKey);
    assert_eq!(told(with_fields(post(), &[b"a key"])), [malformed]);
    assert_eq!(told(with_fields(post(), &[b"a-key"])), []);
    assert_eq!(told(post()), []);
    let no_key = NoteKind::Rejected(RejectReason::NoKey);
    assert_eq!(test_util::without_random_bytes(|| told(post())), [no_key]);
}
