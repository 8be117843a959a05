//! Fetches all pages of a list politely. Each host has its own rate and its own concurrency limit.
//! A failure that may pass is tried again, and a host that asks for a pause gets it.
//!
//! ```text
//! cargo run --example fetch_all -- URLS.txt --rate 5/s --concurrency 4
//! cargo run --example fetch_all
//! ```
//!
//! The list has one URL per line; blank lines and lines that begin with `#` do not count. Without a
//! list, the example fetches the pages of a demonstration server on the loopback interface, which
//! fails at times. Ctrl-C ends the example, and it reports what was done.
//!
//! The exit code is 0 if all pages were fetched, and 1 if not. It is 2 if there was nothing to do,
//! as with a list that cannot be read.

mod demo;
mod fetch;
mod summary;
mod url_list;

use std::{error::Error, fs, num::NonZeroUsize, path::PathBuf, pin::pin, process::ExitCode};

use clap::Parser;
use courteous::throttle::Rate;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{signal::ctrl_c, task::JoinSet};

use crate::{fetch::Fetcher, summary::Summary, url_list::UrlList};

#[derive(Debug, Parser)]
#[command(about = "Fetches all pages of a list, politely")]
struct Args {
    /// A file with one URL a line. Without it, pages of a demonstration server are fetched.
    urls: Option<PathBuf>,
    /// How many requests are sent to each host, such as `10/s`, `0.5/s` or `100/m`.
    #[arg(long, default_value = "10/s")]
    rate: Rate,
    /// How many requests each host has in flight at a time.
    #[arg(long, default_value = "8")]
    concurrency: NonZeroUsize,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    // The hosts stop when they are dropped.
    let (text, _hosts) = match &args.urls {
        None => demo::start()
            .await
            .map(|(text, hosts)| (text, Some(hosts)))?,
        Some(path) => match fs::read_to_string(path) {
            Ok(text) => (text, None),
            Err(error) => {
                eprintln!("error: cannot read {}: {error}", path.display());
                return Ok(ExitCode::from(2));
            }
        },
    };
    let list = UrlList::parse(&text);
    for malformed in &list.malformed {
        eprintln!("{malformed}");
    }

    let fetcher = Fetcher::new(args.rate, args.concurrency)?;
    let summary = fetch_all(&fetcher, list).await?;
    print!("{summary}");
    Ok(summary.exit_code())
}

/// Starts all calls at once. Each call then waits in its own host's queue, so no host holds up
/// another. A waiting call costs only its memory: no thread, no connection, no timer.
async fn fetch_all(fetcher: &Fetcher, list: UrlList) -> Result<Summary, Box<dyn Error>> {
    let mut summary = Summary::new(&list);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {msg}{eta} left")?;
    let progress = ProgressBar::new(list.urls.len() as u64).with_style(style);
    let mut calls = JoinSet::new();
    for url in list.urls {
        let fetcher = fetcher.clone();
        calls.spawn(async move { fetcher.fetch(url).await });
    }

    let mut interrupt = pin!(ctrl_c());
    loop {
        tokio::select! {
            outcome = calls.join_next() => {
                let Some(outcome) = outcome else { break };
                summary.count(outcome?);
                progress.set_message(summary.failures());
                progress.inc(1);
            }
            // A call that is dropped gives back everything that it held, wherever it was.
            Ok(()) = &mut interrupt => break calls.shutdown().await,
        }
    }
    progress.finish_and_clear();
    summary.end(fetcher.retries());
    Ok(summary)
}
