//! The files of a store hold no credential of a call, but hold its body as it is.

use std::io;

use bytes::Bytes;
use courteous_dead_letter::{BodyScrubber, DeadLetterLayer, Filter, LetterStore, Page};
use courteous_dead_letter_sqlite::SqliteStore;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

type Body = Full<Bytes>;
type Adjust = fn(DeadLetterLayer) -> DeadLetterLayer;

fn as_it_is(layer: DeadLetterLayer) -> DeadLetterLayer {
    layer
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

/// Whether the bytes of a secret are in the files of a store, in the `Debug` text of its records,
/// or in the records that are read back.
async fn leaks(request: Request<Body>, adjust: Adjust, secret: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("letters.db")).unwrap();
    let layer = adjust(DeadLetterLayer::new(store.clone()));
    let server = async |_| Err::<Response<Body>, _>(io::Error::other("down"));
    layer
        .layer(service_fn(server))
        .oneshot(request)
        .await
        .unwrap_err();
    let records = store.list(Filter::new(), Page::first(10)).await.unwrap();
    assert_eq!(records.len(), 1);
    let letter = &records[0].letter;
    let shown = format!("{records:?} {:?} {}", letter.headers, letter.uri);
    let mut files = std::fs::read_dir(directory.path()).unwrap();
    let is_in = |bytes: &[u8]| {
        bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes())
    };
    shown.contains(secret) || files.any(|file| is_in(&std::fs::read(file.unwrap().path()).unwrap()))
}

const SESAME: &str = "s3same-0123456789abcdef";

#[tokio::test]
async fn no_byte_of_a_well_known_credential_is_in_the_file_of_a_store() {
    let post = |uri: &str| Request::post(uri).body(Body::default()).unwrap();
    let innocent = post(&format!("/?note={SESAME}"));
    assert!(leaks(innocent, as_it_is, SESAME).await, "it is looked for");
    // All secrets go in one request. If there is a leak, they go one after the other, to name it.
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
async fn a_scrubbed_body_has_no_secret_in_the_file_and_a_body_that_is_not_looked_into_has() {
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

#[test]
fn each_table_of_names_is_long_enough() {
    assert!(SECRET_HEADERS.len() >= 48 && SECRET_QUERIES.len() >= 48);
}
