use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::StoreError;

/// Marks a file as ours: "crtL", as big-endian bytes at offset 68 of the file.
const APPLICATION: i64 = 0x6372_744c;

/// Of the tables below. A file with a higher one was written by a newer version of this crate.
///
/// A change of the tables raises it, and [`prepare`] brings older files up to it, one version after another, each in one
/// transaction.
const VERSION: i64 = 1;

