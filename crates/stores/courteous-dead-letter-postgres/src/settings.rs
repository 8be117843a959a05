use std::{sync::Arc, time::Duration};

use courteous_dead_letter::Clock;
use tokio_postgres::Config;

use crate::connect::Connect;
use crate::spill::Spill;

/// How a store does its work.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) patience: Duration,
    pub(crate) letters: usize,
    pub(crate) bytes: u32,
    pub(crate) clock: Clock,
    pub(crate) spill: Option<Spill>,
}
