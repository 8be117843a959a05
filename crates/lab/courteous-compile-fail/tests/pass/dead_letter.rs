//! A dead letter just inside of the key, or anywhere by `layer`.

use courteous::{
    DeadLetterLayer, IdempotencyKeyLayer, ServiceBuilder, ServiceBuilderExt,
    dead_letter::MemoryStore,
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
