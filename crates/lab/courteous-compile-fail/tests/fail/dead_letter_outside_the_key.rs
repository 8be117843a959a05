use courteous::{
    DeadLetterLayer, IdempotencyKeyLayer, ServiceBuilder, ServiceBuilderExt,
    dead_letter::MemoryStore,
};

fn main() {
    let dead_letter = DeadLetterLayer::new(MemoryStore::new());
    let _ = ServiceBuilder::new()
        .dead_letter(dead_letter)
        .idempotency_key(IdempotencyKeyLayer::new());
}
