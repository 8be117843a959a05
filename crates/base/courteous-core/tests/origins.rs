//! What a request says of its origin, and what the call carries of it.
#![allow(clippy::unwrap_used)]

use std::{num::NonZeroU32, thread};

use courteous_core::{
    CallContext, LogicalOrigin, Origin, OriginHash, OriginHashes, OriginKey, RequestLine,
    RequestView,
};
use http::{Request, header::HOST};
use proptest::prelude::*;
use tokio::time::Instant;

fn to(uri: &str) -> Request<()> {
    Request::builder().uri(uri).body(()).unwrap()
}

fn with_host(host: &str) -> Request<()> {
    let request = Request::builder().uri("/a").header(HOST, host);
    request.body(()).unwrap()
}

/// A request with a context, as a retry or a total timeout makes it.
fn in_a_call(uri: &str) -> Request<()> {
    let mut request = to(uri);
    CallContext::edit(request.extensions_mut()).tighten(Instant::now());
    request
}

fn origin(uri: &str) -> Origin {
    RequestView::of(&to(uri)).origin()
}

/// Does what a layer with something for each origin does.
fn look_up<T>(request: &mut Request<()>, look: impl FnOnce(RequestView<'_>) -> T) -> T {
    let hashes = OriginHashes::of(request.extensions().get());
    let looked = look(RequestView::of(request).with_hashes(&hashes));
    hashes.carry(request.extensions_mut());
    looked
}

/// Three spellings of each of six origins.
const SPELLINGS: [[&str; 3]; 6] = [
    [
        "http://api.example/",
        "http://API.example.:80/a",
        "http://u:p@api.example/",
    ],
    [
        "https://api.example/",
        "https://api.example:0443/",
        "https://Api.Example.",
    ],
    [
        "http://api.example:8080/",
        "http://api.EXAMPLE:8080/a?b",
        "http://api.example.:08080/",
    ],
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://[::ffff:127.0.0.1]:80/",
    ],
    [
        "https://[::1]/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://[0::1]:443/a",
    ],
    ["/", "/a", "*"],
];

#[test]
fn all_spellings_of_an_origin_have_one_hash_and_are_that_key() {
    for (number, same) in SPELLINGS.iter().enumerate() {
        let known = origin(same[0]);
        for uri in same {
            let request = to(uri);
            let view = RequestView::of(&request);
            for key in [view.origin_key(), view.wire_origin_key()] {
                assert!(key.is(&known), "{uri}");
                assert_eq!(key.hash(), OriginHash::of(&known), "{uri}");
                assert_eq!(key.to_origin(), known, "{uri}");
            }
        }
        for other in SPELLINGS.iter().skip(number + 1) {
            for uri in other {
                let request = to(uri);
                let view = RequestView::of(&request);
                assert!(!view.origin_key().is(&known), "{uri}");
            }
        }
    }
}

#[test]
fn a_host_field_is_a_key_as_it_is_spelled_and_an_origin_however_it_is_spelled() {
    let known = RequestView::of(&with_host("api.example")).origin();
    let is = |host: &str| {
        let request = with_host(host);
        let key = RequestView::of(&request).origin_key();
        (key.is(&known), key.to_origin() == known)
    };
    assert_eq!(is("api.example"), (true, true));
    assert_eq!(is("API.example"), (false, true));
    assert_eq!(is("other.example"), (false, false));
    // No authority, although its end looks like one.
    assert_eq!(is("a b@api.example"), (false, false));
    // A target that names a server counts more.
    let mut request = with_host("api.example");
    *request.uri_mut() = "http://other.example/".parse().unwrap();
    assert!(!RequestView::of(&request).origin_key().is(&known));
}

#[test]
fn the_first_layer_makes_the_hash_and_the_next_ones_find_it() {
    let mut request = in_a_call("https://api.example/a");
    assert_eq!(
        look_up(&mut request, |head| head.origin_key().known_hash()),
        None
    );
    let made = look_up(&mut request, |head| head.wire_origin_key().hash());
    assert_eq!(made, OriginHash::of(&origin("https://api.example")));
    // No layer has rewritten the target: it is the hash of both origins.
    let known = |head: RequestView<'_>| {
        let keys = [head.origin_key(), head.wire_origin_key()];
        keys.map(|key| key.known_hash())
    };
    assert_eq!(look_up(&mut request, known), [Some(made); 2]);
    assert_eq!(known(RequestView::of(&request)), [Some(made); 2]);
}

#[test]
fn the_attempts_of_a_retry_and_a_call_within_the_call_keep_the_hash() {
    let mut request = in_a_call("https://api.example/a");
    let made = look_up(&mut request, |head| head.origin_key().hash());
    for number in 1..4 {
        let mut attempt = request.clone();
        let context = CallContext::edit(attempt.extensions_mut());
        context.set_attempt(NonZeroU32::new(number).unwrap());
        context.tighten(Instant::now());
        let known = look_up(&mut attempt, |head| head.origin_key().known_hash());
        assert_eq!(known, Some(made));
    }
}

#[test]
fn a_request_without_a_context_gets_none_for_its_hash() {
    let mut request = to("https://api.example/a");
    let made = look_up(&mut request, |head| head.origin_key().hash());
    assert!(request.extensions().is_empty());
    // It is made again, and is the same.
    assert_eq!(look_up(&mut request, |head| head.origin_key().hash()), made);
}

#[test]
fn a_hash_that_is_out_of_date_is_noticed_by_the_key_and_made_again() {
    let mut request = in_a_call("https://api.example/a");
    let stale = look_up(&mut request, |head| head.origin_key().hash());
    *request.uri_mut() = "https://other.example/a".parse().unwrap();
    let (api, other) = (
        origin("https://api.example"),
        origin("https://other.example"),
    );
    look_up(&mut request, |head| {
        let key = head.origin_key();
        assert_eq!(key.hash(), stale);
        assert!(key.is(&other) && !key.is(&api));
        assert_eq!(key.rehash(), OriginHash::of(&other));
        assert_eq!(key.hash(), OriginHash::of(&other));
    });
    let context = CallContext::of(request.extensions());
    assert_eq!(context.origin_hash(), Some(OriginHash::of(&other)));
    assert_eq!(context.wire_origin_hash(), Some(OriginHash::of(&other)));
}

#[test]
fn a_rewritten_request_has_a_logical_and_a_wire_origin() {
    let mut request = in_a_call("https://api.example/a");
    let logical = look_up(&mut request, |head| head.origin_key().hash());
    LogicalOrigin::rewrite(&mut request, "https://eu-1.example/a".parse().unwrap());
    let (api, one) = (
        origin("https://api.example"),
        origin("https://eu-1.example"),
    );
    let view = RequestView::of(&request);
    assert_eq!(
        (view.origin(), view.wire_origin()),
        (api.clone(), one.clone())
    );
    assert_eq!(view.authority_as_spelled(), b"api.example");
    assert!(view.origin_key().is(&api) && view.wire_origin_key().is(&one));
    // The line is what is sent.
    assert_eq!(RequestLine::of(&request).origin(), one);
    // Each has its own hash, and both are carried.
    assert_eq!(view.origin_key().known_hash(), Some(logical));
    assert_eq!(view.wire_origin_key().known_hash(), None);
    let wire = look_up(&mut request, |head| head.wire_origin_key().hash());
    assert_eq!(wire, OriginHash::of(&one));
    let context = CallContext::of(request.extensions());
    let carried = (context.origin_hash(), context.wire_origin_hash());
    assert_eq!(carried, (Some(logical), Some(wire)));
}

#[test]
fn a_request_that_is_rewritten_twice_is_still_for_the_first_origin() {
    let mut request = to("https://api.example/a");
    for server in ["https://eu-1.example/a", "https://eu-2.example/a"] {
        LogicalOrigin::rewrite(&mut request, server.parse().unwrap());
        let view = RequestView::of(&request);
        assert_eq!(view.origin(), origin("https://api.example"));
        assert_eq!(view.wire_origin(), origin(server));
    }
    // Without a context, none is made for it.
    assert_eq!(request.extensions().get::<CallContext>(), None);
}

#[test]
fn a_uri_that_is_changed_after_it_was_rewritten_is_what_the_request_is_for() {
    let mut request = to("https://api.example/a");
    LogicalOrigin::rewrite(&mut request, "https://eu-1.example/a".parse().unwrap());
    // Another path of the same server.
    *request.uri_mut() = "https://EU-1.example:443/b".parse().unwrap();
    let view = RequestView::of(&request);
    assert_eq!(view.origin(), origin("https://api.example"));
    // A redirect to another server.
    *request.uri_mut() = "https://other.example/a".parse().unwrap();
    let view = RequestView::of(&request);
    assert_eq!(view.origin(), origin("https://other.example"));
    assert!(view.origin_key().is(&origin("https://other.example")));
    // What rewrites that request keeps the origin that it is for now.
    LogicalOrigin::rewrite(&mut request, "https://eu-1.example/a".parse().unwrap());
    let view = RequestView::of(&request);
    assert_eq!(view.origin(), origin("https://other.example"));
}

#[test]
fn a_relative_target_can_be_rewritten() {
    let mut request = with_host("api.example");
    LogicalOrigin::rewrite(&mut request, "http://eu-1.example/a".parse().unwrap());
    let view = RequestView::of(&request);
    assert_eq!(
        view.origin(),
        RequestView::of(&with_host("API.example")).origin()
    );
    assert_eq!(view.wire_origin(), origin("http://eu-1.example"));
    LogicalOrigin::rewrite(&mut request, "/b".parse().unwrap());
    let view = RequestView::of(&request);
    assert_eq!(view.wire_origin(), view.origin());
}

#[test]
fn all_threads_make_the_same_hash() {
    let hash = || OriginHash::of(&origin("https://api.example"));
    let other = thread::spawn(hash).join().unwrap();
    assert_eq!(other, hash());
}

#[test]
fn views_and_keys_can_be_sent_to_other_threads() {
    fn can_be_sent<T: Send + Sync>() {}
    can_be_sent::<RequestView<'_>>();
    can_be_sent::<OriginKey<'_>>();
    can_be_sent::<OriginHashes>();
}

/// Small names, so that equal ones are frequent.
fn uri() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![Just("http"), Just("https")];
    let host = prop_oneof![
        Just("a"),
        Just("A"),
        Just("a."),
        Just("b"),
        Just("10.1"),
        Just("10.0.0.1")
    ];
    let port = prop_oneof![
        Just(""),
        Just(":"),
        Just(":80"),
        Just(":443"),
        Just(":8080")
    ];
    (scheme, host, port).prop_map(|(scheme, host, port)| format!("{scheme}://{host}{port}/"))
}

proptest! {
    /// A key that is borrowed from a request is the same as its origin.
    #[test]
    fn a_key_is_what_its_origin_is((one, two) in (uri(), uri())) {
        let (request, other) = (to(&one), origin(&two));
        let view = RequestView::of(&request);
        let key = view.origin_key();
        prop_assert_eq!(key.is(&other), view.origin() == other);
        if key.is(&other) {
            prop_assert_eq!(key.hash(), OriginHash::of(&other));
        }
        prop_assert!(!key.is_spelled_like(&other) || key.is(&other));
    }
}
