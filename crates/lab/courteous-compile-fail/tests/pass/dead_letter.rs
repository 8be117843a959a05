//! A dead letter just inside of the key, or anywhere by `layer`.

use courteous::{
    ServiceBuilder, ServiceBuilderExt,
    dead_letter::{DeadLetterLayer, MemoryStore},
    idempotency::IdempotencyKeyLayer,
};

fn main() {
    let dead_letter = DeadLetterLayer::new(MemoryStore::new());
    let _ = ServiceBuilder::new()
        .idempotency_key(IdempotencyKeyLayer::new())
        .dead_letter(dead_letter.clone());
    let _ = ServiceBuilder::new()
        .layer(IdempotencyKeyLayer::new())
        .dead_letter(dead_letter.clone());
    let _ = tower::ServiceBuilder::new()
        .layer(IdempotencyKeyLayer::new())
        .dead_letter(dead_letter.clone());
    let _ = ServiceBuilder::new().layer(dead_letter);
}
