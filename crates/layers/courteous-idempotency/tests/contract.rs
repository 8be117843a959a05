//! What every layer promises, promised by this one.

use courteous_idempotency::{IdempotencyKeyLayer, KeyFormat};
use courteous_testkit::{Subject, contract};

contract!(mod by_default { Subject::new(IdempotencyKeyLayer::new()) });

contract!(mod quoted {
    Subject::new(IdempotencyKeyLayer::new().with_format(KeyFormat::StructuredField))
});
