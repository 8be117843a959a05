use bytes::Bytes;
use http::{HeaderMap, HeaderName, header::CONTENT_TYPE};
use serde_json::Value;

use super::{
    query::{decode, rewrite},
    scrub::Scrubber,
    secret_names::SecretNames,
    secret_values::is_credential,
};
use crate::Payload;

/// The word that replaces a withheld value.
const PLACEHOLDER: &str = "withheld";

/// Removes secrets from the bodies of forms and of JSON before they are written, by the names of
/// their fields.
///
/// A field is secret if the words in its name say so, as for a header field, or if its value has
/// the form of a credential; in JSON at any depth. The word `withheld` is written in its place.
///
/// **A scrubbed body is for reading only**: its letter is [`Payload::Scrubbed`], and no redrive
/// sends it. A body without a secret is kept as it was, and is sent.
///
/// | body, by its `content-type` | what is written |
/// |---|---|
/// | `application/x-www-form-urlencoded` | its fields, without the secret values |
/// | `application/json`, and all that end with `+json` | the same value in another text: names sorted, without spaces between them |
/// | a form or JSON that cannot be read, as it is compressed or broken | nothing: [`Payload::Gone`] |
/// | JSON in which an object has a name twice | nothing: a reader may take either value |
/// | any whose `content-type` is withheld | nothing: its type is unknown |
/// | a form or JSON that was too long to be kept | nothing of it: [`Payload::Truncated`], empty |
/// | any other type, including `multipart/form-data`, or none | the body **as it is** |
///
/// ```
/// use courteous_dead_letter::{BodyScrubber, DeadLetterLayer, MemoryStore};
///
/// let scrubber = BodyScrubber::new()
///     .with_secret_field("card_number")
///     .with_plain_field("routing_key");
/// let layer = DeadLetterLayer::new(MemoryStore::new()).with_body_scrubber(scrubber);
/// # let _ = layer;
/// ```
#[derive(Clone, Debug, Default)]
pub struct BodyScrubber {
    names: SecretNames,
}

/// The format of a body.
enum Form {
    Fields,
    Json,
    /// Its `content-type` was withheld.
    Unknown,
}

impl BodyScrubber {
    /// Removes the fields whose names contain the words of secrets.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            names: SecretNames::new(),
        }
    }

    /// Also removes this field, in any case.
    #[must_use]
    pub fn with_secret_field(mut self, name: &str) -> Self {
        self.names.add_secret(name);
        self
    }

    /// Keeps this field, whatever the words in its name or the form of its value.
    #[must_use]
    pub fn with_plain_field(mut self, name: &str) -> Self {
        self.names.add_plain(name);
        self
    }

    /// The part of a body to write, if its request has these header fields without the `withheld`
    /// ones.
    pub(crate) fn scrub(
        &self,
        headers: &HeaderMap,
        withheld: &[HeaderName],
        payload: Payload,
    ) -> Payload {
        let form = match withheld.contains(&CONTENT_TYPE) {
            true => Form::Unknown,
            false => match form(headers) {
                Some(form) => form,
                None => return payload,
            },
        };
        match payload {
            Payload::Whole(body) if body.is_empty() => Payload::Whole(body),
            Payload::Whole(body) => {
                let scrubbed = match form {
                    Form::Fields => self.fields(&body),
                    Form::Json => self.json(&body),
                    Form::Unknown => Err(Unreadable),
                };
                match scrubbed {
                    Ok(Some(scrubbed)) => Payload::Scrubbed(scrubbed.into()),
                    Ok(None) => Payload::Whole(body),
                    Err(Unreadable) => Payload::Gone,
                }
            }
            // Half of a field may be a whole secret.
            Payload::Truncated(_) => Payload::Truncated(Bytes::new()),
            other => other,
        }
    }

    /// The fields of a form without secrets; `None` if it has no secrets.
    fn fields(&self, body: &[u8]) -> Result<Option<String>, Unreadable> {
        let body = str::from_utf8(body).map_err(|_| Unreadable)?;
        let mut is_scrubbed = false;
        let scrubbed = rewrite(body, |name, value| {
            let text = decode(&value.replace('+', " "));
            let is_secret = !value.is_empty() && self.is_secret(name, &text);
            is_scrubbed |= is_secret;
            is_secret.then(|| PLACEHOLDER.to_owned())
        });
        Ok(is_scrubbed.then_some(scrubbed))
    }

    /// JSON without secrets; `None` if it has no secrets.
    fn json(&self, body: &[u8]) -> Result<Option<String>, Unreadable> {
        let mut json = serde_json::from_slice(body).map_err(|_| Unreadable)?;
        // If two members had the same name, only the last one was read.
        if members(&json) != colons(body) {
            return Err(Unreadable);
        }
        let is_scrubbed = self.value("", &mut json);
        Ok(is_scrubbed.then(|| json.to_string()))
    }

    /// Replaces the secrets in `value`, the value of the field `name`. Returns whether there was
    /// one. Arrays pass their name on.
    fn value(&self, name: &str, value: &mut Value) -> bool {
        let is_secret = match value {
            Value::Null | Value::Bool(_) => false,
            Value::String(text) => !text.is_empty() && self.is_secret(name, text),
            _ => self.names.is_secret(name),
        };
        if is_secret {
            *value = PLACEHOLDER.into();
            return true;
        }
        // Every member is checked, not only those before the first secret.
        let any =
            |scrubbed: bool, (name, value): (&str, &mut Value)| self.value(name, value) | scrubbed;
        match value {
            Value::Array(items) => items.iter_mut().map(|item| (name, item)).fold(false, any),
            Value::Object(fields) => {
                let fields = fields.iter_mut();
                fields
                    .map(|(name, value)| (name.as_str(), value))
                    .fold(false, any)
            }
            _ => false,
        }
    }

    fn is_secret(&self, name: &str, value: &str) -> bool {
        if self.names.is_plain(name) {
            return false;
        }
        let has_secret_url = || {
            let scrubber = Scrubber::new(self.names.clone());
            value.contains("://") && scrubber.scrub(value) != value
        };
        self.names.is_secret(name) || is_credential(value) || has_secret_url()
    }
}

/// A body that is not what its header fields say.
struct Unreadable;

/// How many members the objects in `json` have, at any depth.
fn members(json: &Value) -> usize {
    match json {
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Object(fields) => fields.len() + fields.values().map(members).sum::<usize>(),
        _ => 0,
    }
}

/// How many colons of a JSON text are outside strings: one for each member of an object.
fn colons(json: &[u8]) -> usize {
    let (mut colons, mut is_in_string, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_in_string = !is_in_string,
            b':' if !is_in_string => colons += 1,
            _ => {}
        }
    }
    colons
}

/// What the header fields say of the body, if it is a kind that is scrubbed.
fn form(headers: &HeaderMap) -> Option<Form> {
    headers.get_all(CONTENT_TYPE).iter().find_map(|value| {
        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        match value.split(';').next().map_or("", str::trim) {
            "application/x-www-form-urlencoded" => Some(Form::Fields),
            "application/json" | "text/json" => Some(Form::Json),
            other => other.ends_with("+json").then_some(Form::Json),
        }
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn scrub(content_type: &'static str, body: &'static str) -> Payload {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let scrubber = BodyScrubber::new()
            .with_secret_field("Card")
            .with_plain_field("routing_key");
        scrubber.scrub(&headers, &[], Payload::Whole(body.into()))
    }

    fn scrubbed(body: &'static str) -> Payload {
        Payload::Scrubbed(body.into())
    }

    #[test]
    fn the_secret_fields_of_a_form_are_left_out() {
        const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
        let body = "amount=42&client_secret=a%20b&card=4242&routing_key=r&password=&note=Bearer+abc&c%6Fde=x";
        let expected = "amount=42&client_secret=withheld&card=withheld&routing_key=r&password=&note=withheld&c%6Fde=withheld";
        assert_eq!(scrub(FORM, body), scrubbed(expected));
        let plain = "amount=42&primary_key=7&";
        assert_eq!(scrub(FORM, plain), Payload::Whole(plain.into()));
    }

    #[test]
    fn the_secret_fields_of_json_are_left_out_at_any_depth() {
        let body = r#"{"amount": 42, "auth": {"user": "me"}, "list": [{"apiKey": "k", "n": 1.50}, "ghp_0123456789abcdefghij"],
            "pin": 1234, "tokens": ["a"], "access_tokens": ["a", "b"], "hook": "https://me:pw@b.example/", "card": null,
            "password": "", "session": true, "routing_key": "r"}"#;
        let expected = concat!(
            r#"{"access_tokens":"withheld","amount":42,"auth":"withheld","card":null,"hook":"withheld","#,
            r#""list":[{"apiKey":"withheld","n":1.5},"withheld"],"password":"","pin":"withheld","routing_key":"r","#,
            r#""session":true,"tokens":["a"]}"#
        );
        assert_eq!(scrub("application/json", body), scrubbed(expected));
        let plain = r#"{ "amount": 42 }"#;
        assert_eq!(
            scrub("application/vnd.api+json", plain),
            Payload::Whole(plain.into())
        );
    }

    #[test]
    fn a_body_that_cannot_be_read_is_not_written() {
        for body in [
            "{\"password\": \"a\"",
            "\u{1f}\u{8b}",
            "{} {}",
            r#"{"password":"hunter2","password":""}"#,
            r#"{"password":"","p\u0061ssword":"hunter2"}"#,
            r#"[{"note":"a:\"b","list":[{"n":{"token":"t"},"n":1}]}]"#,
            r#"{"n":1,"n":1}"#,
        ] {
            assert_eq!(scrub("application/json", body), Payload::Gone);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let cut = Payload::Truncated("{\"password\": \"hunter".into());
        let nothing = Payload::Truncated(Bytes::new());
        assert_eq!(BodyScrubber::new().scrub(&headers, &[], cut), nothing);
        let empty = Payload::Whole(Bytes::new());
        assert_eq!(
            BodyScrubber::new().scrub(&headers, &[], empty.clone()),
            empty
        );
    }

    #[test]
    fn a_name_that_two_objects_have_is_not_one_that_an_object_has_twice() {
        let plain = r#"{"n\":":"a: \\","list":[{"n":"{:}"},{"n":{"n":":\"n\":"}}]}"#;
        assert_eq!(
            scrub("application/json", plain),
            Payload::Whole(plain.into())
        );
    }

    #[test]
    fn a_body_whose_content_type_is_withheld_is_not_written() {
        let scrub =
            |payload| BodyScrubber::new().scrub(&HeaderMap::new(), &[CONTENT_TYPE], payload);
        assert_eq!(scrub(Payload::Whole("plain".into())), Payload::Gone);
        let cut = Payload::Truncated("plain".into());
        assert_eq!(scrub(cut), Payload::Truncated(Bytes::new()));
    }

    #[test]
    fn a_body_of_another_type_is_written_as_it_is() {
        let body = "{\"password\": \"a\"}";
        for other in [
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/x-ndjson",
        ] {
            assert_eq!(scrub(other, body), Payload::Whole(body.into()));
        }
    }
}
