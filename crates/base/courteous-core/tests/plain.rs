//! Plain data: what is shown, written and read.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use courteous_core::{Rate, plain::Plain, settings};
use http::{HeaderName, Method};

settings! {
    /// Settings of all kinds.
    pub struct Outer {
        /// How long.
        pub timeout: Option<Duration>,
        /// How fast.
        pub rates: Option<Vec<Rate>>,
        /// How often.
        pub attempts: Option<NonZeroU32>,
        /// How much.
        pub ratio: Option<f64>,
        /// Further settings.
        pub inner: Inner,
    }
}

settings! {
    /// Settings within settings.
    pub struct Inner {
        /// Whether.
        pub on: Option<bool>,
        /// How many.
        pub limit: Option<NonZeroUsize>,
        /// How many, or none.
        pub bytes: Option<usize>,
        /// By which.
        pub methods: Option<Vec<Method>>,
        /// Where.
        pub header: Option<HeaderName>,
    }
}

const ALL: &str = r#"{
  "timeout": "1m 30s",
  "rates": [
    "25/s",
    "90000/min burst 1000"
  ],
  "attempts": 3,
  "ratio": 0.2,
  "inner": {
    "on": true,
    "limit": 64,
    "bytes": 0,
    "methods": [
      "POST"
    ],
    "header": "x-key"
  }
}"#;

fn read(text: &str) -> Result<Outer, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn settings_are_written_as_they_are_read() {
    let outer = read(ALL).unwrap();
    assert_eq!(outer.timeout, Some(Duration::from_secs(90)));
    assert_eq!(outer.rates.as_ref().unwrap()[1].burst().get(), 1_000);
    assert_eq!(outer.inner.limit, NonZeroUsize::new(64));
    assert_eq!(serde_json::to_string_pretty(&outer).unwrap(), ALL);
}

#[test]
fn what_is_not_stated_is_not_there() {
    for text in ["{}", r#"{"inner": {}}"#, r#"{"timeout": null}"#] {
        assert_eq!(read(text).unwrap(), Outer::default(), "{text}");
    }
    let empty = Outer::default();
    assert_eq!(serde_json::to_string(&empty).unwrap(), r#"{"inner":{}}"#);
    assert_eq!(format!("{empty:?}"), "Outer { inner: Inner }");
}

#[test]
fn debug_shows_what_is_there_as_it_is() {
    let outer = read(r#"{"timeout": "90s", "rates": ["25/s"], "inner": {"on": false}}"#).unwrap();
    let shown = "Outer { timeout: 90s, rates: [25/s], inner: Inner { on: false } }";
    assert_eq!(format!("{outer:?}"), shown);
}

#[test]
fn a_wrong_setting_is_named_where_it_is_written_with_its_value_and_its_rule() {
    for (text, error) in [
        (
            "{\n  \"timeout\": \"3x\"\n\n}",
            "`timeout`: invalid duration `3x`: it must read like `30s`, `500ms` or `1m 30s` at line 2 column 17",
        ),
        (
            "{\"timeout\": \"-3s\"}",
            "`timeout`: invalid duration `-3s`: it must read like `30s`, `500ms` or `1m 30s` at line 1 column 17",
        ),
        (
            "{\"timeout\":\n30}",
            "invalid type: integer `30`, expected a duration such as \"30s\" for `timeout` at line 2 column 2",
        ),
        (
            "{\"rates\": [\"1/s\",\n\"25/x\"]}",
            "`rates`: invalid rate `25/x`: its unit must be `ms`, `s`, `min`, `h` or `d` at line 2 column 6",
        ),
        (
            "{\"rates\": \"1/s\"}",
            "invalid type: string \"1/s\", expected a list for `rates` at line 1 column 15",
        ),
        (
            "{\"attempts\": 0}",
            "`attempts`: invalid value integer `0`, expected a whole number above zero at line 1 column 14",
        ),
        (
            "{\"attempts\": -1}",
            "`attempts`: invalid value integer `-1`, expected a whole number above zero at line 1 column 15",
        ),
        (
            "{\"ratio\": true}",
            "invalid type: boolean `true`, expected a number for `ratio` at line 1 column 14",
        ),
        (
            "{\"inner\": {\n\"on\": 1}}",
            "invalid type: integer `1`, expected `true` or `false` for `on` at line 2 column 7",
        ),
        (
            "{\"inner\": {\"header\": \"a b\"}}",
            "`header`: `a b` is not the name of a header field at line 1 column 26",
        ),
        (
            "{\"inner\": {\"methods\": [\"a b\"]}}",
            "`methods`: `a b` is not the name of a method at line 1 column 28",
        ),
        (
            "{\n\"time\": \"3s\"}",
            "unknown field `time`, expected one of `timeout`, `rates`, `attempts`, `ratio`, `inner` at line 2 column 6",
        ),
        (
            "{\"timeout\": \"3s\",\n\"timeout\": \"3s\"}",
            "duplicate field `timeout` at line 2 column 9",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn all_durations_are_read_from_what_is_written() {
    for nanos in [
        0,
        1,
        999,
        1_500_000,
        19_250_000_000,
        86_400_000_000_000,
        u64::MAX,
    ] {
        let timeout = Some(Duration::from_nanos(nanos));
        let outer = Outer {
            timeout,
            ..Outer::default()
        };
        let text = serde_json::to_string(&outer).unwrap();
        assert_eq!(read(&text).unwrap(), outer, "{text}");
    }
    let text = r#"{"timeout":"unlimited","inner":{}}"#;
    let outer = read(text).unwrap();
    assert_eq!(outer.timeout, Some(Duration::MAX));
    assert_eq!(serde_json::to_string(&outer).unwrap(), text);
}

#[test]
fn the_first_setting_that_differs_is_named_by_its_path() {
    let current = read(ALL).unwrap();
    assert_eq!(current.differs_from(&current), None);
    assert_eq!(Outer::default().differs_from(&current), None);
    let asked = read(r#"{"attempts": 3, "inner": {"limit": 65}}"#).unwrap();
    assert_eq!(asked.differs_from(&current).as_deref(), Some("inner.limit"));
}
