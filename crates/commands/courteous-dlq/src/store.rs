use std::{path::Path, sync::Arc};

use courteous::BoxError;
use courteous_dead_letter::{Encrypted, EncryptionKey, LetterStore, StoreError};
use courteous_dead_letter_postgres::PostgresStore;
use courteous_dead_letter_sqlite::{SqliteSettings, SqliteStore};
use serde_json::json;

use crate::{
    exit::Exit,
    output::{Output, report},
    with_causes,
};

/// The store that a URL names.
pub(crate) enum Url<'a> {
    Sqlite(&'a str),
    Postgres(&'a str),
}

/// The form that a URL must have. An error does not repeat the URL, as it may contain a password.
pub(crate) const FORM: &str =
    "the store must be `sqlite:PATH` or `postgres://...`, by --store or in COURTEOUS_DLQ_STORE";

impl<'a> Url<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Some(Self::Postgres(text));
        }
        let path = text.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        (!path.is_empty()).then_some(Self::Sqlite(path))
    }

    /// Opens the store, with the key to encrypted bodies if there is one. A command that only looks
    /// opens it without the right to write.
    pub(crate) async fn open(&self, only_looks: bool) -> Result<Arc<dyn LetterStore>, BoxError> {
        let key = match std::env::var("COURTEOUS_DLQ_KEY") {
            Ok(key) => Some(key.parse::<EncryptionKey>()?),
            Err(_) => None,
        };
        let store: Arc<dyn LetterStore> = match self {
            Self::Sqlite(path) => Arc::new(open_file(path, only_looks)?),
            Self::Postgres(url) => Arc::new(connect(url).await?),
        };
        Ok(match key {
            Some(key) => Arc::new(Encrypted::new(store, key)),
            None => store,
        })
    }

    pub(crate) fn backup(&self, target: &Path, output: Output) -> Result<Exit, BoxError> {
        let Self::Sqlite(path) = self else {
            report(
                "error: a store in Postgres is backed up by `pg_dump --table 'courteous_dead_letter*'`",
            );
            return Ok(Exit::Usage);
        };
        let store = open_file(path, true)?;
        let copied = store.backup(target);
        copied.map_err(|error| format!("{}: {}", target.display(), with_causes(&error)))?;
        let target = target.display().to_string();
        output.write(&json!({ "backup": target }), || {
            format!("copied to {target}\n")
        })?;
        Ok(Exit::Done)
    }
}

/// Opens a file, and does not create a missing one: a mistyped name would be an empty store.
fn open_file(path: &str, only_looks: bool) -> Result<SqliteStore, BoxError> {
    // The application decides what its group may do.
    let options = SqliteSettings::new().with_create(false).with_mode(0o660);
    let store = match only_looks {
        true => options.open_read_only(path),
        false => options.open(path),
    };
    Ok(store.map_err(|error| format!("{path}: {}", with_causes(&error)))?)
}

async fn connect(url: &str) -> Result<PostgresStore, BoxError> {
    let mut builder = PostgresStore::builder(url).map_err(StoreError::failed)?;
    if let Ok(password) = std::env::var("PGPASSWORD") {
        builder = builder.with_password(&password);
    }
    Ok(builder.connect().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_or_a_database() {
        for (text, path) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite:/var/a.db", "/var/a.db"),
            ("sqlite:///var/a.db", "/var/a.db"),
        ] {
            assert!(matches!(Url::parse(text), Some(Url::Sqlite(found)) if found == path));
        }
        for text in ["postgres://me@db/x", "postgresql://db/x"] {
            assert!(matches!(Url::parse(text), Some(Url::Postgres(found)) if found == text));
        }
        for wrong in ["", "a.db", "sqlite:", "mysql://db/x"] {
            assert!(Url::parse(wrong).is_none(), "{wrong}");
        }
    }
}
