//! A command that lists, replays and discards dead letters. See the crate's README.

mod args;
mod client;
mod exit;
mod fresh_headers;
mod manage;
mod output;
mod replay;
mod span;
mod store;
mod view;
mod window;

use std::{error::Error, process::ExitCode};

use clap::Parser;
use courteous::BoxError;
use courteous_dead_letter::Mark;

use crate::{
    args::{Cli, Command},
    exit::Exit,
    output::{Output, report},
    store::Url,
};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let Some(url) = cli.store.as_deref().and_then(Url::parse) else {
        report(&format!("error: {}", store::FORM));
        return Exit::Usage.into();
    };
    let output = match cli.json {
        true => Output::Json,
        false => Output::People,
    };
    match run(&url, cli.command, output).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&format!("error: {}", with_causes(&*error)));
            Exit::Failed.into()
        }
    }
}

async fn run(url: &Url<'_>, command: Command, output: Output) -> Result<Exit, BoxError> {
    if let Command::Backup(args) = command {
        return url.backup(&args.target, output);
    }
    let store = url.open(command.only_looks()).await?;
    let store = &*store;
    match command {
        Command::List(args) => manage::list(store, args, output).await,
        Command::Show(args) => manage::show(store, args, output).await,
        Command::Replay(args) => replay::replay(store, args, output).await,
        Command::Discard(args) => manage::mark(store, args.ids, Mark::Discarded, output).await,
        Command::Restore(args) => manage::mark(store, args.ids, Mark::Pending, output).await,
        Command::Purge(args) => manage::purge(store, args.older_than, output).await,
        Command::Stats => manage::stats(store, output).await,
        Command::Export(args) => manage::export(store, args).await,
        // The backup ran before the store was opened.
        Command::Backup(_) => Ok(Exit::Done),
    }
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
