//! Bodies that are encrypted before they are written to the file.

use std::time::Duration;

use bytes::Bytes;
use courteous_dead_letter::{
    Encrypted, EncryptionKey, LetterStore, Payload, Reason, Sink, conformance,
};
use http::Method;

use crate::store;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_body_is_read_again_from_a_file_whatever_the_spelling_of_its_target() {
    let (store, _folder) = store();
    let encrypted = Encrypted::new(store, EncryptionKey::new([1; 32]));
    let clock = conformance::clock();
    for uri in [
        "HTTPS://API.test",
        "http://api.test?of=7",
        "http://127.1:80/%7e//a/../b?&=",
        "http://[::1]:8080/",
        "/charges",
        "*",
        "api.test:443",
    ] {
        for method in [Method::POST, Method::from_bytes(b"charge!").unwrap()] {
            let mut letter = conformance::letter(&clock, HOUR, Reason::Attempts);
            letter.payload = Payload::Whole(Bytes::from_static(b"amount=100"));
            (letter.method, letter.uri) = (method, uri.parse().unwrap());
            let (id, whole) = (letter.id, letter.payload.clone());
            encrypted.push(letter).await.unwrap();
            let read = encrypted.get(id).await.unwrap().unwrap();
            assert_eq!(read.letter.payload, whole, "{uri}");
        }
    }
}
