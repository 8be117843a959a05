use std::{sync::Arc, time::Duration};

use tokio_postgres::Config;

use super::connect::Connect;
use crate::{Clock, spill::Spill};

/// How a store does its work.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) connect: Arc<dyn Connect>,
    pub(super) patience: Duration,
    pub(super) letters: usize,
    pub(super) bytes: u32,
    pub(super) clock: Clock,
    pub(super) spill: Option<Spill>,
}
