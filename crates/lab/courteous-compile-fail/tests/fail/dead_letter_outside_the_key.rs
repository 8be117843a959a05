use courteous::{
    ServiceBuilder, ServiceBuilderExt,
    dead_letter::{DeadLetterLayer, MemoryStore},
    idempotency::IdempotencyKeyLayer,
};

fn main() {
    let dead_letter = DeadLetterLayer::new(MemoryStore::new());
    let _ = ServiceBuilder::new()
        .dead_letter(dead_letter)
        .idempotency_key(IdempotencyKeyLayer::new());
}
