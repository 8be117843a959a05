use std::{error::Error, fmt, iter, str::FromStr, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce, aead, aead::Aead};
use courteous_core::random_bytes;

use crate::{
    BoxFuture, Claim, Claimed, Filter, Letter, LetterId, LetterStore, Mark, Page, Payload,
    PushError, Record, Settlement, Sink, Stats, StoreError, Unreadable,
};

/// A store whose bodies are encrypted. It wraps any [`Sink`] and any [`LetterStore`].
///
/// A body is encrypted by XChaCha20-Poly1305, with a nonce of 192 bits from the operating system.
/// It is bound to the id, the method and the target of its letter, so that it cannot be sent as
/// another letter's body. A body from before it was bound to all three is bound to its id alone,
/// and can still be read. Everything else is written as it is: the target, the header fields, the
/// texts of errors, the tags. The length of a body can be seen.
///
/// A body that was written without a key is read as it is. A body that was written with a key that
/// is not here cannot be opened and stays [`Payload::Sealed`]: it can be listed, and is not sent.
/// For such a body, [`get`](LetterStore::get) returns [`StoreError::WrongKey`].
///
/// # Example
///
/// ```
/// use courteous_dead_letter::{Encrypted, EncryptionKey, MemoryStore, LetterStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = "00".repeat(32); // of a secret store, and not of zeros
/// let store = Encrypted::new(MemoryStore::new(), text.parse::<EncryptionKey>()?);
/// assert_eq!(store.stats().await?.total(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Encrypted<S> {
    inner: S,
    keys: Arc<Keys>,
}

/// The old keys only open what was sealed before.
#[derive(Clone)]
struct Keys {
    key: EncryptionKey,
    old: Vec<EncryptionKey>,
}

/// A key of 256 bits. `Debug` does not show it.
#[derive(Clone)]
pub struct EncryptionKey(XChaCha20Poly1305);

/// The first byte of a sealed body: what the body is bound to.
const TO_ID: u8 = 1;
const TO_ID_METHOD_AND_TARGET: u8 = 2;

const NONCE_LEN: usize = 24;

/// The first byte of the content.
const WHOLE: u8 = 0;
const TRUNCATED: u8 = 1;
const SCRUBBED: u8 = 2;

impl EncryptionKey {
    /// The key with these bytes, which must be random: a password is not a key.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&bytes.into()))
    }

    /// The payload of `letter`, sealed. Fails if the payload is longer than any body can be, or if
    /// no nonce can be drawn.
    fn seal(&self, letter: &Letter) -> Result<Payload, PushError> {
        let payload = &letter.payload;
        let kind = match payload {
            Payload::Whole(_) => WHOLE,
            Payload::Truncated(_) => TRUNCATED,
            Payload::Scrubbed(_) => SCRUBBED,
            // Nothing to seal, or already sealed.
            Payload::Gone | Payload::Sealed(_) => return Ok(payload.clone()),
        };
        let body = payload.bytes();
        let mut plain = Vec::with_capacity(1 + body.len());
        plain.put_u8(kind);
        plain.put_slice(body);
        // A nonce that is used twice would reveal two bodies.
        let nonce: [u8; NONCE_LEN] = random_bytes().map_err(PushError::failed)?;
        let message = aead::Payload {
            msg: &plain,
            aad: &bound_to(letter),
        };
        let cipher = self.0.encrypt(&XNonce::from(nonce), message);
        let cipher = cipher.map_err(|_| PushError::failed("the body cannot be encrypted"))?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + cipher.len());
        sealed.put_u8(TO_ID_METHOD_AND_TARGET);
        sealed.put_slice(&nonce);
        sealed.put_slice(&cipher);
        Ok(Payload::Sealed(sealed.into()))
    }

    /// The payload that this key sealed for `letter`; `None` if it did not.
    fn open(&self, letter: &Letter, sealed: &[u8]) -> Option<Payload> {
        let (version, sealed) = sealed.split_first()?;
        let bound = match *version {
            TO_ID => letter.id.to_bits().to_be_bytes().to_vec(),
            TO_ID_METHOD_AND_TARGET => bound_to(letter),
            _ => return None,
        };
        let (nonce, cipher) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let message = aead::Payload {
            msg: cipher,
            aad: &bound,
        };
        let plain = self.0.decrypt(&XNonce::from(*nonce), message).ok()?;
        let mut plain = Bytes::from(plain);
        match *plain.split_to(plain.len().min(1)).first()? {
            WHOLE => Some(Payload::Whole(plain)),
            TRUNCATED => Some(Payload::Truncated(plain)),
            SCRUBBED => Some(Payload::Scrubbed(plain)),
            _ => None,
        }
    }
}

/// What a body is bound to: the id, which has 16 bytes; the method, which has no space in it; a
/// space; the target.
fn bound_to(letter: &Letter) -> Vec<u8> {
    let mut bound = letter.id.to_bits().to_be_bytes().to_vec();
    bound.extend_from_slice(format!("{} {}", letter.method, letter.uri).as_bytes());
    bound
}

/// 64 hexadecimal digits.
impl FromStr for EncryptionKey {
    type Err = InvalidEncryptionKey;

    fn from_str(text: &str) -> Result<Self, InvalidEncryptionKey> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(InvalidEncryptionKey(()));
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for &digit in pair {
                let digit = char::from(digit).to_digit(16);
                *byte = *byte << 4 | digit.ok_or(InvalidEncryptionKey(()))? as u8;
            }
        }
        Ok(Self::new(bytes))
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey")
    }
}

/// The error for a text that is not an [`EncryptionKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEncryptionKey(());

impl fmt::Display for InvalidEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an encryption key is 64 hexadecimal digits")
    }
}

impl Error for InvalidEncryptionKey {}

impl Keys {
    fn seal(&self, letter: &Letter) -> Result<Payload, PushError> {
        self.key.seal(letter)
    }

    fn open(&self, record: &mut Record) -> Result<(), StoreError> {
        let letter = &mut record.letter;
        if let Payload::Sealed(sealed) = &letter.payload {
            let keys = iter::once(&self.key).chain(&self.old);
            let mut opened = keys.map(|key| key.open(letter, sealed));
            letter.payload = opened
                .find_map(|opened| opened)
                .ok_or(StoreError::WrongKey)?;
        }
        Ok(())
    }

    /// Opens all records that can be opened.
    fn open_all(&self, mut records: Vec<Record>) -> Vec<Record> {
        for record in &mut records {
            // A body that cannot be opened stays sealed, and its payload shows that.
            let _ = self.open(record);
        }
        records
    }
}

impl<S> Encrypted<S> {
    /// Wraps `inner`, whose bodies are encrypted with `key` from now on.
    #[must_use]
    pub fn new(inner: S, key: EncryptionKey) -> Self {
        Self {
            inner,
            keys: Arc::new(Keys {
                key,
                old: Vec::new(),
            }),
        }
    }

    /// Also opens bodies that were encrypted with `key`, which is not used for new bodies: so a key
    /// can be replaced.
    #[must_use]
    pub fn with_old_key(mut self, key: EncryptionKey) -> Self {
        Arc::make_mut(&mut self.keys).old.push(key);
        self
    }

    /// The store whose bodies are encrypted.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: Sink> Sink for Encrypted<S> {
    fn push(&self, mut letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        match self.keys.seal(&letter) {
            Ok(sealed) => {
                letter.payload = sealed;
                self.inner.push(letter)
            }
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        self.inner.flush()
    }
}

impl<S: LetterStore> LetterStore for Encrypted<S> {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        Box::pin(async {
            let mut claimed = self.inner.claim(claim).await?;
            claimed.records = self.keys.open_all(claimed.records);
            Ok(claimed)
        })
    }

    fn settle(
        &self,
        id: LetterId,
        fence: u64,
        outcome: Settlement,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.settle(id, fence, outcome)
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let mut record = self.inner.get(id).await?;
            record
                .as_mut()
                .map_or(Ok(()), |record| self.keys.open(record))?;
            Ok(record)
        })
    }

    fn list(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move { Ok(self.keys.open_all(self.inner.list(filter, page).await?)) })
    }

    fn unreadable(
        &self,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Vec<Unreadable>, StoreError>> {
        self.inner.unreadable(filter, page)
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, StoreError>> {
        self.inner.stats()
    }

    fn mark(&self, id: LetterId, mark: Mark) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.mark(id, mark)
    }

    fn purge(&self, older_than: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.purge(older_than)
    }
}

impl<S: fmt::Debug> fmt::Debug for Encrypted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted")
            .field("inner", &self.inner)
            .field("keys", &(1 + self.keys.old.len()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::Method;

    use super::*;
    use crate::{Failure, Reason};

    fn letter(payload: Payload) -> Letter {
        let id = LetterId::new(UNIX_EPOCH).unwrap();
        let failure = Failure::new(Reason::Attempts, UNIX_EPOCH);
        let uri = "https://api.test/charges?of=7".parse().unwrap();
        Letter {
            payload,
            ..Letter::new(id, Method::POST, uri, failure)
        }
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_for_the_same_letter_only() {
        let key = EncryptionKey::new([7; 32]);
        for payload in [
            Payload::Whole(Bytes::from_static(b"card=4242")),
            Payload::Whole(Bytes::new()),
            Payload::Truncated(Bytes::from_static(b"card=4242")),
            Payload::Scrubbed(Bytes::from_static(b"card=4242")),
        ] {
            let [letter, other] = [(); 2].map(|()| letter(payload.clone()));
            let Ok(Payload::Sealed(sealed)) = key.seal(&letter) else {
                panic!("not sealed");
            };
            assert!(!sealed.windows(4).any(|bytes| bytes == b"4242"));
            assert_eq!(key.open(&letter, &sealed), Some(payload));
            assert_eq!(key.open(&other, &sealed), None);
            assert_eq!(EncryptionKey::new([8; 32]).open(&letter, &sealed), None);
            // Sealing the same body twice gives different bytes.
            let again = key.seal(&letter).unwrap();
            assert_ne!(again, Payload::Sealed(sealed.clone()));
            for at in 0..sealed.len() {
                let mut changed = sealed.to_vec();
                changed[at] ^= 1;
                assert_eq!(key.open(&letter, &changed), None, "byte {at}");
                assert_eq!(key.open(&letter, &sealed[..at]), None, "{at} bytes");
            }
        }
        let gone = key.seal(&letter(Payload::Gone)).unwrap();
        assert_eq!(gone, Payload::Gone);
    }

    #[test]
    fn a_body_that_was_bound_to_its_id_alone_is_still_opened_and_by_no_other_id() {
        let key = EncryptionKey::new([7; 32]);
        let whole = Payload::Whole(Bytes::from_static(b"card=4242"));
        let [mut letter, other] = [(); 2].map(|()| letter(whole.clone()));
        let nonce = [9; NONCE_LEN];
        let message = aead::Payload {
            msg: &[&[WHOLE][..], whole.bytes()].concat(),
            aad: &letter.id.to_bits().to_be_bytes(),
        };
        let cipher = key.0.encrypt(&XNonce::from(nonce), message).unwrap();
        let mut sealed = [&[TO_ID][..], &nonce, &cipher].concat();
        assert_eq!(key.open(&other, &sealed), None);
        letter.uri = "https://elsewhere.test/".parse().unwrap();
        assert_eq!(key.open(&letter, &sealed), Some(whole));
        // The version byte cannot be changed to add or remove a binding.
        sealed[0] = TO_ID_METHOD_AND_TARGET;
        assert_eq!(key.open(&letter, &sealed), None);
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits_and_not_shown() {
        let text = "0123456789abcdefABCDEF".repeat(3);
        let key: EncryptionKey = text[..64].parse().unwrap();
        assert_eq!(format!("{key:?}"), "EncryptionKey");
        let bytes = std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..][..2], 16).unwrap());
        let letter = letter(Payload::Whole(Bytes::new()));
        let sealed = EncryptionKey::new(bytes).seal(&letter).unwrap();
        assert!(key.open(&letter, sealed.bytes()).is_some());
        for wrong in [
            "",
            &text[..63],
            &text[..65],
            &"0g".repeat(32),
            &"é".repeat(32),
        ] {
            assert!(wrong.parse::<EncryptionKey>().is_err(), "{wrong}");
        }
    }
}
