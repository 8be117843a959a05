//! What is left of a limit: the IETF's drafts, and how each provider spells it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use courteous_hints::{Hints, Quota};
use http::{HeaderMap, HeaderName, HeaderValue};

/// 2026-03-26T15:59:00Z.
const NOW: &str = "Thu, 26 Mar 2026 15:59:00 GMT";

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

/// Received an hour late by the local clock, which must not matter.
fn received() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_774_540_740 + 3600)
}

fn quota(fields: &[(&str, &str)]) -> Option<Quota<'static>> {
    let mut headers = headers(fields);
    headers.insert("date", HeaderValue::from_static(NOW));
    // A test may leak.
    Hints::at(Box::leak(Box::new(headers)), received()).quota()
}

fn wait(fields: &[(&str, &str)]) -> Option<Duration> {
    let mut headers = headers(fields);
    headers.insert("date", HeaderValue::from_static(NOW));
    Hints::at(&headers, received()).wait()
}

fn refusal_wait(fields: &[(&str, &str)]) -> Option<Duration> {
    let mut headers = headers(fields);
    headers.insert("date", HeaderValue::from_static(NOW));
    Hints::at(&headers, received()).refusal_wait()
}

/// Remaining, reset in seconds, limit, window in seconds.
type Facts = (u64, Option<f64>, Option<u64>, Option<f64>);

fn facts(fields: &[(&str, &str)]) -> Option<Facts> {
    quota(fields).map(|quota| {
        (
            quota.remaining(),
            quota.reset().map(|reset| reset.as_secs_f64()),
            quota.limit(),
            quota.window().map(|window| window.as_secs_f64()),
        )
    })
}

mod drafts {
    use super::*;

    // polli-00 to ietf-06: three fields, and the reset is a number of seconds.
    #[test]
    fn three_fields() {
        let fields = [
            ("RateLimit-Limit", "100"),
            ("RateLimit-Remaining", "50"),
            ("RateLimit-Reset", "30"),
        ];
        assert_eq!(facts(&fields), Some((50, Some(30.0), Some(100), None)));
    }

    // 00-03: policies follow the limit in its own field; from 04 they have one.
    #[test]
    fn the_window_is_that_of_the_policy_with_the_same_limit() {
        let of = |limit, policy| {
            let fields = [
                ("RateLimit-Limit", limit),
                ("RateLimit-Policy", policy),
                ("RateLimit-Remaining", "50"),
            ];
            facts(&fields)
        };
        let minute = Some((50, None, Some(100), Some(60.0)));
        assert_eq!(of("100, 10;w=1, 100;w=60, 1000;w=3600", ""), minute);
        assert_eq!(of("100", "10;w=1, 100;w=60"), minute);
        assert_eq!(of("100", "100;comment=\"a;w=5,b\";w=60"), minute);
        assert_eq!(of("100", "10;w=1"), Some((50, None, Some(100), None)));
    }

    // 07: a Dictionary.
    #[test]
    fn one_dictionary() {
        let fields = [
            ("RateLimit", "limit=100, remaining=50, reset=30"),
            ("RateLimit-Policy", "1000;w=3600, 100;w=60"),
        ];
        assert_eq!(
            facts(&fields),
            Some((50, Some(30.0), Some(100), Some(60.0)))
        );
        assert_eq!(
            facts(&[("RateLimit", "remaining=50,reset=30;x, other=1,limit=\"a\"")]),
            Some((50, Some(30.0), None, None))
        );
    }

    // From 08: a List of Strings with parameters; the policy of the same name tells limit and
    // window.
    #[test]
    fn a_list_of_items() {
        let fields = [
            ("RateLimit", "\"burst\";r=50;t=30"),
            (
                "RateLimit-Policy",
                "\"daily\";q=1000;w=86400,\"burst\";q=100;w=60",
            ),
        ];
        assert_eq!(
            facts(&fields),
            Some((50, Some(30.0), Some(100), Some(60.0)))
        );
    }

    // From 08: t counts seconds from now, w may be left out, and so may t.
    #[test]
    fn what_is_optional_may_be_missing() {
        let fields = [
            ("RateLimit", "\"burst\";r=50"),
            ("RateLimit-Policy", "\"burst\";q=100"),
        ];
        assert_eq!(facts(&fields), Some((50, None, Some(100), None)));
        assert_eq!(
            facts(&[("RateLimit", "\"burst\";r=50;t=30")]),
            Some((50, Some(30.0), None, None)),
            "a policy is no condition"
        );
    }

    // From 08: `r` is required, so that an item without it says nothing about what is left.
    #[test]
    fn an_item_without_a_remaining_quantity_is_no_quota() {
        for fields in [
            [("RateLimit", "\"burst\";t=30")],
            [("Beta-RateLimit", "\"burst\";t=3200")],
            [("RateLimit", "\"burst\";r=;t=30")],
            [("RateLimit", "\"burst\";r;t=30")],
            [("RateLimit", "\"burst\";r=-1;t=30")],
            [("RateLimit", "limit=100, reset=30")],
            [("RateLimit", "limit=100, remaining=?, reset=30")],
        ] {
            assert_eq!(quota(&fields), None, "{fields:?}");
            assert_eq!(wait(&fields), None, "{fields:?}");
            assert_eq!(refusal_wait(&fields), None, "{fields:?}");
        }
    }

    // The names are those of the current draft, of its proposed successor, and of older ones.
    #[test]
    fn a_parameter_of_the_draft_wins_over_those_that_look_alike() {
        for (value, expected) in [
            ("\"b\";r=0;t=1;w=60", Some((0, Some(1.0), None, None))),
            ("\"b\";w=60;t=1;r=0", Some((0, Some(1.0), None, None))),
            ("\"b\";r=5;a=0", Some((5, None, None, None))),
            ("\"b\";a=0;r=5", Some((5, None, None, None))),
            (
                "\"b\";remaining=0;a=5;reset=9;w=3",
                Some((5, Some(3.0), None, None)),
            ),
            (
                "\"b\";remaining=7;reset=9",
                Some((7, Some(9.0), None, None)),
            ),
            // One that is there and malformed does not leave the word to another.
            ("\"b\";r=?;a=0", None),
            ("\"b\";r=0;t=?;w=60", Some((0, None, None, None))),
        ] {
            assert_eq!(facts(&[("RateLimit", value)]), expected, "{value}");
        }
        let dictionary = |value| facts(&[("zendesk-ratelimit-search", value)]);
        assert_eq!(
            dictionary("limit=5; total=9; remaining=1; reset=3; resets=60"),
            Some((1, Some(3.0), Some(5), None))
        );
        assert_eq!(
            dictionary("total=9; limit=5; remaining=1; resets=60; reset=3"),
            Some((1, Some(3.0), Some(5), None))
        );
    }

    // The grammar is broken by the drafts' own examples.
    #[test]
    fn only_the_bad_item_is_skipped() {
        let fine = Some((7, Some(30.0), None, None));
        for value in [
            "quota;r=7;t=30",
            "\"a\";r=-1;t=1, \"b\";r=7;t=30",
            "\"a\";r=x, , ;r=1, \"b\";r=7;t=30",
            "\"b\" ; r=7 ; t=30 ; new=?1 ; flag",
            "\"b\";r=1;t=30;r=7",
            "\"b\";r=7;t=30;pk=:cHsdsRa894==:",
            "\"a\";r=1.5.5, \"with, comma; r=3 and \\\" quote\";r=7;t=30",
            "\"b\";r=7;t=30, \"unterminated;r=1;t=2",
            "\"b\";a=7;w=30",
            "\"b\";remaining=7;reset=30",
        ] {
            assert_eq!(facts(&[("RateLimit", value)]), fine, "{value}");
        }
        for value in [
            "",
            "\"",
            "50",
            "\"burst\"",
            "burst",
            ";;;",
            ",,,",
            "=",
            "\"\\",
        ] {
            assert_eq!(quota(&[("RateLimit", value)]), None, "{value}");
        }
    }

    // From 08: limits and policies are joined by their name and partition key.
    #[test]
    fn a_policy_of_another_name_or_partition_is_not_joined() {
        let limit = |policy| {
            let fields = [
                ("RateLimit", "\"burst\";r=50;t=30;pk=:YQ==:"),
                ("RateLimit-Policy", policy),
            ];
            quota(&fields).and_then(|quota| quota.limit())
        };
        assert_eq!(
            limit("\"burst\";q=1;pk=:Yg==:, \"burst\";q=2;pk=:YQ==:"),
            Some(2)
        );
        assert_eq!(limit("\"burst\";q=3"), Some(3));
        assert_eq!(limit("\"daily\";q=4;pk=:YQ==:"), None);
    }

    // From 08: a quota unit other than requests counts bytes, or what is in flight.
    #[test]
    fn a_quota_of_something_else_than_requests_counts_when_it_is_used_up() {
        let read = |remaining: &str, unit: &str| {
            let limit = format!("\"a\";r={remaining};t=30, \"b\";r=40;t=10");
            let policy = format!("\"a\";q=100;w=60{unit}");
            let fields = [
                ("RateLimit", limit.as_str()),
                ("RateLimit-Policy", policy.as_str()),
            ];
            facts(&fields)
        };
        let ours = Some((40, Some(10.0), None, None));
        assert_eq!(read("7", ";qu=\"content-bytes\""), ours);
        assert_eq!(read("7", ";qu=\"concurrent-requests\""), ours);
        for requests in ["", ";qu=\"requests\"", ";qu=request"] {
            assert_eq!(
                read("7", requests),
                Some((7, Some(30.0), Some(100), Some(60.0)))
            );
        }
        assert_eq!(
            read("0", ";qu=\"content-bytes\""),
            Some((0, Some(30.0), None, None))
        );
    }

    #[test]
    fn lines_of_the_same_field_are_one_list() {
        let fields = [
            ("RateLimit", "\"burst\";r=50;t=30"),
            ("RateLimit", "\"daily\";r=3;t=4000"),
            ("RateLimit-Policy", "\"burst\";q=100"),
            ("RateLimit-Policy", "\"daily\";q=1000"),
        ];
        assert_eq!(facts(&fields), Some((3, Some(4000.0), Some(1000), None)));
    }

    #[test]
    fn a_field_that_is_not_text_is_ignored() {
        let mut headers = HeaderMap::new();
        for name in ["ratelimit", "x-ratelimit-remaining", "retry-after", "date"] {
            headers.insert(name, HeaderValue::from_bytes(b"\xff5").unwrap());
        }
        let hints = Hints::at(&headers, received());
        assert_eq!((hints.quota(), hints.wait()), (None, None));
    }
}

mod most_restrictive {
    use super::*;

    #[test]
    fn the_least_that_remains_counts_and_of_equals_the_one_that_lasts_longest() {
        let value = "\"a\";r=50;t=1, \"b\";r=3;t=20, \"c\";r=3;t=600, \"d\";r=4;t=9999";
        assert_eq!(
            facts(&[("RateLimit", value)]),
            Some((3, Some(600.0), None, None))
        );
    }

    #[test]
    fn fields_of_all_kinds_are_compared() {
        let fields = [
            ("RateLimit", "\"a\";r=50;t=1"),
            ("X-RateLimit-Remaining", "40"),
            ("X-RateLimit-Remaining-Minute", "5"),
            ("X-RateLimit-Limit-Minute", "60"),
        ];
        assert_eq!(facts(&fields), Some((5, None, Some(60), Some(60.0))));
    }

    #[test]
    fn without_a_remaining_quantity_there_is_no_quota() {
        for remaining in ["-1", "", "nan", "many", "1e3"] {
            let fields = [
                ("X-RateLimit-Limit", "10"),
                ("X-RateLimit-Remaining", remaining),
                ("X-RateLimit-Reset", "10"),
            ];
            assert_eq!(quota(&fields), None, "{remaining:?}");
        }
        assert_eq!(quota(&[("X-RateLimit-Reset", "10")]), None);
        assert_eq!(quota(&[]), None);
    }
}

/// One test for each provider that documents fields of its own, with its own example where there is
/// one.
mod providers {
    use super::*;

    #[test]
    fn github_resets_at_a_time_in_seconds() {
        let fields = [
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-used", "60"),
            ("x-ratelimit-reset", "1774540769"),
            ("x-ratelimit-resource", "core"),
        ];
        assert_eq!(facts(&fields), Some((0, Some(30.0), Some(60), None)));
        assert_eq!(wait(&fields), Some(Duration::from_secs(30)));
    }

    // The secondary limit leaves the primary one as it is.
    #[test]
    fn github_refuses_with_a_quota_left_and_says_nothing_of_the_wait() {
        let fields = [
            ("x-ratelimit-limit", "5000"),
            ("x-ratelimit-remaining", "4987"),
            ("x-ratelimit-reset", "1774540769"),
        ];
        assert_eq!(wait(&fields), None);
    }

    #[test]
    fn x_and_okta_write_rate_limit_in_two_words() {
        let fields = [
            ("x-rate-limit-limit", "900"),
            ("x-rate-limit-remaining", "899"),
            ("x-rate-limit-reset", "1774540769"),
            ("x-app-limit-24hour-limit", "2000"),
            ("x-app-limit-24hour-remaining", "10"),
            ("x-app-limit-24hour-reset", "1774540799"),
        ];
        assert_eq!(
            facts(&fields[..3]),
            Some((899, Some(30.0), Some(900), None))
        );
        assert_eq!(facts(&fields), Some((10, Some(60.0), Some(2000), None)));
    }

    #[test]
    fn shopify_tells_how_much_of_a_bucket_is_used() {
        let name = "X-Shopify-Shop-Api-Call-Limit";
        assert_eq!(facts(&[(name, "32/40")]), Some((8, None, Some(40), None)));
        assert_eq!(facts(&[(name, "40/40")]), Some((0, None, Some(40), None)));
        assert_eq!(facts(&[(name, "41/40")]), Some((0, None, Some(40), None)));
        for value in ["", "32", "/", "a/40", "32/40/1", "-1/40"] {
            assert_eq!(quota(&[(name, value)]), None, "{value:?}");
        }
        assert_eq!(
            wait(&[(name, "40/40"), ("retry-after", "2.0")]),
            Some(Duration::from_secs(2))
        );
    }

    #[test]
    fn openai_and_groq_have_go_durations_for_requests_and_tokens() {
        let fields = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-remaining-tokens", "14"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        assert_eq!(facts(&fields), Some((59, Some(1.0), Some(60), None)));
        let used_up = [
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "2m59.56s"),
        ];
        assert_eq!(facts(&used_up), Some((0, Some(179.56), None, None)));
        assert_eq!(wait(&used_up), Some(Duration::from_millis(179_560)));
        let usage_based = [
            ("x-ratelimit-remaining-tokens_usage_based", "14"),
            ("x-ratelimit-reset-tokens_usage_based", "6m0s"),
        ];
        assert_eq!(facts(&usage_based), None);
    }

    // Azure OpenAI may send -1 for "unknown".
    #[test]
    fn a_negative_rest_is_unknown() {
        let fields = [
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-limit-requests", "-1"),
            ("x-ratelimit-reset-requests", "12ms"),
        ];
        assert_eq!(facts(&fields), None);
        assert_eq!(wait(&fields), None);
        assert_eq!(refusal_wait(&fields), Some(Duration::from_millis(12)));
    }

    #[test]
    fn anthropic_puts_the_word_last_and_dates_as_rfc_3339() {
        let fields = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-03-26T15:59:29Z"),
            ("anthropic-ratelimit-input-tokens-limit", "20000"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            (
                "anthropic-ratelimit-input-tokens-reset",
                "2026-03-26T15:59:59Z",
            ),
        ];
        assert_eq!(facts(&fields[..3]), Some((49, Some(30.0), Some(50), None)));
        assert_eq!(facts(&fields), Some((0, Some(60.0), None, None)));
        let past = [
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2025-08-21T12:40:59Z"),
        ];
        assert_eq!(wait(&past), Some(Duration::ZERO));
        assert_eq!(
            refusal_wait(&[("anthropic-ratelimit-unified-reset", "1774540769")]),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn discord_is_read_by_its_delta_and_not_by_its_clock() {
        let fields = [
            ("X-RateLimit-Limit", "5"),
            ("X-RateLimit-Remaining", "0"),
            ("X-RateLimit-Reset", "1774540899.123"),
            ("X-RateLimit-Reset-After", "64.57"),
            ("X-RateLimit-Bucket", "abcd1234"),
        ];
        assert_eq!(facts(&fields), Some((0, Some(64.57), Some(5), None)));
        assert_eq!(wait(&fields), Some(Duration::from_millis(64_570)));
        assert_eq!(
            facts(&fields[..3]),
            Some((0, Some(159.123), Some(5), None)),
            "a fraction needs no margin"
        );
        assert_eq!(
            refusal_wait(&[("X-RateLimit-Reset-After", "64.57")]),
            Some(Duration::from_millis(64_570))
        );
    }

    #[test]
    fn reddit_counts_in_floats() {
        let fields = [
            ("X-Ratelimit-Used", "2"),
            ("X-Ratelimit-Remaining", "598.0"),
            ("X-Ratelimit-Reset", "300"),
        ];
        assert_eq!(facts(&fields), Some((598, Some(300.0), None, None)));
    }

    #[test]
    fn zendesk_has_a_plain_limit_and_dictionaries() {
        let fields = [("X-Rate-Limit", "700"), ("X-Rate-Limit-Remaining", "699")];
        assert_eq!(facts(&fields), Some((699, None, Some(700), None)));
        let fields = [
            ("ratelimit-limit", "700"),
            ("ratelimit-remaining", "699"),
            ("ratelimit-reset", "41"),
            (
                "zendesk-ratelimit-tickets-index",
                "total=100; remaining=99; resets=41",
            ),
        ];
        assert_eq!(
            facts(&fields[..3]),
            Some((699, Some(41.0), Some(700), None))
        );
        assert_eq!(facts(&fields), Some((99, Some(41.0), Some(100), None)));
    }

    #[test]
    fn hubspot_tells_the_window_in_milliseconds_and_no_reset() {
        let fields = [
            ("X-HubSpot-RateLimit-Max", "100"),
            ("X-HubSpot-RateLimit-Remaining", "87"),
            ("X-HubSpot-RateLimit-Interval-Milliseconds", "10000"),
            ("X-HubSpot-RateLimit-Daily", "250000"),
            ("X-HubSpot-RateLimit-Daily-Remaining", "86"),
        ];
        assert_eq!(facts(&fields[..4]), Some((87, None, Some(100), Some(10.0))));
        assert_eq!(facts(&fields), Some((86, None, Some(250_000), None)));
    }

    // Trello, "Rate limits": 300 requests in 10 s for each API key, and 100 for each token.
    #[test]
    fn trello_counts_requests_by_key_and_by_token() {
        let fields = [
            ("x-rate-limit-api-key-interval-ms", "10000"),
            ("x-rate-limit-api-key-max", "300"),
            ("x-rate-limit-api-key-remaining", "299"),
            ("x-rate-limit-api-token-interval-ms", "10000"),
            ("x-rate-limit-api-token-max", "100"),
            ("x-rate-limit-api-token-remaining", "99"),
        ];
        assert_eq!(facts(&fields), Some((99, None, Some(100), Some(10.0))));
        assert_eq!(
            facts(&fields[..3]),
            Some((299, None, Some(300), Some(10.0)))
        );
    }

    #[test]
    fn a_token_that_the_requests_are_counted_by_is_none_of_a_language_model() {
        let counts = |name: &str| quota(&[(name, "14")]).is_some();
        for credential in [
            "x-ratelimit-access-token-remaining",
            "x-ratelimit-remaining-api-token",
            "x-ratelimit-auth-token-remaining",
            "x-rate-limit-user-token-remaining",
            "x-ratelimit-remaining-per-token",
        ] {
            assert!(counts(credential), "{credential}");
        }
        for tokens in [
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-remaining-token",
            "x-ratelimit-token-remaining",
            "x-ratelimit-input-token-remaining",
            "anthropic-ratelimit-output-tokens-remaining",
            "x-ratelimit-remaining-tokens_usage_based",
            "x-ratelimit-remaining-tokens-minute",
        ] {
            assert!(!counts(tokens), "{tokens}");
        }
    }

    #[test]
    fn together_counts_tokens_in_a_field_of_their_own() {
        let fields = [
            ("x-ratelimit-limit", "10"),
            ("x-ratelimit-remaining", "9"),
            ("x-tokenlimit-limit", "3000"),
            ("x-tokenlimit-remaining", "5"),
        ];
        assert_eq!(facts(&fields), Some((9, None, Some(10), None)));
    }

    #[test]
    fn an_interval_in_milliseconds_is_a_window_under_every_prefix() {
        for interval in [
            "X-RateLimit-Interval-Milliseconds",
            "X-RateLimit-Interval-Ms",
        ] {
            let fields = [
                ("X-RateLimit-Max", "100"),
                ("X-RateLimit-Remaining", "87"),
                (interval, "10000"),
            ];
            assert_eq!(facts(&fields), Some((87, None, Some(100), Some(10.0))));
        }
        let fields = [
            ("X-App-Limit-Remaining-Search", "3"),
            ("X-App-Limit-Interval-Milliseconds-Search", "1500"),
        ];
        assert_eq!(facts(&fields), Some((3, None, None, Some(1.5))));
    }

    // The IETF's name, and not the IETF's unit.
    #[test]
    fn gitlab_resets_at_a_time_in_seconds() {
        let fields = [
            ("RateLimit-Limit", "60"),
            ("RateLimit-Name", "throttle_authenticated_web"),
            ("RateLimit-Observed", "67"),
            ("RateLimit-Remaining", "0"),
            ("RateLimit-Reset", "1774540769"),
            ("RateLimit-ResetTime", "Thu, 26 Mar 2026 15:59:29 GMT"),
        ];
        assert_eq!(facts(&fields), Some((0, Some(30.0), Some(60), None)));
        assert_eq!(wait(&fields), Some(Duration::from_secs(30)));
    }

    #[test]
    fn atlassian_leaves_the_seconds_out_and_tries_the_draft_beside() {
        let fields = [
            ("X-RateLimit-Limit", "40"),
            ("X-RateLimit-Remaining", "0"),
            ("X-RateLimit-Reset", "2026-03-26T16:00Z"),
            ("X-RateLimit-NearLimit", "true"),
        ];
        assert_eq!(facts(&fields), Some((0, Some(61.0), Some(40), None)));
        let fields = [
            ("Beta-RateLimit", "\"tenant-app-quota\";r=0;t=2788"),
            (
                "Beta-RateLimit-Policy",
                "\"tenant-app-quota\";q=65000;w=3600",
            ),
        ];
        assert_eq!(
            facts(&fields),
            Some((0, Some(2788.0), Some(65_000), Some(3600.0)))
        );
        // Data Center: a token bucket that still has some.
        let fields = [
            ("X-RateLimit-Limit", "100"),
            ("X-RateLimit-Remaining", "9"),
            ("X-RateLimit-FillRate", "10"),
            ("X-RateLimit-Interval-Seconds", "60"),
            ("Retry-After", "0"),
        ];
        assert_eq!(facts(&fields), Some((9, None, Some(100), None)));
        assert_eq!(wait(&fields), Some(Duration::ZERO));
    }

    #[test]
    fn azure_tells_what_remains_of_each_of_its_policies() {
        let reads = "x-ms-ratelimit-remaining-subscription-reads";
        assert_eq!(facts(&[(reads, "11999")]), Some((11_999, None, None, None)));
        let policies =
            "Microsoft.Compute/GetVMScaleSet3Min;197,Microsoft.Compute/GetVMScaleSet30Min;1297";
        let resource = ("x-ms-ratelimit-remaining-resource", policies);
        assert_eq!(facts(&[resource]), Some((197, None, None, None)));
    }

    #[test]
    fn azure_and_aws_count_a_wait_in_milliseconds() {
        for name in ["x-ms-retry-after-ms", "retry-after-ms", "x-amz-retry-after"] {
            assert_eq!(wait(&[(name, "1500")]), Some(Duration::from_millis(1500)));
        }
    }

    #[test]
    fn cloudflare_sends_the_latest_draft() {
        let fields = [
            ("Ratelimit", "\"default\";r=50;t=30"),
            ("Ratelimit-Policy", "\"burst\";q=100;w=60"),
        ];
        assert_eq!(facts(&fields), Some((50, Some(30.0), None, None)));
    }

    #[test]
    fn linear_resets_at_a_time_in_milliseconds() {
        let fields = [
            ("X-RateLimit-Requests-Limit", "5000"),
            ("X-RateLimit-Requests-Remaining", "4999"),
            ("X-RateLimit-Requests-Reset", "1774540770000"),
            ("X-RateLimit-Complexity-Remaining", "12"),
            ("X-RateLimit-Complexity-Reset", "1774540770000"),
        ];
        assert_eq!(facts(&fields), Some((4999, Some(30.0), Some(5000), None)));
    }

    // Nothing tells a delta in milliseconds from one in seconds: the caller's own cap has to.
    #[test]
    fn prisjakts_milliseconds_read_as_seconds() {
        let fields = [
            ("X-Rate-Limit-Remaining", "0"),
            ("X-Rate-Limit-Reset", "600000"),
        ];
        assert_eq!(wait(&fields), Some(Duration::from_secs(600_000)));
    }

    // A date whose offset would be lost is an hour wrong.
    #[test]
    fn lemlists_local_time_is_not_taken_for_utc() {
        let date = "Thu Mar 26 2026 16:02:42 GMT+0100 (Central European Standard Time)";
        let fields = [("X-RateLimit-Remaining", "7"), ("X-RateLimit-Reset", date)];
        assert_eq!(facts(&fields), Some((7, None, None, None)));
    }

    #[test]
    fn rachio_vimeo_and_akamai_send_dates() {
        let seconds = |name, value| refusal_wait(&[(name, value)]).map(|wait| wait.as_secs());
        assert_eq!(
            seconds("x-ratelimit-reset", "2026-03-26T16:00:00Z"),
            Some(61)
        );
        assert_eq!(
            seconds("x-ratelimit-reset", "Thu, 26 Mar 2026 16:00:00 GMT"),
            Some(61)
        );
        assert_eq!(
            seconds("x-ratelimit-next", "2026-03-26T16:00:00.000Z"),
            Some(60)
        );
    }

    #[test]
    fn mailerlite_renames_retry_after() {
        assert_eq!(
            wait(&[("X-RateLimit-Retry-After", "59")]),
            Some(Duration::from_secs(59))
        );
    }

    #[test]
    fn kong_has_a_limit_for_each_window() {
        let fields = [
            ("X-RateLimit-Limit-Minute", "20"),
            ("X-RateLimit-Remaining-Minute", "15"),
            ("X-RateLimit-Limit-Hour", "500"),
            ("X-RateLimit-Remaining-Hour", "9"),
        ];
        assert_eq!(facts(&fields[..2]), Some((15, None, Some(20), Some(60.0))));
        assert_eq!(facts(&fields), Some((9, None, Some(500), Some(3600.0))));
    }

    #[test]
    fn toast_names_the_window_that_is_nearest_to_its_end() {
        let fields = [
            ("X-Toast-RateLimit-By", "GLOBAL"),
            ("X-Toast-RateLimit-Remaining", "3"),
            ("X-Toast-RateLimit-Reset", "1774540769"),
        ];
        assert_eq!(facts(&fields), Some((3, Some(30.0), None, None)));
    }

    #[test]
    fn envoy_follows_an_early_draft_under_its_own_names() {
        let fields = [
            (
                "x-ratelimit-limit",
                "10, 10;w=1;name=\"per-ip\", 1000;w=3600",
            ),
            ("x-ratelimit-remaining", "9"),
            ("x-ratelimit-reset", "1"),
        ];
        assert_eq!(facts(&fields), Some((9, Some(1.0), Some(10), Some(1.0))));
    }

    #[test]
    fn docker_hub_writes_the_window_beside_each_number() {
        let fields = [
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "76;w=21600"),
        ];
        assert_eq!(facts(&fields), Some((76, None, Some(100), Some(21_600.0))));
    }
}

/// What the limits of one response are of.
mod scopes {
    use courteous_hints::QuotaScope;

    use super::*;

    /// Remaining, resource, bucket, policy, partition key.
    type Named = (u64, [Option<String>; 4]);

    fn named(fields: &[(&str, &str)]) -> Vec<Named> {
        let headers = headers(fields);
        let mut named = Vec::new();
        Hints::at(&headers, received()).each_quota(|quota| {
            let scope = quota.scope();
            assert_eq!(scope.is_unnamed(), scope == QuotaScope::default());
            let names = [
                scope.resource(),
                scope.bucket(),
                scope.policy(),
                scope.partition_key(),
            ];
            named.push((quota.remaining(), names.map(|name| name.map(str::to_owned))));
        });
        named
    }

    fn scope(resource: &str, bucket: &str, policy: &str, pk: &str) -> [Option<String>; 4] {
        [resource, bucket, policy, pk].map(|name| Some(name.to_owned()).filter(|n| !n.is_empty()))
    }

    #[test]
    fn githubs_is_a_resource_and_discords_a_bucket() {
        let fields = [
            ("x-ratelimit-remaining", "29"),
            ("x-ratelimit-reset", "1774540769"),
            ("x-ratelimit-resource", "search"),
        ];
        assert_eq!(named(&fields), [(29, scope("search", "", "", ""))]);
        let fields = [
            ("X-RateLimit-Remaining", "0"),
            ("X-RateLimit-Reset-After", "64.57"),
            ("X-RateLimit-Bucket", "abcd1234"),
        ];
        assert_eq!(named(&fields), [(0, scope("", "abcd1234", "", ""))]);
    }

    #[test]
    fn the_drafts_limit_is_of_a_policy_and_a_partition() {
        let fields = [("RateLimit", "\"burst\";r=5;pk=:YQ==:, daily;r=7;t=9")];
        assert_eq!(
            named(&fields),
            [
                (5, scope("", "", "burst", ":YQ==:")),
                (7, scope("", "", "daily", ""))
            ]
        );
        assert_eq!(
            named(&[("RateLimit", "limit=9, remaining=1")]),
            [(1, scope("", "", "", ""))]
        );
    }

    #[test]
    fn gitlab_and_azure_name_a_policy_and_zendesk_a_resource() {
        let fields = [
            ("RateLimit-Remaining", "3"),
            ("RateLimit-Name", "throttle_authenticated_web"),
        ];
        assert_eq!(
            named(&fields),
            [(3, scope("", "", "throttle_authenticated_web", ""))]
        );
        let resource = "Microsoft.Compute/GetVM3Min;197, Microsoft.Compute/GetVM30Min;1297";
        assert_eq!(
            named(&[("x-ms-ratelimit-remaining-resource", resource)]),
            [
                (197, scope("", "", "Microsoft.Compute/GetVM3Min", "")),
                (1297, scope("", "", "Microsoft.Compute/GetVM30Min", ""))
            ]
        );
        let tickets = ("zendesk-ratelimit-tickets-index", "remaining=9; resets=4");
        assert_eq!(named(&[tickets]), [(9, scope("tickets-index", "", "", ""))]);
    }

    #[test]
    fn a_limit_beside_which_nothing_is_named_is_of_everything() {
        let fields = [
            ("x-ratelimit-remaining", "3"),
            ("x-ratelimit-remaining-minute", "4"),
            ("anthropic-ratelimit-requests-remaining", "5"),
            ("x-shopify-shop-api-call-limit", "39/40"),
            ("ratelimit-remaining", "76;w=21600"),
            ("x-other-ratelimit-resource", "none of these"),
        ];
        let named = named(&fields);
        assert_eq!(named.len(), 5);
        for (_, names) in named {
            assert_eq!(names, scope("", "", "", ""));
        }
    }

    #[test]
    fn all_limits_of_one_prefix_have_its_name() {
        let fields = [
            ("x-ratelimit-remaining", "3"),
            ("x-ratelimit-remaining-minute", "4"),
            ("x-ratelimit-bucket", "b"),
            ("x-ratelimit-resource", ""),
        ];
        assert_eq!(
            named(&fields),
            [(3, scope("", "b", "", "")), (4, scope("", "b", "", ""))]
        );
    }
}
