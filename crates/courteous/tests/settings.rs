//! Settings from a file, in a running client, and back; and what is in force.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use courteous::{
    Courteous, Stack,
    core::{Decision, ObserveOnly},
    idempotency::IdempotencyKeyLayer,
    retry::{Budget, RetryInfo, RetryLayer},
    stack::Settings,
    throttle::{Bucket, Keyed, Labels, ThrottleLayer},
    timeout::TotalTimeoutLayer,
};
use http::{HeaderName, Request, Response};
use http_body_util::Full;
use serde::{
    Serialize, Serializer,
    ser::{Impossible, SerializeStruct},
};
use tokio::time::{self, Instant};
use tokio_test::{assert_pending, task};
use tower::{ServiceExt, service_fn, util::ServiceFn};

type Body = Full<&'static [u8]>;

const FILE: &str = r#"
total_timeout = "20s"
attempt_timeout = "5s"
idle_timeout = "unlimited"
streaming = false

[idempotency_key]
header = "x-key"
methods = ["POST"]
hosts = ["api.example.com", "*.example.org:8443"]

[retry]
max_attempts = 4
max_wait = "1m 30s"
retry_throttled = false
retry_refused = true
body_limit = 1024

[retry.backoff]
base = "200ms"
cap = "10s"
factor = 3.0

[retry.overload_backoff]
base = "500ms"
cap = "2s"
factor = 2.0

[retry.throttled_backoff]
base = "2s"
cap = "20s"
factor = 2.0

[retry.budget]
start = 2
deposit = 0.1
lowest_cap = 2
highest_cap = 5
window = "20s"
price_after_no_response = 3
price_after_server_error = 2
price_after_throttling = 1
price_at_gate = 0

[concurrency_limit]
limit = 2
max_wait = "2s"
max_waiting = 10

[throttle]
rates = ["25/s", "1000/h burst 50"]
max_wait = "3s"
max_waiting = 20
max_pause = "1h"
max_quota_pause = "1m"
"#;

fn read(text: &str) -> Settings {
    toml::from_str(text).unwrap()
}

/// Answers as the path says: a status, or never.
async fn answer(request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
    let response = Response::builder();
    let response = match &request.uri().path()[1..] {
        "never" => std::future::pending().await,
        "429" => response.status(429).header("retry-after", "40"),
        status => response.status(status.parse::<u16>().unwrap()),
    };
    Ok(response.body(request.into_body()).unwrap())
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Full::default()).unwrap()
}

#[test]
fn a_file_states_all_settings_and_a_stack_tells_them_back() {
    let settings = read(FILE);
    let layer = Stack::new()
        .with_settings(&settings)
        .unwrap()
        .build()
        .unwrap();
    assert_eq!(layer.settings(), settings);
    assert_eq!(layer.layer(()).settings(), settings);
    assert_eq!(layer.snapshot().settings, settings);
    assert_eq!(toml::to_string(&settings).unwrap().trim(), FILE.trim());
    let json = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
}

#[test]
fn what_a_file_does_not_state_is_left_as_it_is() {
    let stack = || {
        Stack::new()
            .with_total_timeout(Duration::from_secs(12))
            .with_retry(RetryLayer::new().with_budget(Budget::unlimited()))
            .with_throttle(ThrottleLayer::per_origin("7/s".parse().unwrap()))
    };
    let as_it_is = stack().build().unwrap().settings();
    let same = stack().with_settings(&Settings::default()).unwrap();
    assert_eq!(same.build().unwrap().settings(), as_it_is);
    let other = read("attempt_timeout = \"3s\"\n[retry]\nmax_attempts = 2");
    let mut expected = as_it_is;
    expected.attempt_timeout = other.attempt_timeout;
    expected.retry.max_attempts = other.retry.max_attempts;
    let other = stack().with_settings(&other).unwrap().build().unwrap();
    assert_eq!(other.settings(), expected);
    assert_eq!(other.budget().snapshot().balance, None, "still unlimited");
}

#[test]
fn all_defaults_can_be_written_and_read_again() {
    let settings = Stack::new().build().unwrap().settings();
    let text = toml::to_string(&settings).unwrap();
    assert_eq!(read(&text), settings);
    assert!(text.contains("rates = [\"unlimited\"]"), "{text}");
}

#[test]
fn a_wrong_setting_is_told_by_its_line_and_its_name() {
    for (text, said) in [
        (
            "attempt_timeout = \"5s\"\ntotal_timeout = \"soon\"",
            &[
                "line 2, column 17",
                "`total_timeout`: invalid duration `soon`: it must read like `30s`, `500ms` or `1m 30s`",
            ][..],
        ),
        (
            "[throttle]\nrates = [\"25/s\", \"25\"]",
            &[
                "line 2",
                "`rates`: invalid rate `25`: it must read like `10/s`",
            ],
        ),
        (
            "[retry]\n\nmax_attempt = 3",
            &[
                "line 3, column 1",
                "unknown field `max_attempt`, expected one of `max_attempts`",
            ],
        ),
        (
            "[retry]\nmax_attempts = 0",
            &[
                "line 2",
                "`max_attempts`: invalid value integer `0`, expected a whole number above zero",
            ],
        ),
        (
            "[idempotency_key]\nheader = \"a b\"",
            &[
                "line 2",
                "`header`: `a b` is not the name of a header field",
            ],
        ),
    ] {
        let error = toml::from_str::<Settings>(text).unwrap_err().to_string();
        for said in said {
            assert!(error.contains(said), "{error}");
        }
    }
}

#[test]
fn settings_that_cannot_be_are_rejected_by_their_path() {
    for (text, error) in [
        (
            "[retry.backoff]\nbase = \"5s\"\ncap = \"1s\"",
            "`retry.backoff.cap`: a backoff's cap must not be below its base",
        ),
        (
            "[retry.budget]\ndeposit = 2.0",
            "`retry.budget`: a deposit of 2 is not within 0 and 1",
        ),
        (
            "[throttle]\nrates = []",
            "`throttle.rates`: there must be at least one rate",
        ),
    ] {
        let rejected = Stack::new().with_settings(&read(text)).unwrap_err();
        assert_eq!(rejected.to_string(), error);
    }
    for (text, field) in [
        (
            "[idempotency_key]\nhosts = [\"https://a\"]",
            "idempotency_key.hosts",
        ),
        (
            "[idempotency_key]\nmethods = [\"GET\"]",
            "idempotency_key.methods",
        ),
    ] {
        let rejected = Stack::new().with_settings(&read(text)).unwrap_err();
        assert_eq!(rejected.field(), field, "{rejected}");
    }
    let rejected = Stack::new()
        .with_settings(&read("total_timeout = \"1s\""))
        .unwrap()
        .build();
    assert!(
        rejected
            .unwrap_err()
            .to_string()
            .starts_with("the attempt timeout of 10s")
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_file_switches_on_is_known_to_the_retry() {
    let settings = read("[idempotency_key]\nheader = \"x-key\"");
    let seen = std::sync::Mutex::new(Vec::new());
    let seen = &*Box::leak(Box::new(seen));
    let server = service_fn(async |request: Request<Body>| {
        let key = request.headers().get("x-key").cloned();
        let mut seen = seen.lock().unwrap();
        seen.push(key.unwrap());
        let status = if seen.len() == 1 { 503 } else { 200 };
        let response = Response::builder().status(status).body(request.into_body());
        Ok::<_, std::io::Error>(response.unwrap())
    });
    let stack = Stack::new()
        .with_settings(&settings)
        .unwrap()
        .build()
        .unwrap();
    let post = Request::post("http://a.test/")
        .body(Full::default())
        .unwrap();
    assert_eq!(
        stack.layer(server).oneshot(post).await.unwrap().status(),
        200
    );
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), &seen[0]), (2, &seen[1]));
}

#[tokio::test(start_paused = true)]
async fn a_limit_and_rates_that_are_applied_hold_for_those_who_wait() {
    let settings = read("[concurrency_limit]\nlimit = 1\n[throttle]\nrates = [\"1/20s\"]");
    let stack = Stack::new()
        .with_settings(&settings)
        .unwrap()
        .build()
        .unwrap();
    let client = stack.layer(service_fn(answer));

    let mut held = task::spawn(client.clone().oneshot(get("http://a.test/never")));
    assert_pending!(held.poll());
    let mut waiting = task::spawn(client.clone().oneshot(get("http://a.test/200")));
    assert_pending!(waiting.poll());
    let snapshot = client.snapshot();
    let (limit, throttle) = (snapshot.concurrency_limit, snapshot.throttle.unwrap());
    assert_eq!((limit.in_flight, limit.waiting, limit.full), (1, 1, 1));
    assert_eq!(
        (throttle.waiting, throttle.buckets[0].available),
        (0, Some(0))
    );

    client
        .apply(&read("[concurrency_limit]\nlimit = 2"))
        .unwrap();
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    assert_eq!(
        client.snapshot().throttle.unwrap().waiting,
        1,
        "now at the throttle"
    );
    client
        .apply(&read("[throttle]\nrates = [\"1/s\"]"))
        .unwrap();
    time::sleep(Duration::from_secs(1)).await;
    assert!(waiting.is_woken());
    assert_eq!(waiting.await.unwrap().status(), 200);
    let settings = stack.settings();
    assert_eq!(settings.concurrency_limit.limit, NonZeroUsize::new(2));
    assert_eq!(settings.throttle.rates.unwrap(), ["1/s".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn retries_can_be_switched_off_in_a_running_client() {
    let client = Stack::new().build().unwrap().layer(service_fn(answer));
    let attempts = async || {
        let response = client
            .clone()
            .oneshot(get("http://a.test/500"))
            .await
            .unwrap();
        RetryInfo::of(&response).attempts()
    };
    assert_eq!(attempts().await, 3);
    client.apply(&read("[retry]\nmax_attempts = 1")).unwrap();
    assert_eq!(attempts().await, 1);
    assert_eq!(client.settings().retry.max_attempts, NonZeroU32::new(1));
}

#[test]
fn what_cannot_be_changed_live_is_rejected_by_its_name_and_changes_nothing() {
    let settings = read(FILE);
    let client = Stack::new()
        .with_settings(&settings)
        .unwrap()
        .build()
        .unwrap()
        .layer(());
    client.apply(&settings).unwrap();
    for (text, field) in [
        ("total_timeout = \"21s\"", "total_timeout"),
        ("streaming = true", "streaming"),
        ("[retry.budget]\nstart = 3", "retry.budget.start"),
        ("[throttle]\nmax_wait = \"4s\"", "throttle.max_wait"),
        ("[throttle]\nrates = []", "throttle.rates"),
    ] {
        let mut asked = read(text);
        asked.concurrency_limit.limit = NonZeroUsize::new(99);
        let rejected = client.apply(&asked).unwrap_err();
        assert_eq!(rejected.field(), field);
        assert_eq!(client.settings(), settings);
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_what_is_closed_full_and_spent() {
    let stack = Stack::new()
        .with_settings(&read(FILE))
        .unwrap()
        .build()
        .unwrap();
    let client: Courteous<ServiceFn<_>> = stack.layer(service_fn(answer));
    let error = client.clone().oneshot(get("http://down.test/503")).await;
    assert_eq!(
        error.unwrap().status(),
        503,
        "with a budget of 2, and a price of 1 until the first success"
    );
    let closed = client
        .clone()
        .oneshot(get("https://me:geheim@closed.test/429"));
    assert!(closed.await.is_ok());
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(task::spawn(
            client.clone().oneshot(get("http://full.test/never")),
        ));
        assert_pending!(held.last_mut().unwrap().poll());
    }

    let snapshot = client.snapshot();
    assert_eq!(snapshot, stack.snapshot());
    assert_eq!((snapshot.closing, snapshot.in_flight), (false, 2));
    assert_eq!(
        (snapshot.budget.balance, snapshot.budget.retries),
        (Some(0.0), 2)
    );
    assert_eq!(snapshot.budget.rejections, 1);
    let full = &snapshot.concurrency_limit.partitions[0];
    assert_eq!(
        (full.key.as_deref(), full.in_flight),
        (Some("http://full.test"), 2)
    );
    let throttle = snapshot.throttle.as_ref().unwrap();
    assert_eq!((throttle.keys, throttle.closed), (Some(3), 1));
    let closed = &throttle.buckets[0];
    assert_eq!(closed.key.as_deref(), Some("https://closed.test"));
    assert_eq!(closed.closed_for, Some(Duration::from_secs(40)));

    drop(client.close(Instant::now()));
    assert!(client.snapshot().closing);
    let shown = format!("{snapshot:#?}");
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(shown.lines().count() < 150, "{shown}");
    assert!(shown.contains("closed_for: 40s"), "{shown}");
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(json["throttle"]["buckets"][0]["closed_for"], "40s");
    assert_eq!(json["settings"]["throttle"]["rates"][0], "25/s");
    assert_eq!(json["budget"]["balance"], 0.0);
    assert_eq!(json["dead_letter"], serde_json::Value::Null);
}

#[tokio::test(start_paused = true)]
async fn no_credential_is_in_a_snapshot_of_any_partition() {
    let key = |head: courteous::core::RequestView<'_>| head.headers()["authorization"].clone();
    let buckets = || Keyed::new(Bucket::new("1/s".parse().unwrap()), key);
    let stack = |buckets| {
        Stack::new()
            .with_idempotency_key(IdempotencyKeyLayer::new())
            .with_throttle(ThrottleLayer::of(buckets))
            .build()
            .unwrap()
    };
    let labels = Labels::new(|key: &http::HeaderValue| format!("a token of {} bytes", key.len()));
    for (stack, key) in [
        (stack(buckets()), None),
        (
            stack(buckets().with_labels(labels)),
            Some("a token of 14 bytes"),
        ),
    ] {
        let client = stack.layer(service_fn(answer));
        let request = Request::post("https://me:geheim@a.test/200?token=geheim")
            .header("authorization", "Bearer geheim0")
            .header(HeaderName::from_static("idempotency-key"), "geheim1")
            .body(Full::default());
        client.clone().oneshot(request.unwrap()).await.unwrap();
        let snapshot = client.snapshot();
        assert_eq!(
            snapshot.throttle.as_ref().unwrap().buckets[0]
                .key
                .as_deref(),
            key
        );
        let shown = format!("{snapshot:?}{}", serde_json::to_string(&snapshot).unwrap());
        assert!(!shown.contains("geheim"), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_which_layers_only_observe_and_what_they_would_have_done() {
    let switch = ObserveOnly::new();
    let client = Stack::new()
        .with_retry(RetryLayer::new().observe_only(switch.clone()))
        .with_total_timeout(
            TotalTimeoutLayer::new(Duration::from_secs(30)).observe_only(switch.clone()),
        )
        .build()
        .unwrap()
        .layer(service_fn(answer));
    client
        .clone()
        .oneshot(get("http://a.test/500"))
        .await
        .unwrap();
    let observed = client.snapshot().observe_only.unwrap();
    assert_eq!(observed.layers, ["total_timeout", "retry"]);
    assert_eq!(observed.decisions.len(), 1);
    assert_eq!(observed.decisions[0].decision, "Retry");
    assert_eq!(observed.decisions[0].count, switch.count(Decision::Retry));
    switch.set(false);
    assert_eq!(client.snapshot().observe_only.unwrap().layers.len(), 0);
    assert_eq!(Stack::new().build().unwrap().snapshot().observe_only, None);
    let stack = Stack::new().observe_only(true).build().unwrap();
    let observed = stack.snapshot().observe_only.unwrap();
    assert!(observed.layers.contains(&"throttle".to_owned()));
    assert_eq!((observed.layers.len(), observed.decisions.len()), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_many_keys_is_short() {
    let stack = Stack::new()
        .with_settings(&read("[throttle]\nrates = [\"1/h\"]"))
        .unwrap();
    let stack = stack.build().unwrap();
    let client = stack.layer(service_fn(answer));
    for host in 0..2_000 {
        let get = get(&format!("http://h{host}.test{host}/200"));
        client.clone().oneshot(get).await.unwrap();
    }
    let start = Instant::now();
    let snapshot = client.snapshot();
    assert_eq!(snapshot.throttle.as_ref().unwrap().keys, Some(2_000));
    assert!(format!("{snapshot:?}").len() < 6_000, "{snapshot:?}");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// A format that writes how many fields come before it writes them, as CBOR and MessagePack do. It only counts: those that
/// were announced, and those that came.
struct Counted;

struct Counting {
    announced: usize,
    came: usize,
}

macro_rules! none_of {
    ($($name:ident($($argument:ty),*);)*) => {
        $(fn $name(self $(, _: $argument)*) -> Result<Self::Ok, Self::Error> {
            Err(fmt::Error)
        })*
    };
}

impl Serializer for Counted {
    type Ok = (usize, usize);
    type Error = fmt::Error;
    type SerializeSeq = Impossible<Self::Ok, fmt::Error>;
    type SerializeTuple = Impossible<Self::Ok, fmt::Error>;
    type SerializeTupleStruct = Impossible<Self::Ok, fmt::Error>;
    type SerializeTupleVariant = Impossible<Self::Ok, fmt::Error>;
    type SerializeMap = Impossible<Self::Ok, fmt::Error>;
    type SerializeStruct = Counting;
    type SerializeStructVariant = Impossible<Self::Ok, fmt::Error>;

    none_of! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Self::Ok, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Self::Ok, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Self::Ok, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_struct(self, _: &'static str, fields: usize) -> Result<Counting, fmt::Error> {
        Ok(Counting {
            announced: fields,
            came: 0,
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, fmt::Error> {
        Err(fmt::Error)
    }
}

impl SerializeStruct for Counting {
    type Ok = (usize, usize);
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        _: &T,
    ) -> Result<(), fmt::Error> {
        self.came += 1;
        Ok(())
    }

    fn end(self) -> Result<Self::Ok, fmt::Error> {
        Ok((self.announced, self.came))
    }
}

#[test]
fn a_duration_without_end_is_shown_by_the_word_that_a_file_has_for_it() {
    let mut settings = Settings::default();
    settings.idle_timeout = Some(Duration::MAX);
    let shown = format!("{settings:?}");
    assert!(shown.contains("idle_timeout: unlimited,"), "{shown}");
}

#[test]
fn as_many_fields_are_written_as_are_announced() {
    let client = Stack::new().build().unwrap().layer(());
    let mut stated = Settings::default();
    stated.streaming = Some(true);
    for (announced, came) in [
        Settings::default().serialize(Counted).unwrap(),
        stated.serialize(Counted).unwrap(),
        client.settings().serialize(Counted).unwrap(),
        client.snapshot().serialize(Counted).unwrap(),
    ] {
        assert_eq!(announced, came);
    }
}
