use std::{fs, io, num::NonZeroUsize, path::Path, thread, time::Duration};

use rusqlite::{Connection, OpenFlags};
use std::sync::{Arc, Mutex, PoisonError};
