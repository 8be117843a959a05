use std::{
    fmt,
    sync::{Arc, Mutex},
};

use courteous_dead_letter::{DeadLetterLayer, Letter};
use http::{HeaderName, HeaderValue, Request, header::REFERER};
use proptest::prelude::*;

use crate::support::*;

/// An error like that of clients that show where a request went.
#[derive(Debug)]
struct Talkative(String);

impl fmt::Display for Talkative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Talkative {}

/// What a sink gets of a call that fails with the error `text`, and what the hook sees of it.
async fn recorded(request: Request<Body>, text: &str, adjust: Adjust) -> (Letter, String) {
    let sink = Scripted::default();
    let shown = Arc::new(Mutex::new(String::new()));
    let hook = shown.clone();
    let layer = adjust(DeadLetterLayer::new(sink.clone()))
        .with_on_letter(move |event| *hook.lock().unwrap() = format!("{event:?}"));
    let server = async |_| Err(Talkative(text.to_owned()));
    call(&layer, request, server).await.unwrap_err();
    let letter = sink.letters.lock().unwrap().remove(0);
    (letter, shown.lock().unwrap().clone())
}

type Adjust = fn(DeadLetterLayer) -> DeadLetterLayer;

fn as_it_is(layer: DeadLetterLayer) -> DeadLetterLayer {
    layer
}

/// Everything that a store could write of a letter, except the body.
fn written(letter: &Letter) -> String {
    let fields = letter.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("{name}: {value}\n")
    });
    let fields: String = fields.collect();
    let withheld = &letter.withheld;
    let error = letter.failure.last_error.as_deref().unwrap_or_default();
    format!("{}\n{fields}{withheld}\n{error}\n{letter:?}", letter.uri)
}

#[tokio::test]
async fn no_secret_of_a_request_is_written_and_each_is_named() {
    let uri = "https://alice:hunter2@api.example.com/charges?order=42&Access%5FToken=SESAME-1&sig=SESAME-2";
    let mut request = Request::post(uri).body(Body::default()).unwrap();
    let headers = request.headers_mut();
    for (name, value) in [
        ("authorization", "Bearer SESAME-3"),
        ("proxy-authorization", "Basic SESAME-4"),
        ("cookie", "session=SESAME-5; lang=en"),
        ("x-api-key", "SESAME-6"),
        ("x-custom", "SESAME-7"),
        ("accept-language", "en"),
        ("idempotency-key", "8e03978e"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let mut marked = HeaderValue::from_static("SESAME-8");
    marked.set_sensitive(true);
    headers.insert("x-marked", marked);
    headers.insert(
        REFERER,
        HeaderValue::from_static("https://b.example/?password=SESAME-9"),
    );
    let text = format!("error sending request for url ({uri}): SESAME-3 SESAME-5 hunter2 refused");
    let adjust =
        |layer: DeadLetterLayer| layer.with_secret_header(HeaderName::from_static("x-custom"));
    let (letter, shown) = recorded(request, &text, adjust).await;
    for text in [written(&letter), shown] {
        assert!(!text.contains("SESAME") && !text.contains("hunter2") && !text.contains("alice"));
    }
    assert_eq!(
        letter.uri,
        "https://api.example.com/charges?order=42&Access%5FToken=withheld&sig=withheld"
    );
    let mut names: Vec<_> = letter
        .withheld
        .headers
        .iter()
        .map(HeaderName::as_str)
        .collect();
    names.sort_unstable();
    let expected = [
        "authorization",
        "cookie",
        "proxy-authorization",
        "referer",
        "x-api-key",
        "x-custom",
        "x-marked",
    ];
    assert_eq!(names, expected);
    assert_eq!(letter.withheld.query, ["access_token", "sig"]);
    assert!(letter.withheld.userinfo);
    assert_eq!(letter.key().unwrap(), "8e03978e");
    assert_eq!(letter.headers["accept-language"], "en");
    let error = letter.failure.last_error.unwrap();
    assert!(
        error.starts_with("error sending request for url (https://[withheld]@api.example.com/")
    );
    assert!(
        error.ends_with("[withheld] [withheld] [withheld] refused"),
        "{error}"
    );
}

#[tokio::test]
async fn query_names_of_ones_own_are_withheld_too() {
    let uri = "/?Card=4242&x=1";
    let request = Request::post(uri).body(Body::default()).unwrap();
    let adjust = |layer: DeadLetterLayer| layer.with_secret_query("CARD");
    let (letter, _) = recorded(request, "at /?card=4242", adjust).await;
    assert_eq!(letter.uri, "/?Card=withheld&x=1");
    assert_eq!(letter.failure.last_error.unwrap(), "at /?card=[withheld]");
}

/// A secret name, in some case, partly percent-encoded.
fn secret_name() -> impl Strategy<Value = String> {
    let names = [
        "token",
        "access_token",
        "api_key",
        "key",
        "sig",
        "signature",
        "password",
        "private_token",
        "sessionid",
    ];
    let ways = prop::collection::vec(0..3_u8, 16);
    (prop::sample::select(names.to_vec()), ways).prop_map(|(name, ways)| {
        let written = name.chars().zip(ways).map(|(char, way)| match way {
            0 => char.to_string(),
            1 => char.to_ascii_uppercase().to_string(),
            _ => format!("%{:02x}", char as u8),
        });
        written.collect()
    })
}

/// Long enough not to be there by chance, and with any character that a query value can hold.
fn secret_value() -> impl Strategy<Value = String> {
    "[A-Za-z0-9!$'()*+,:@/?._~-]{0,4}[G-Zg-z]{8,12}(%[2-7][0-9A-F]|[;=])?[A-Za-z0-9]{0,4}"
}

/// How an error may show a secret.
fn mention() -> impl Strategy<Value = fn(&str) -> String> {
    prop::sample::select(vec![
        (|secret| secret.to_owned()) as fn(&str) -> String,
        |secret| format!("<{secret}>"),
        |secret| format!("{secret:?}"),
        |secret| format!("xx{secret}xx"),
        |secret| format!("https://x:{secret}@h/?a=1&TOKEN={secret}"),
        |secret| format!("Sig={secret}"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_secret_byte_string_ever_reaches_a_sink(
        names in prop::collection::vec(secret_name(), 1..4),
        values in prop::collection::vec(secret_value(), 4),
        plain in prop::collection::vec("[a-f]{1,5}=[a-f0-9]{0,5}", 0..4),
        headers in prop::collection::vec("[G-Zg-z]{8,20}", 3),
        user in "[g-z]{8}:[G-Z]{8}",
        mentions in prop::collection::vec((0..20_usize, mention()), 0..6),
    ) {
        let mut pairs: Vec<_> = plain.clone();
        let secret = names.iter().zip(&values).map(|(name, value)| format!("{name}={value}"));
        pairs.extend(secret);
        let rotate = pairs.len() / 2;
        pairs.rotate_left(rotate);
        let uri = format!("https://{user}@h.example/path?{}", pairs.join("&"));
        let mut request = Request::post(&uri).body(Body::default()).unwrap();
        let value = |text: String| HeaderValue::try_from(text).unwrap();
        request.headers_mut().insert("authorization", value(format!("Bearer {}", headers[0])));
        request.headers_mut().insert("cookie", value(format!("a={}; b=1", headers[1])));
        let mut marked = value(headers[2].clone());
        marked.set_sensitive(true);
        request.headers_mut().insert("x-any", marked);
        request.headers_mut().insert("x-copy", value(format!("{uri} {}", headers[1])));

        let mut secrets: Vec<String> = headers;
        secrets.extend(values.into_iter().take(names.len()));
        secrets.extend(user.split(':').map(str::to_owned));
        let said = mentions.iter().map(|(which, how)| how(&secrets[which % secrets.len()]));
        let text: Vec<_> = said.chain([uri.clone()]).collect();

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (letter, shown) = runtime.block_on(recorded(request, &text.join(" "), as_it_is));
        let written = written(&letter) + &shown;
        for secret in &secrets {
            prop_assert!(!written.contains(secret.as_str()), "{secret:?} in {written}");
        }
        // Values that are not secret are still there.
        for pair in plain {
            prop_assert!(letter.uri.query().unwrap().split('&').any(|other| other == pair));
        }
    }
}

/// Names of header fields and query parameters that look like secrets and are not; and some that do
/// not look like secrets.
const INNOCENT: &[&str] = &[
    "accept",
    "content-type",
    "content-digest",
    "user-agent",
    "referer",
    "origin",
    "if-match",
    "etag",
    "range",
    "x-request-id",
    "x-correlation-id",
    "x-idempotency-key",
    "idempotency-key",
    "traceparent",
    "baggage",
    "x-amzn-trace-id",
    "x-forwarded-for",
    "x-b3-spanid",
    "stripe-account",
    "stripe-version",
    "openai-organization",
    "anthropic-version",
    "notion-version",
    "x-github-api-version",
    "x-goog-user-project",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-target",
    "x-amz-signedheaders",
    "x-amz-expires",
    "x-amz-algorithm",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-ms-version",
    "x-ms-continuation",
    "x-ms-client-request-id",
    "x-auth-email",
    "x-auth-type",
    "x-client-id",
    "x-tenant-id",
    "sec-websocket-key",
    "surrogate-key",
    "x-cache-key",
    "signature-input",
    "max_tokens",
    "maxTokens",
    "max_completion_tokens",
    "tokens",
    "token_count",
    "tokenCount",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "anthropic-ratelimit-tokens-reset",
    "tokenizer",
    "token_type",
    "tokenType",
    "page_token",
    "pageToken",
    "nextPageToken",
    "next_token",
    "NextToken",
    "continuation-token",
    "continuationToken",
    "sync_token",
    "syncToken",
    "$skiptoken",
    "ClientRequestToken",
    "keyword",
    "keywords",
    "keys",
    "primary_key",
    "primaryKey",
    "foreign-key",
    "partition-key",
    "partitionKey",
    "PartitionKey",
    "RowKey",
    "sort_key",
    "cache_key",
    "object-key",
    "lookup_key",
    "public_key",
    "publishable_key",
    "key_id",
    "keyId",
    "key-type",
    "monkey",
    "author",
    "authors",
    "authority",
    "co_author",
    "oauth_version",
    "oauth_timestamp",
    "oauth_signature_method",
    "SignatureMethod",
    "session_timeout",
    "cookie_consent",
    "country_code",
    "currency_code",
    "zip_code",
    "promo_code",
    "status_code",
    "error_code",
    "passenger",
    "passage",
    "compass",
    "bypass",
    "pinned",
    "pin_code",
    "pincode",
    "signal",
    "signup",
    "design",
    "assign",
    "sign_in_count",
    "zodiac_sign",
    "boarding_pass",
    "account_sid",
    "MessageSid",
    "support_ticket",
    "ticket_id",
    "secretary",
    "state",
    "nonce",
    "grant_type",
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "code_challenge",
    "digest",
    "checksum",
    "version",
    "account",
];

#[tokio::test]
async fn a_header_field_and_a_query_value_of_an_innocent_name_are_kept() {
    let mut withheld = Vec::new();
    for name in INNOCENT {
        let query = format!("/?{name}=innocent");
        let mut request = Request::post(query).body(Body::default()).unwrap();
        if let Ok(name) = HeaderName::try_from(*name) {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static("innocent"));
        }
        let (letter, _) = recorded(request, "down", as_it_is).await;
        if !letter.withheld.is_empty() {
            withheld.push(*name);
        }
    }
    assert!(withheld.is_empty(), "{withheld:?}");
}

#[test]
fn the_table_of_innocent_names_is_long_enough() {
    assert!(INNOCENT.len() >= 40);
}

#[tokio::test]
async fn a_credential_under_an_innocent_name_is_withheld_by_its_form() {
    for value in [
        "Bearer s3same",
        "Basic bWU6czNzYW1l",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzM3NhbWUifQ.czNzYW1lLXNpZw",
        "ghp_s3same0123456789abcdef",
        "sk_live_s3same0123456789",
        "xoxb-s3same-0123456789",
        "AKIAS3SAME0123456789",
        "https://me:s3same@b.example/",
        "https://b.example/#access_token=s3same",
        "see https://b.example/?next=1&X-Amz-Signature=s3same",
    ] {
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let uri = format!("https://a.example/?note={encoded}&x=1");
        let mut request = Request::post(uri).body(Body::default()).unwrap();
        request
            .headers_mut()
            .insert("x-note", HeaderValue::from_static(value));
        let said = format!("got {value}");
        let (letter, shown) = recorded(request, &said, as_it_is).await;
        assert_eq!(
            letter.uri, "https://a.example/?note=withheld&x=1",
            "{value}"
        );
        assert_eq!(letter.withheld.headers, ["x-note"], "{value}");
        for text in [written(&letter), shown] {
            assert!(!text.to_lowercase().contains("s3same"), "{value}: {text}");
        }
    }
}

#[tokio::test]
async fn a_tag_that_is_a_secret_is_withheld() {
    use courteous_dead_letter::Tags;

    let tags = Tags::new()
        .with("order", "42")
        .with("session_id", "SESAME-1")
        .with("note", "sent with SESAME-2")
        .with("from", "https://b.example/?key=SESAME-3")
        .with("by", "Bearer SESAME-4");
    let request = Request::post("/").header("x-api-key", "SESAME-2");
    let request = request.extension(tags).body(Body::default()).unwrap();
    let (letter, shown) = recorded(request, "down", as_it_is).await;
    assert_eq!(letter.tags.get("order"), Some("42"));
    assert!(!(written(&letter) + &shown).contains("SESAME"));
}

#[tokio::test]
async fn the_caller_says_what_is_no_secret_but_a_mark_counts_more() {
    let adjust = |layer: DeadLetterLayer| {
        layer
            .with_plain_header(HeaderName::from_static("x-session-affinity"))
            .with_plain_header(HeaderName::from_static("x-trace-jwt"))
            .with_plain_header(HeaderName::from_static("x-copy"))
            .with_plain_header(HeaderName::from_static("x-marked-key"))
            .with_plain_query("Appid")
            .with_secret_query("card")
    };
    let uri = "/?appid=wx1&card=SESAME-1&session=SESAME-2";
    let mut request = Request::post(uri).body(Body::default()).unwrap();
    let headers = request.headers_mut();
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl";
    headers.insert("x-session-affinity", HeaderValue::from_static("eu-1"));
    headers.insert("x-trace-jwt", HeaderValue::from_static(jwt));
    headers.insert("x-copy", HeaderValue::from_static("holds SESAME-2"));
    let mut marked = HeaderValue::from_static("SESAME-3");
    marked.set_sensitive(true);
    headers.insert("x-marked-key", marked);
    let (letter, shown) = recorded(request, "down", adjust).await;
    assert!(!(written(&letter) + &shown).contains("SESAME"));
    assert_eq!(letter.uri, "/?appid=wx1&card=withheld&session=withheld");
    assert_eq!(letter.headers["x-session-affinity"], "eu-1");
    assert_eq!(letter.headers["x-trace-jwt"], jwt);
    assert_eq!(letter.headers.len(), 2);
}

#[tokio::test]
async fn a_body_whose_content_type_is_withheld_is_not_written() {
    use courteous_dead_letter::{BodyScrubber, Payload};

    let scrubbed: Adjust = |layer| layer.with_body_scrubber(BodyScrubber::new());
    let named: Adjust = |layer| {
        let layer = layer.with_secret_header(HeaderName::from_static("content-type"));
        layer.with_body_scrubber(BodyScrubber::new())
    };
    let body = r#"{"password":"s3same"}"#;
    let mut marked = HeaderValue::from_static("application/json");
    marked.set_sensitive(true);
    let plain = HeaderValue::from_static("application/json");
    // The value holds a secret of the same request.
    let holds = HeaderValue::from_static("application/json; note=SESAME-1");
    for (adjust, content_type) in [(scrubbed, marked), (named, plain), (scrubbed, holds)] {
        let request = Request::post("/")
            .header("x-api-key", "SESAME-1")
            .header("content-type", content_type);
        let request = request.body(Body::from(body)).unwrap();
        let (letter, _) = recorded(request, "down", adjust).await;
        assert!(
            letter
                .withheld
                .headers
                .contains(&http::header::CONTENT_TYPE)
        );
        assert_eq!(letter.payload, Payload::Gone);
    }
}
