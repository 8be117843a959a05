use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use courteous::throttle::Rate;
use courteous_dead_letter::{Filter, LetterId, Reason, StateKind};

use crate::span::{InvalidSpan, Span};

/// Lists, replays and discards what could not be delivered.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Where the letters are: `sqlite:PATH`, or `postgres://USER@HOST/DATABASE`
    ///
    /// A password is best left out of it, and given in PGPASSWORD.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "COURTEOUS_DLQ_STORE",
        hide_env_values = true
    )]
    pub(crate) store: Option<String>,
    /// Writes JSON, for scripts: one object, or one a line for each letter
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
    0  all that was asked for was done
    1  the store could not be used, or something else went wrong
    2  the command line makes no sense
    3  a replay has come to its end, and some letters were not delivered
    4  there is no such letter, or its state does not allow what was asked
    5  some letters cannot be read; what was asked for was done for the others
  130  ended by Ctrl-C";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists letters, the oldest first
    List(List),
    /// Shows all that is kept of one letter, but its body
    Show(Show),
    /// Sends pending letters again, with their own keys and bytes, the oldest first
    Replay(Replay),
    /// Gives letters up: they stay to be seen, and are not sent again
    Discard(Ids),
    /// Makes letters pending again that were refused, expired or discarded
    Restore(Ids),
    /// Deletes letters that need nothing more: delivered, refused, expired and discarded ones
    Purge(Purge),
    /// Counts letters by state and reason, and tells the age of the oldest that waits
    Stats,
    /// Writes letters as lines of JSON, the oldest first
    Export(Export),
    /// Copies the store to a new file, also while it is written to
    Backup(Backup),
}

impl Command {
    /// Whether the command changes nothing, so that it needs no right to write.
    pub(crate) const fn only_looks(&self) -> bool {
        match self {
            Self::List(_) | Self::Show(_) | Self::Stats | Self::Export(_) | Self::Backup(_) => true,
            Self::Replay(replay) => replay.dry_run,
            Self::Discard(_) | Self::Restore(_) | Self::Purge(_) => false,
        }
    }
}

/// Selects letters.
#[derive(Debug, Args)]
pub(crate) struct Select {
    /// Only those that failed for this reason, such as `attempts`, `deadline` or `abandoned`
    #[arg(long, value_parser = reason)]
    reason: Option<Reason>,
    /// Only those with this tag
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Option<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those in this state: pending, claimed, delivered, refused, expired or discarded
    #[arg(long, value_parser = state)]
    pub(crate) state: Option<StateKind>,
    #[command(flatten)]
    pub(crate) select: Select,
    /// No more than so many
    #[arg(long, default_value = "100")]
    pub(crate) limit: NonZeroUsize,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The letter
    pub(crate) id: LetterId,
    /// Writes the body too, which may hold what others should not see
    #[arg(long)]
    pub(crate) body: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Only this letter; may be given more than once
    #[arg(long = "id", value_name = "ID")]
    pub(crate) ids: Vec<LetterId>,
    #[command(flatten)]
    pub(crate) select: Select,
    /// No more than so many letters
    #[arg(long)]
    pub(crate) limit: Option<NonZeroUsize>,
    /// How many requests are sent to each server, such as `10/s`, `0.5/s` or `100/m`. Without it, as fast as it answers
    #[arg(long)]
    pub(crate) rate: Option<Rate>,
    /// How many letters are under way at a time
    #[arg(long, default_value = "8")]
    pub(crate) concurrency: NonZeroUsize,
    /// How long one letter may take, with all its attempts
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = timeout)]
    pub(crate) timeout: Duration,
    /// How long servers remember an idempotency key; letters with an older one expire
    #[arg(long, value_name = "SPAN", default_value = "23h", value_parser = span)]
    pub(crate) key_lifetime: Duration,
    /// A header field that was withheld from the store, the environment variable that has its value, and the server that may
    /// have it; may be given more than once. It is sent over https only, or to a loopback address. Without a port, the server's
    /// port is the default one
    #[arg(long = "header", value_name = "NAME=env:VAR@HOST[:PORT]")]
    pub(crate) headers: Vec<String>,
    /// Tells what would be sent, and sends nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Sends this letter although the server may have acted on it before, and neither a key nor its method keeps it from
    /// doing so again; may be given more than once
    #[arg(long, value_name = "ID")]
    pub(crate) i_know_it_may_run_twice: Vec<LetterId>,
}

#[derive(Debug, Args)]
pub(crate) struct Ids {
    /// The letters
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<LetterId>,
}

#[derive(Debug, Args)]
pub(crate) struct Purge {
    /// Only those that have needed nothing more for longer than this, such as `30d`
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) older_than: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The copy, which must not be there yet. Only its owner may read it
    #[arg(value_name = "FILE")]
    pub(crate) target: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Only those in this state: pending, claimed, delivered, refused, expired or discarded
    #[arg(long, value_parser = state)]
    pub(crate) state: Option<StateKind>,
    #[command(flatten)]
    pub(crate) select: Select,
    /// Writes the bodies too, which may hold what others should not see
    #[arg(long)]
    pub(crate) bodies: bool,
}

impl Select {
    pub(crate) fn filter(&self, state: Option<StateKind>) -> Filter {
        let mut filter = Filter::new();
        filter.state = state;
        filter.reason = self.reason;
        filter.tag.clone_from(&self.tag);
        filter
    }
}

fn state(text: &str) -> Result<StateKind, String> {
    let all = StateKind::ALL.map(StateKind::as_str).join(", ");
    text.parse().map_err(|_| format!("it must be one of {all}"))
}

fn reason(text: &str) -> Result<Reason, String> {
    let all = Reason::ALL.map(Reason::as_str).join(", ");
    text.parse().map_err(|_| format!("it must be one of {all}"))
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must read like `order=42`".to_owned()),
    }
}

fn span(text: &str) -> Result<Duration, InvalidSpan> {
    text.parse().map(|Span(span)| span)
}

fn timeout(text: &str) -> Result<Duration, String> {
    match span(text) {
        Ok(Duration::ZERO) => Err("zero leaves no time for anything".to_owned()),
        span => span.map_err(|error| error.to_string()),
    }
}
