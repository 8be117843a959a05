//! Layers that are not in the recommended order: what tells so, and what stays silent.
#![cfg(all(feature = "dead-letter", feature = "tracing"))]
#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    fmt::{self, Debug},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use courteous::{
    ServiceBuilder, Stack,
    concurrency::{ConcurrencyLimitLayer, adaptive::AdaptiveLimitLayer},
    core::LayerKind,
    dead_letter::{DeadLetterLayer, MemoryStore},
    idempotency::IdempotencyKeyLayer,
    retry::RetryLayer,
    throttle::ThrottleLayer,
    timeout::{AttemptTimeoutLayer, TotalTimeoutLayer},
};
use courteous_testkit::Probe;
use tower::{Layer, util::MapRequestLayer};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::with_default,
};

/// Keeps the fields `outer` and `inner` of all events.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<(String, String)>>>);

impl Subscriber for Events {
    /// As a filter does that is given the documented target.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "courteous::order"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        assert_eq!(*event.metadata().level(), Level::DEBUG);
        assert_eq!(fields.order, recommended());
        self.0.lock().unwrap().push((fields.outer, fields.inner));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields {
    outer: String,
    inner: String,
    order: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "outer" => self.outer = format!("{value:?}"),
            "inner" => self.inner = format!("{value:?}"),
            "order" => self.order = format!("{value:?}"),
            _ => {}
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// The order as the events tell it.
fn recommended() -> String {
    let names: Vec<_> = LayerKind::ORDER.iter().map(ToString::to_string).collect();
    names.join(" > ")
}

/// What is told while `make` puts layers around each other.
fn told(make: impl FnOnce()) -> Vec<(String, String)> {
    /// While a process has a single subscriber, `tracing` asks the thread that comes to an event first whether anyone wants it, for
    /// all threads: a test without a subscriber says no (tokio-rs/tracing#3611). So there are always two.
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(Events::default()));
    let events = Events::default();
    with_default(events.clone(), make);
    events.0.lock().unwrap().clone()
}

fn pair(outer: LayerKind, inner: LayerKind) -> (String, String) {
    (outer.to_string(), inner.to_string())
}

fn key() -> IdempotencyKeyLayer {
    IdempotencyKeyLayer::new()
}

fn letters() -> DeadLetterLayer {
    DeadLetterLayer::new(MemoryStore::new())
}

fn total() -> TotalTimeoutLayer {
    TotalTimeoutLayer::new(Duration::from_secs(30))
}

fn limit() -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(1).unwrap()
}

fn throttle() -> ThrottleLayer {
    ThrottleLayer::new("10/s".parse().unwrap())
}

fn attempt() -> AttemptTimeoutLayer {
    AttemptTimeoutLayer::new(Duration::from_secs(10))
}

#[test]
fn all_eight_reversed_are_told_of_each_with_the_outermost_that_belongs_outside() {
    let events = told(|| {
        let reversed = ServiceBuilder::new()
            .layer(attempt())
            .layer(throttle())
            .layer(AdaptiveLimitLayer::new())
            .layer(limit())
            .layer(RetryLayer::new())
            .layer(total())
            .layer(letters())
            .layer(key());
        drop(reversed.service(Probe::new()));
    });
    let &[
        key,
        letters,
        total,
        retry,
        limit,
        adaptive,
        throttle,
        attempt,
    ] = LayerKind::ORDER
    else {
        panic!("eight kinds");
    };
    let expected = [
        pair(letters, key),
        pair(total, letters),
        pair(retry, total),
        pair(limit, retry),
        pair(adaptive, limit),
        pair(throttle, adaptive),
        pair(attempt, throttle),
    ];
    assert_eq!(events, expected);
}

#[test]
fn the_recommended_order_is_silent_and_so_are_stacks_in_one_another() {
    let events = told(|| {
        let layers = ServiceBuilder::new()
            .layer(key())
            .layer(letters())
            .layer(total())
            .layer(RetryLayer::new())
            .layer(limit())
            .layer(throttle())
            .layer(attempt());
        drop(layers.service(Probe::new()));
        let stack = Stack::new().with_dead_letter(letters()).build().unwrap();
        drop(stack.layer(stack.layer(Probe::new())));
        // The same layer twice, and some alone.
        drop(throttle().layer(throttle().layer(Probe::new())));
        drop(key().layer(limit().layer(Probe::new())));
    });
    assert_eq!(events, []);
}

#[test]
fn layers_of_others_between_them_hide_nothing() {
    let events = told(|| {
        let inner = limit().layer(Probe::new());
        let between = MapRequestLayer::new(|request: http::Request<()>| request).layer(inner);
        drop(throttle().layer(between));
    });
    let expected = pair(LayerKind::Throttle, LayerKind::ConcurrencyLimit);
    assert_eq!(events, [expected]);
}

#[test]
fn a_call_tells_nothing_and_nor_does_a_clone() {
    let client = throttle().layer(limit().layer(Probe::new()));
    assert_eq!(told(|| drop(client.clone())), []);
}
