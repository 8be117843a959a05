//! The store in an SQLite file keeps what every store promises.

mod conformance;

use std::sync::Arc;

use courteous_dead_letter::{Clock, SqliteOptions, Store};

use conformance::conformance;

conformance!(mod sqlite {
    async |clock: Clock| {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new().with_clock(clock);
        let store = options.open(folder.path().join("letters.db")).unwrap();
        (Arc::new(store) as Arc<dyn Store>, folder)
    }
});
