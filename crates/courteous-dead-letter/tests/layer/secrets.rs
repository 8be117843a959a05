use std::{
    fmt,
    sync::{Arc, Mutex},
};

use courteous_dead_letter::{DeadLetterLayer, Letter};
use http::{HeaderName, HeaderValue, Request, header::REFERER};
use proptest::prelude::*;

use crate::support::*;

/// Fails as clients do that show where a request went.
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

/// All that a store could write of a letter, but the body.
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

/// A name that is secret, in some case, some of it percent-encoded.
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

/// Long enough not to be there by chance, and anything that a query value can hold.
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
        // And what is none is still there.
        for pair in plain {
            prop_assert!(letter.uri.query().unwrap().split('&').any(|other| other == pair));
        }
    }
}

/// Header fields that hold credentials, of well-known providers.
const SECRET_HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "authentication",
    "x-authorization",
    "cookie",
    "cookie2",
    "dpop",
    "x-csrf-token",
    "x-xsrf-token",
    "x-wp-nonce",
    "requesttoken",
    "api-key",
    "apikey",
    "x-api-key",
    "x-apikey",
    "x-api-token",
    "x-api-secret",
    "x-access-key",
    "x-secret-key",
    "x-master-key",
    "x-access-token",
    "x-auth-token",
    "x-auth-key",
    "x-user-token",
    "x-session-id",
    "x-session-token",
    "x-client-secret",
    "x-forwarded-access-token",
    "x-subscription-token",
    "x-license-key",
    "x-query-key",
    "x-insert-key",
    "x-consumer-key",
    "x-application-secret",
    "private-token",
    "job-token",
    "deploy-token",
    "x-gitlab-token",
    "circle-token",
    "x-github-otp",
    "x-hub-signature-256",
    "stripe-signature",
    "x-slack-signature",
    "x-twilio-signature",
    "x-shopify-access-token",
    "x-shopify-hmac-sha256",
    "x-shopify-storefront-access-token",
    "x-goog-api-key",
    "x-goog-iap-jwt-assertion",
    "x-goog-iam-authorization-token",
    "x-goog-encryption-key",
    "x-amz-security-token",
    "x-amz-access-token",
    "x-amz-mfa",
    "x-amz-server-side-encryption-customer-key",
    "x-aws-ec2-metadata-token",
    "ocp-apim-subscription-key",
    "x-functions-key",
    "x-ms-authorization-auxiliary",
    "x-ms-token-aad-access-token",
    "x-zumo-auth",
    "x-ms-encryption-key",
    "cf-access-client-secret",
    "cf-access-jwt-assertion",
    "x-auth-user-service-key",
    "fastly-key",
    "dd-api-key",
    "dd-application-key",
    "x-honeycomb-team",
    "x-sentry-auth",
    "x-sf-token",
    "lightstep-access-token",
    "x-vault-token",
    "x-consul-token",
    "x-nomad-token",
    "x-tfe-token",
    "x-jfrog-art-api",
    "x-nuget-apikey",
    "x-octopus-apikey",
    "x-figma-token",
    "xi-api-key",
    "x-rapidapi-key",
    "x-mashape-key",
    "x-postmark-server-token",
    "x-postmark-account-token",
    "x-mbx-apikey",
    "cb-access-key",
    "cb-access-sign",
    "cb-access-passphrase",
    "kc-api-sign",
    "x-bapi-sign",
    "api-sign",
    "x-cmc_pro_api_key",
    "x-algolia-api-key",
    "x-typesense-api-key",
    "x-meili-api-key",
    "x-parse-rest-api-key",
    "x-parse-session-token",
    "x-parse-master-key",
    "x-hasura-admin-secret",
    "x-plex-token",
    "x-emby-token",
    "x-riot-token",
    "x-ebay-api-iaf-token",
    "wm_sec.access_token",
    "wm_sec.auth_signature",
    "paypal-auth-assertion",
    "x-bc-auth-token",
    "x-tableau-auth",
    "x-sfdc-session",
    "x-ibm-client-secret",
    "x-acs-dingtalk-access-token",
    "x-lc-sign",
    "x-line-signature",
    "svix-signature",
    "upstash-signature",
    "x-opentok-auth",
    "x-redmine-api-key",
    "x-bz-api-key",
    "x-toggl-token",
    "x-trackertoken",
    "x-lokalise-token",
    "x-phrase-api-token",
    "x-rollbar-access-token",
    "x-airbrake-token",
    "x-ssl-client-key",
    "tt-session",
];

/// Query parameters that hold credentials, of well-known providers.
const SECRET_QUERIES: &[&str] = &[
    "backendtoken",
    "frontendtoken",
    "sendtoken",
    "profilekey",
    "borderkey",
    "researchkey",
    "token",
    "access_token",
    "accessToken",
    "refresh_token",
    "id_token",
    "id_token_hint",
    "api_key",
    "apikey",
    "apiKey",
    "api-key",
    "api_token",
    "key",
    "sig",
    "sign",
    "signature",
    "hmac",
    "password",
    "passwd",
    "pwd",
    "pass",
    "passphrase",
    "secret",
    "client_secret",
    "clientSecret",
    "app_secret",
    "appid_secret",
    "appsecret_proof_secret",
    "consumer_key",
    "consumer_secret",
    "oauth_token",
    "oauth_signature",
    "oauth_consumer_key",
    "oauth_verifier",
    "code",
    "code_verifier",
    "client_assertion",
    "assertion",
    "SAMLResponse",
    "jwt",
    "auth",
    "auth_token",
    "authToken",
    "authtoken",
    "authenticity_token",
    "bearer_token",
    "private_token",
    "job_token",
    "personal_access_token",
    "session",
    "session_id",
    "sessionid",
    "sessionToken",
    "PHPSESSID",
    "JSESSIONID",
    "sid",
    "connect.sid",
    "ticket",
    "jsapi_ticket",
    "csrf_token",
    "csrfmiddlewaretoken",
    "_wpnonce",
    "otp",
    "totp",
    "mfa_code",
    "verification_code",
    "pin",
    "user_pin",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Amz-Credential",
    "AWSAccessKeyId",
    "AWSSecretKey",
    "Signature",
    "X-Goog-Signature",
    "X-Goog-Credential",
    "X-Goog-Credential-Token",
    "GoogleAccessKeyId",
    "OSSAccessKeyId",
    "Key-Pair-Key",
    "sas_token",
    "subscription-key",
    "x-functions-key",
    "hapikey",
    "appid",
    "appkey",
    "app_key",
    "wskey",
    "wstoken",
    "xrfkey",
    "api_sig",
    "ws_key",
    "devkey",
    "user_key",
    "stream_key",
    "license_key",
    "accesskey",
    "access_key",
    "accessKey",
    "secretkey",
    "hub.verify_token",
    "hub.secret",
    "sentry_key",
    "mapbox_access_token",
    "dd-api-key",
    "steamKey",
    "webhook_secret",
    "cvv",
    "user[password]",
    "auth[token]",
    "signed_request",
    "connection_string",
    "seed_phrase",
];

/// Names of header fields and query parameters that read like secrets, and are none; and some that do not.
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

/// Whether the bytes of a secret are in the files of a store, in what is shown of its records, or in what is read back.
#[cfg(feature = "sqlite")]
async fn leaks(request: Request<Body>, adjust: Adjust, secret: &str) -> bool {
    use courteous_dead_letter::{Filter, Page, SqliteStore, Store};

    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("letters.db")).unwrap();
    let layer = adjust(DeadLetterLayer::new(store.clone()));
    let server = async |_| Err(Talkative("down".to_owned()));
    call(&layer, request, server).await.unwrap_err();
    let records = store.list(Filter::new(), Page::first(10)).await.unwrap();
    assert_eq!(records.len(), 1);
    let shown = format!("{records:?} {}", written(&records[0].letter));
    let mut files = std::fs::read_dir(directory.path()).unwrap();
    let is_in = |bytes: &[u8]| {
        bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    };
    shown.contains(secret) || files.any(|file| is_in(&std::fs::read(file.unwrap().path()).unwrap()))
}

#[cfg(feature = "sqlite")]
const SESAME: &str = "s3same-0123456789abcdef";

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn no_byte_of_a_well_known_credential_is_in_the_file_of_a_store() {
    let post = |uri: &str| Request::post(uri).body(Body::default()).unwrap();
    let innocent = post(&format!("/?note={SESAME}"));
    assert!(leaks(innocent, as_it_is, SESAME).await, "it is looked for");
    // All in one request, and then one after the other if there is a leak, to name it.
    let mut all = post("/");
    for name in SECRET_HEADERS {
        all.headers_mut()
            .insert(*name, HeaderValue::from_static(SESAME));
    }
    let query: Vec<_> = SECRET_QUERIES
        .iter()
        .map(|name| format!("{name}={SESAME}"))
        .collect();
    *all.uri_mut() = format!("/?x=1&{}", query.join("&")).parse().unwrap();
    if !leaks(all, as_it_is, SESAME).await {
        return;
    }
    let mut leaked = Vec::new();
    for name in SECRET_HEADERS {
        let mut request = post("/");
        request
            .headers_mut()
            .insert(*name, HeaderValue::from_static(SESAME));
        if leaks(request, as_it_is, SESAME).await {
            leaked.push(*name);
        }
    }
    for name in SECRET_QUERIES {
        if leaks(post(&format!("/?a=1&{name}={SESAME}")), as_it_is, SESAME).await {
            leaked.push(*name);
        }
    }
    panic!("written as they are: {leaked:?}");
}

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
fn each_table_of_names_is_long_enough() {
    assert!(SECRET_HEADERS.len() >= 48 && SECRET_QUERIES.len() >= 48 && INNOCENT.len() >= 40);
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

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_scrubbed_body_has_no_secret_in_the_file_and_a_body_that_is_not_looked_into_has() {
    use courteous_dead_letter::BodyScrubber;

    let scrubbed: Adjust = |layer| layer.with_body_scrubber(BodyScrubber::new());
    for (adjust, content_type, leaked) in [
        (scrubbed, "application/json", false),
        (scrubbed, "application/x-www-form-urlencoded", false),
        (scrubbed, "multipart/form-data; boundary=x", true),
        (as_it_is as Adjust, "application/json", true),
    ] {
        let body = match content_type {
            "application/json" => format!(r#"{{"user":"me","password":"{SESAME}"}}"#),
            _ => format!("user=me&password={SESAME}"),
        };
        let request = Request::post("/").header("content-type", content_type);
        let request = request.body(Body::from(body)).unwrap();
        assert_eq!(
            leaks(request, adjust, SESAME).await,
            leaked,
            "{content_type}"
        );
    }
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
    // It holds a secret of the same request.
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
