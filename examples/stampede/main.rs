//! A rush of calls meets a server that cannot serve them. How long do the clients keep it down?
//!
//! Fifty clients call a server with ten workers, over real connections on the loopback interface.
//! For ten seconds, three times the usual calls come: half as many again as the workers can serve.
//! The server forgets no request, also if its client has given up. Three fleets meet the same rush,
//! each with a server of its own: a usual client (three retries, exponential backoff, jitter), a
//! client without retries, and the layers of a stack with a limit that learns.
//!
//! ```text
//! cargo run --release --example stampede
//! cargo run --release --example stampede -- --break
//! ```
//!
//! The example ends with an error if the stack does not serve clearly more calls than the client
//! without retries, and recover clearly sooner, in one of at most three runs. With `--break` the
//! stack has no limit that learns, and the example must end with an error.

mod calls;
mod clients;
mod fleet;
mod report;
mod server;
mod verdict;

use std::{error::Error, process::ExitCode};

use clap::Parser;

use crate::{
    clients::{NoRetry, Polite, Usual},
    fleet::Fleet,
    verdict::is_clearly_better,
};

#[derive(Clone, Copy, Debug, Parser)]
#[command(about = "A rush of calls at a small server: how long do its clients keep it down?")]
struct Args {
    /// Takes the limit that learns out of the stack.
    #[arg(long = "break")]
    is_broken: bool,
    /// How often to try at most.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Args { is_broken, runs } = Args::parse();
    report::introduce();
    for run in 1..=runs {
        let usual = Fleet::start("usual", || Ok(Usual::new())).await?;
        let no_retry = Fleet::start("no retry", || Ok(NoRetry::new())).await?;
        let courteous = Fleet::start("courteous", || Polite::new(is_broken)).await?;
        let gauges = [usual.gauges(), no_retry.gauges(), courteous.gauges()];
        tokio::join!(
            usual.run(run),
            no_retry.run(run),
            courteous.run(run),
            report::live(&gauges),
        );
        let outcomes = [usual.outcome(), no_retry.outcome(), courteous.outcome()];
        report::print_table(&outcomes);
        let [_, no_retry, courteous] = &outcomes;
        if is_clearly_better(courteous, no_retry) {
            println!("\nThe stack served clearly more calls, and recovered clearly sooner.");
            return Ok(ExitCode::SUCCESS);
        }
        println!("\nRun {run} of at most {runs}: the stack was not clearly better.\n");
    }
    Ok(ExitCode::FAILURE)
}
