//! What the headers of a response say, through the public API.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use courteous_hints::{Hints, Pushback};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The `Date` of the examples: 1994-11-06T08:49:37Z.
const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
const DATE_SECONDS: u64 = 784_111_777;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

fn epoch(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// What `fields` say to a client whose clock agrees with [`DATE`].
fn read<T>(fields: &[(&str, &str)], question: impl FnOnce(&Hints<'_>) -> T) -> T {
    question(&Hints::at(&headers(fields), epoch(DATE_SECONDS)))
}

fn wait(fields: &[(&str, &str)]) -> Option<Duration> {
    read(fields, |hints| hints.wait())
}

fn refusal_wait(fields: &[(&str, &str)]) -> Option<Duration> {
    read(fields, |hints| hints.refusal_wait())
}

fn retry_after(values: &[&str]) -> Option<Duration> {
    let mut fields = vec![DATE];
    fields.extend(values.iter().map(|value| ("retry-after", *value)));
    read(&fields, |hints| hints.retry_after())
}

const fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

const fn millis(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

mod retry_after {
    use super::*;

    // RFC 9110 section 10.2.3: delay-seconds is a non-negative decimal integer.
    #[test]
    fn a_number_is_a_delay_in_seconds() {
        assert_eq!(retry_after(&["0"]), secs(0));
        assert_eq!(retry_after(&["5"]), secs(5));
        assert_eq!(retry_after(&["120"]), secs(120));
        assert_eq!(retry_after(&[" 7 "]), secs(7), "blanks are none of it");
    }

    // Beyond section 10.2.3: Shopify and Discord send fractions.
    #[test]
    fn a_fraction_is_let_pass() {
        assert_eq!(retry_after(&["2.0"]), secs(2));
        assert_eq!(retry_after(&["64.57"]), millis(64_570));
    }

    // Section 10.2.3: no sign, no unit, nothing else; section 5.6.7 for dates.
    #[test]
    fn a_malformed_value_is_as_if_it_were_not_there() {
        for value in [
            "",
            "-1",
            "+1",
            "+5",
            "1e9",
            "inf",
            "nan",
            "\u{b2}",
            "1s",
            "1.",
            ".5",
            "5, 10",
            "soon",
            "2026-03-26T16:00:00Z",
            "Sun, 06 Nov 1994 08:49:37 PST",
            "Sun, 06 Nov 1994 08:49:37 +0100",
        ] {
            assert_eq!(retry_after(&[value]), None, "{value:?}");
        }
        assert_eq!(retry_after(&[]), None);
    }

    // Section 10.2.3: or an HTTP-date, of which section 5.6.7 has a recipient accept three forms.
    #[test]
    fn a_date_is_a_point_of_time() {
        for value in [
            "Sun, 06 Nov 1994 08:50:07 GMT",
            "Sunday, 06-Nov-94 08:50:07 GMT",
            "Sun Nov  6 08:50:07 1994",
        ] {
            assert_eq!(retry_after(&[value]), secs(30), "{value}");
        }
    }

    #[test]
    fn a_date_that_has_passed_is_no_wait() {
        assert_eq!(retry_after(&["Sun, 06 Nov 1994 08:49:37 GMT"]), secs(0));
        assert_eq!(retry_after(&["Thu, 01 Jan 1970 00:00:00 GMT"]), secs(0));
    }

    // Section 6.6.1 has servers send a Date, and it is their own clock: ours may be wrong.
    #[test]
    fn a_wrong_local_clock_changes_nothing() {
        let headers = headers(&[DATE, ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]);
        for received in [DATE_SECONDS - 3600, DATE_SECONDS, DATE_SECONDS + 3600, 0] {
            assert_eq!(Hints::at(&headers, epoch(received)).retry_after(), secs(30));
        }
        assert_eq!(Hints::of(&headers).retry_after(), secs(30));
    }

    // Section 6.6.1 asks no Date of a 5xx.
    #[test]
    fn without_a_date_the_local_clock_counts() {
        for date in [None, Some(("date", "yesterday"))] {
            let mut fields = vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")];
            fields.extend(date);
            let headers = headers(&fields);
            let at = |seconds| Hints::at(&headers, epoch(seconds)).retry_after();
            assert_eq!(at(DATE_SECONDS), secs(30));
            assert_eq!(at(DATE_SECONDS + 10), secs(20));
            assert_eq!(at(DATE_SECONDS + 3600), secs(0));
            assert_eq!(
                Hints::of(&headers).retry_after(),
                secs(0),
                "1994 is over on every clock"
            );
        }
    }

    // A field that may come once: two of them are an error already, and adding them up would be
    // another one.
    #[test]
    fn of_several_the_longest_valid_one_counts() {
        assert_eq!(retry_after(&["5", "10"]), secs(10));
        assert_eq!(retry_after(&["10", "5"]), secs(10));
        assert_eq!(retry_after(&["5", "soon"]), secs(5));
        assert_eq!(
            retry_after(&["5", "Sun, 06 Nov 1994 08:50:07 GMT"]),
            secs(30)
        );
    }

    #[test]
    fn what_is_too_long_stays_long() {
        assert_eq!(retry_after(&["5184000"]), secs(5_184_000));
        assert_eq!(retry_after(&[&"9".repeat(35)]), secs(u64::MAX));
        assert_eq!(
            retry_after(&["Fri, 30 Dec 9999 00:00:00 GMT"])
                .map(|wait| wait.as_secs() > 250_000_000_000),
            Some(true)
        );
    }

    // A deviation: no server means half a century.
    #[test]
    fn a_time_since_1970_is_understood() {
        assert_eq!(retry_after(&["784111806"]), secs(30));
        assert_eq!(retry_after(&["784111807000"]), secs(30));
        assert_eq!(retry_after(&["784111000"]), secs(0));
    }
}

mod wait {
    use super::*;

    #[test]
    fn nothing_said_is_no_wait() {
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[DATE, ("content-type", "text/plain")]), None);
    }

    #[test]
    fn the_more_exact_field_wins() {
        let all = [
            ("retry-after-ms", "1500"),
            ("retry-after", "2"),
            ("x-ratelimit-retry-after", "3"),
            ("ratelimit", "\"burst\";r=0;t=4"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset-after", "5"),
            ("x-ratelimit-reset", "6"),
        ];
        let expected = [
            millis(1_500),
            secs(2),
            secs(3),
            secs(4),
            secs(5),
            secs(5),
            secs(6),
        ];
        for (first, expected) in expected.into_iter().enumerate() {
            assert_eq!(refusal_wait(&all[first..]), expected, "{:?}", &all[first..]);
        }
    }

    // draft-ietf-httpapi-ratelimit-headers section 2.3 has malformed fields ignored; so are all
    // others here.
    #[test]
    fn a_malformed_field_leaves_the_word_to_the_next() {
        let fields = [
            ("retry-after-ms", "soon"),
            ("x-ms-retry-after-ms", "-1"),
            ("retry-after", "a while"),
            ("ratelimit", "\"burst\";r=none;t=;"),
            ("x-ratelimit-reset", "6"),
        ];
        assert_eq!(refusal_wait(&fields), secs(6));
        assert_eq!(wait(&fields[..4]), None);
    }

    #[test]
    fn three_fields_count_in_milliseconds() {
        assert_eq!(wait(&[("retry-after-ms", "1500")]), millis(1_500));
        assert_eq!(wait(&[("x-ms-retry-after-ms", "20")]), millis(20));
        assert_eq!(wait(&[("x-amz-retry-after", "300")]), millis(300));
        assert_eq!(
            wait(&[("retry-after-ms", "12.5")]),
            Some(Duration::from_micros(12_500))
        );
        assert_eq!(
            wait(&[("retry-after-ms", "0"), ("retry-after", "9")]),
            secs(0),
            "zero is an answer"
        );
    }

    // Symfony and Docker Hub write a Unix time into a field of this kind.
    #[test]
    fn a_time_since_1970_is_understood_in_every_field_of_the_kind() {
        for (name, value) in [
            ("retry-after", "784111806"),
            ("x-retry-after", "784111806"),
            ("x-ratelimit-retry-after", "784111806"),
            ("x-rate-limit-retry-after-seconds", "784111806"),
            ("x-retry-after", "784111807000"),
            ("retry-after-ms", "784111807000"),
            ("x-ms-retry-after-ms", "784111807000"),
            ("x-amz-retry-after", "784111807000"),
            ("x-rate-limit-retry-after-milliseconds", "784111807000"),
            ("x-retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"),
        ] {
            let read = read(&[DATE, (name, value)], |hints| hints.retry_after());
            assert_eq!(read, secs(30), "{name}: {value}");
        }
        for (name, value) in [
            ("x-ratelimit-reset-after", "784111806"),
            ("ratelimit", "\"burst\";r=0;t=784111806"),
            ("ratelimit", "limit=5, remaining=0, reset=784111806"),
        ] {
            let fields = [DATE, ("x-ratelimit-remaining", "0"), (name, value)];
            assert_eq!(wait(&fields), secs(30), "{name}: {value}");
        }
    }

    #[test]
    fn a_time_that_has_passed_does_not_overrule_a_longer_field_of_its_rank() {
        let fields = [
            DATE,
            ("x-retry-after", "784111700"),
            ("x-ratelimit-retry-after", "20"),
        ];
        assert_eq!(wait(&fields), secs(20));
    }

    // Discord, scope=shared: the client's own limit is not what refused it.
    #[test]
    fn retry_after_wins_over_a_quota_that_is_not_used_up() {
        let fields = [
            ("x-ratelimit-remaining", "9"),
            ("x-ratelimit-reset-after", "1"),
            ("retry-after", "1337"),
        ];
        assert_eq!(wait(&fields), secs(1337));
    }

    #[test]
    fn a_reset_counts_only_where_nothing_remains() {
        let reset = ("x-ratelimit-reset", "30");
        assert_eq!(wait(&[reset, ("x-ratelimit-remaining", "0")]), secs(30));
        assert_eq!(wait(&[reset, ("x-ratelimit-remaining", "0.4")]), secs(30));
        for with in [wait, refusal_wait] {
            assert_eq!(with(&[reset, ("x-ratelimit-remaining", "1")]), None);
            let after = ("x-ratelimit-reset-after", "30");
            assert_eq!(with(&[after, ("x-ratelimit-remaining", "1")]), None);
        }
    }

    // Servers send such fields in normal operation: they order no wait until something was refused.
    #[test]
    fn a_reset_whose_rest_is_unknown_counts_for_a_refusal_only() {
        let reset = ("x-ratelimit-reset", "30");
        let unified = ("anthropic-ratelimit-unified-reset", "784111806");
        let next = ("x-ratelimit-next", "1994-11-06T08:50:07.0Z");
        let dictionary = ("zendesk-ratelimit-tickets-index", "total=100; resets=30");
        for fields in [
            &[reset][..],
            &[reset, ("x-ratelimit-remaining", "-1")],
            &[reset, ("x-ratelimit-remaining", "")],
            &[reset, ("x-ratelimit-remaining", "many")],
            &[("x-ratelimit-reset-after", "30")],
            &[DATE, unified],
            &[DATE, next],
            &[dictionary],
        ] {
            assert_eq!(wait(fields), None, "{fields:?}");
            assert_eq!(refusal_wait(fields), secs(30), "{fields:?}");
        }
        let known = [
            reset,
            ("x-ratelimit-remaining-minute", "0"),
            ("x-ratelimit-reset-minute", "9"),
        ];
        assert_eq!(
            refusal_wait(&known),
            secs(9),
            "what is known to be used up goes first"
        );
    }

    #[test]
    fn a_refusal_and_any_other_failure_are_told_the_same_where_the_server_says_it_outright() {
        for (field, expected) in [
            (("retry-after", "5"), secs(5)),
            (("retry-after-ms", "5"), millis(5)),
            (
                (
                    "grpc-status-details-bin",
                    "CAgaMAooZ29vZ2xlLnJwYy5SZXRyeUluZm8SBAoCCAU=",
                ),
                None,
            ),
        ] {
            let fields = [field, ("x-ratelimit-reset", "30")];
            assert_eq!(wait(&fields), expected, "{field:?}");
            assert_eq!(refusal_wait(&fields), expected.or(secs(30)), "{field:?}");
        }
    }

    #[test]
    fn of_several_limits_the_slowest_of_those_used_up_counts() {
        let fields = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "12s"),
            ("x-ratelimit-remaining-images", "3"),
            ("x-ratelimit-reset-images", "1h"),
            ("x-ratelimit-reset-day", "20h"),
        ];
        assert_eq!(wait(&fields), secs(12));
        assert_eq!(
            refusal_wait(&fields[4..]),
            secs(20 * 60 * 60),
            "if none is known to be"
        );
    }

    // draft-ietf-httpapi-ratelimit-headers: a response from a cache should not be believed.
    #[test]
    fn what_a_cache_kept_of_a_quota_is_ignored() {
        let quota = [
            ("x-ratelimit-remaining", "0"),
            ("ratelimit", "\"a\";r=0;t=9"),
            ("x-ratelimit-reset", "9"),
        ];
        let aged = |age| {
            let mut fields = quota.to_vec();
            fields.push(("age", age));
            fields
        };
        assert_eq!(wait(&aged("0")), secs(9));
        assert_eq!(wait(&aged("old")), secs(9));
        assert_eq!(wait(&aged("1")), None);
        assert!(read(&aged("1"), |hints| hints.quota().is_none()));
        let mut fields = aged("1");
        fields.push(("retry-after", "7"));
        assert_eq!(wait(&fields), secs(7), "Retry-After is not a quota");
    }

    #[test]
    fn grpc_pushback_is_asked_for_by_itself() {
        let fields = [("grpc-retry-pushback-ms", "25")];
        assert_eq!(wait(&fields), None);
        assert_eq!(
            read(&fields, |hints| hints.grpc_pushback()),
            Some(Pushback::After(Duration::from_millis(25)))
        );
    }
}

mod veto {
    use super::*;

    fn should_retry(fields: &[(&str, &str)]) -> Option<bool> {
        read(fields, |hints| hints.should_retry())
    }

    #[test]
    fn the_server_may_ask_for_another_attempt_or_forbid_it() {
        for name in ["x-should-retry", "stripe-should-retry"] {
            assert_eq!(should_retry(&[(name, "true")]), Some(true));
            assert_eq!(should_retry(&[(name, "False")]), Some(false));
            for other in ["", "yes", "1", "truefalse"] {
                assert_eq!(should_retry(&[(name, other)]), None, "{other:?}");
            }
        }
        assert_eq!(should_retry(&[]), None);
    }

    // Adyen, "API idempotency": says only of a true one what follows from it.
    #[test]
    fn a_transient_error_asks_for_another_attempt() {
        assert_eq!(should_retry(&[("transient-error", "true")]), Some(true));
        assert_eq!(should_retry(&[("transient-error", "false")]), None);
        let fields = [("transient-error", "true"), ("x-should-retry", "false")];
        assert_eq!(should_retry(&fields), Some(false));
    }

    #[test]
    fn an_answer_of_an_envoy_rate_limit_forbids_a_retry() {
        for value in ["true", "1", ""] {
            assert_eq!(should_retry(&[("x-envoy-ratelimited", value)]), Some(false));
        }
        let fields = [("x-envoy-ratelimited", "true"), ("x-should-retry", "true")];
        assert_eq!(should_retry(&fields), Some(false));
    }

    #[test]
    fn of_two_opinions_the_veto_wins() {
        let fields = [("x-should-retry", "true"), ("stripe-should-retry", "false")];
        assert_eq!(should_retry(&fields), Some(false));
        let fields = [("x-should-retry", "false"), ("x-should-retry", "true")];
        assert_eq!(should_retry(&fields), Some(false));
    }
}

mod replay {
    use super::*;

    fn is_replayed(name: &str, value: &str) -> bool {
        read(&[(name, value)], |hints| hints.is_replayed())
    }

    #[test]
    fn each_provider_marks_a_stored_answer_in_its_own_way() {
        for name in [
            "idempotent-replayed",
            "idempotency-replayed",
            "chargebee-idempotency-replayed",
            "request-idempotency",
        ] {
            assert!(is_replayed(name, "true"), "{name}");
            assert!(is_replayed(name, "TRUE"), "{name}");
            assert!(is_replayed(name, "?1"), "{name}");
            for not in ["false", "?0", "", "no"] {
                assert!(!is_replayed(name, not), "{name}: {not}");
            }
        }
        assert!(is_replayed(
            "x-gcs-idempotence-request-timestamp",
            "1415114100000"
        ));
        assert!(!is_replayed("x-gcs-idempotence-request-timestamp", ""));
    }

    // OASIS Repeatable Requests 1.0: "accepted" is said of the first execution too.
    #[test]
    fn an_accepted_request_need_not_be_a_repeated_one() {
        assert!(!is_replayed("repeatability-result", "accepted"));
        assert!(!is_replayed("repeatability-result", "rejected"));
        assert!(!read(&[], |hints| hints.is_replayed()));
    }
}

/// google.rpc.RetryInfo, in the examples of the tests below:
/// Status { code: 8, message: "", details: [Any { type_url: ".../google.rpc.RetryInfo", value: ... }] }
mod retry_info {
    use super::*;

    const URL: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2], &*varint(value.len() as u64), value].concat()
    }

    fn integer(number: u8, value: i64) -> Vec<u8> {
        [vec![number << 3], varint(value.cast_unsigned())].concat()
    }

    fn duration(seconds: i64, nanos: i32) -> Vec<u8> {
        [integer(1, seconds), integer(2, nanos.into())].concat()
    }

    fn any(url: &[u8], value: &[u8]) -> Vec<u8> {
        [bytes(1, url), bytes(2, value)].concat()
    }

    fn status(details: &[Vec<u8>]) -> Vec<u8> {
        let details = details.iter().flat_map(|detail| bytes(3, detail));
        integer(1, 8)
            .into_iter()
            .chain(bytes(2, b"slow down"))
            .chain(details)
            .collect()
    }

    fn base64(bytes: &[u8], padded: bool) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let bits = three
                .iter()
                .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - three.len()));
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
                match place <= three.len() {
                    true => text.push(digit.into()),
                    false if padded => text.push('='),
                    false => {}
                }
            }
        }
        text
    }

    fn value(value: &str) -> Option<Duration> {
        read(&[("grpc-status-details-bin", value)], |hints| {
            hints.retry_info()
        })
    }

    fn of(message: &[u8]) -> Option<Duration> {
        let read = value(&base64(message, true));
        assert_eq!(
            value(&base64(message, false)),
            read,
            "padding tells nothing"
        );
        read
    }

    fn delay(seconds: i64, nanos: i32) -> Option<Duration> {
        of(&status(&[any(URL, &bytes(1, &duration(seconds, nanos)))]))
    }

    // As Google's libraries write it.
    #[test]
    fn the_delay_is_read() {
        let written = "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIBQ";
        assert_eq!(value(written), secs(5));
        assert_eq!(value(&format!("{written}==")), secs(5));
        assert_eq!(delay(34, 74_824_224), Some(Duration::new(34, 74_824_224)));
        assert_eq!(wait(&[("grpc-status-details-bin", written)]), secs(5));
        assert_eq!(
            refusal_wait(&[("grpc-status-details-bin", written)]),
            secs(5)
        );
    }

    #[test]
    fn retry_after_goes_before_it_and_a_quota_behind() {
        let info = base64(&status(&[any(URL, &bytes(1, &duration(5, 0)))]), false);
        let fields = [
            ("retry-after", "3"),
            ("grpc-status-details-bin", info.as_str()),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "60"),
        ];
        assert_eq!(wait(&fields), secs(3));
        assert_eq!(wait(&fields[1..]), secs(5));
        assert_eq!(wait(&fields[2..]), secs(60));
    }

    // Any: what stands before the last slash is of no meaning, nor is the order of fields and details.
    #[test]
    fn it_is_found_among_other_details_and_unknown_fields() {
        let delay = bytes(1, &duration(5, 0));
        let backwards = [bytes(2, &delay), bytes(1, URL)].concat();
        assert_eq!(of(&status(&[backwards])), secs(5));
        let others = [
            any(b"type.googleapis.com/google.rpc.DebugInfo", &[0xff; 600]),
            any(b"example.com/types/google.rpc.RetryInfo", &delay),
            any(b"type.googleapis.com/google.rpc.Help", b""),
        ];
        assert_eq!(of(&status(&others)), secs(5));
        let unknown = [integer(9, 7), bytes(8, b"new"), delay.clone()].concat();
        assert_eq!(
            of(&status(&[any(b"/google.rpc.RetryInfo", &unknown)])),
            secs(5)
        );
        let of_another_kind = any(b"type.googleapis.com/google.rpc.RetryInfos", &delay);
        assert_eq!(of(&status(&[of_another_kind])), None);
    }

    #[test]
    fn of_several_the_longest_counts() {
        let info = |seconds| any(URL, &bytes(1, &duration(seconds, 0)));
        assert_eq!(of(&status(&[info(5), info(9), info(7)])), secs(9));
        let one = |seconds| base64(&status(&[info(seconds)]), true);
        let both = format!("{}, {}", one(5), one(9));
        assert_eq!(value(&both), secs(9), "gRPC joins values by commas");
        assert_eq!(value(&format!("!, {}", one(5))), secs(5));
    }

    // google.protobuf.Duration: from -315,576,000,000 s to that, and nanos of less than a second.
    #[test]
    fn an_absurd_delay_is_bounded_and_one_below_zero_is_zero() {
        let longest = secs(315_576_000_000);
        assert_eq!(delay(315_576_000_000, 0), longest);
        assert_eq!(delay(315_576_000_001, 0), longest);
        assert_eq!(delay(i64::MAX, i32::MAX), longest);
        for (seconds, nanos) in [(0, 0), (-1, 0), (0, -1), (-5, -5), (i64::MIN, i32::MIN)] {
            assert_eq!(delay(seconds, nanos), secs(0), "{seconds} s, {nanos} ns");
        }
        assert_eq!(delay(1, -1), Some(Duration::from_nanos(999_999_999)));
        assert_eq!(
            delay(0, i32::MAX),
            Some(Duration::from_nanos(2_147_483_647))
        );
    }

    #[test]
    fn a_delay_that_is_not_set_is_none_and_one_of_zero_is_zero() {
        assert_eq!(of(&status(&[any(URL, b"")])), None);
        assert_eq!(of(&status(&[bytes(1, URL)])), None);
        assert_eq!(of(&status(&[any(URL, &bytes(1, b""))])), secs(0));
        assert_eq!(of(&status(&[])), None);
    }

    #[test]
    fn what_is_malformed_counts_as_if_it_were_not_there() {
        let whole = status(&[any(URL, &bytes(1, &duration(5, 0)))]);
        for end in 0..whole.len() {
            assert_eq!(of(&whole[..end]), None, "cut off after {end} bytes");
        }
        let text = base64(&whole, false);
        for broken in [
            "",
            "?",
            "====",
            &text[..text.len() - 1],
            &text.replace('A', "-"),
            &format!("{text} {text}"),
            &format!("{text}==="),
        ] {
            assert_eq!(value(broken), None, "{broken}");
        }
        let wrong_type = integer(1, 5);
        assert_eq!(of(&status(&[any(URL, &wrong_type)])), None);
        let more = [whole, vec![0x1a, 0x7f]].concat();
        assert_eq!(of(&more), None);
    }

    #[test]
    fn details_of_some_kilobytes_are_read_and_more_is_passed_over() {
        let with = |length| {
            let debug = any(
                b"type.googleapis.com/google.rpc.DebugInfo",
                &vec![b'x'; length],
            );
            of(&status(&[debug, any(URL, &bytes(1, &duration(5, 0)))]))
        };
        assert_eq!(with(5_900), secs(5));
        assert_eq!(with(6_200), None);
    }
}

#[test]
fn its_debug_output_shows_no_header() {
    let headers = headers(&[("set-cookie", "secret")]);
    let debug = format!("{:?}", Hints::of(&headers));
    assert!(!debug.contains("secret"), "{debug}");
}
