use std::sync::Arc;

use courteous::BoxError;
use courteous_dead_letter::{
    Encrypted, EncryptionKey, PostgresStore, SqliteOptions, Store, StoreError,
};

use crate::with_causes;

/// The store that a URL names.
pub(crate) enum Url<'a> {
    Sqlite(&'a str),
    Postgres(&'a str),
}

/// What a URL must be. It is not repeated, as it may have a password in it.
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

    /// Opens it, with the key to encrypted bodies if there is one.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        let key = match std::env::var("COURTEOUS_DLQ_KEY") {
            Ok(key) => Some(key.parse::<EncryptionKey>()?),
            Err(_) => None,
        };
        let store = self.open_plain().await?;
        Ok(match key {
            Some(key) => Arc::new(Encrypted::new(store, key)),
            None => store,
        })
    }

    /// A file that is not there is not created: a mistyped name would be an empty store.
    async fn open_plain(&self) -> Result<Arc<dyn Store>, BoxError> {
        match self {
            Self::Sqlite(path) => {
                let options = SqliteOptions::new().with_create(false);
                let store = options.open(path);
                Ok(Arc::new(store.map_err(|error| {
                    format!("{path}: {}", with_causes(&error))
                })?))
            }
            Self::Postgres(url) => {
                let mut builder = PostgresStore::builder(url).map_err(StoreError::failed)?;
                if let Ok(password) = std::env::var("PGPASSWORD") {
                    builder = builder.with_password(&password);
                }
                Ok(Arc::new(builder.connect().await?))
            }
        }
    }
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
