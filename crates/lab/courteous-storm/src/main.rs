//! Runs storms, and prints one table of them.

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, builder::PossibleValuesParser};
use courteous_storm::{Stack, Suite};

/// Whole fleets of clients against a modelled server, in virtual time.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Only the stacks that the floors are about, fewer clients, and less time for what lasts long
    #[arg(long)]
    quick: bool,
    /// Says what this project's stack has to reach, and fails if it does not
    #[arg(long)]
    check: bool,
    /// Prints a short table in Markdown instead
    #[arg(long)]
    summary: bool,
    /// Only this scenario: S3 for all of its variants, or S3-silent; can be repeated
    #[arg(long, value_name = "ID")]
    scenario: Vec<String>,
    /// Only this stack; can be repeated
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Stack::ALL.map(Stack::name)))]
    stack: Vec<String>,
    /// How many clients share the calls, but for batches
    #[arg(long, value_name = "M")]
    clients: Option<usize>,
    /// Draws each scenario into a file of its own in this folder
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Where the random numbers begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The mean of so many runs, with seeds from the first one on
    ///
    /// By default our own stack has 5 seeds and all others have one; with `--quick`, all have one
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    let mut suite = if args.quick {
        Suite::quick()
    } else {
        Suite::full()
    };
    suite = suite.with_seed(args.seed);
    suite = match args.seeds {
        Some(seeds) => suite.with_seeds(seeds),
        None => suite.with_own_seeds(if args.quick { 1 } else { 5 }),
    };
    if !args.scenario.is_empty() {
        suite = suite.with_scenarios(&args.scenario);
    }
    if !args.stack.is_empty() {
        let chosen = |stack: &Stack| args.stack.iter().any(|name| name == stack.name());
        suite = suite.with_stacks(Stack::ALL.into_iter().filter(chosen));
    }
    if let Some(clients) = args.clients {
        suite = suite.with_clients(clients);
    }
    let results = suite.run()?;
    if results.reports().is_empty() {
        return Err("no scenario has that name, or none is for that stack".into());
    }
    if args.summary {
        print!("{}", results.summary());
    } else {
        print!("{results}");
    }
    if let Some(folder) = &args.svg {
        results.draw(folder)?;
    }
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let floors = results.floors();
    println!();
    floors.iter().for_each(|floor| println!("{floor}"));
    let missed = floors.iter().filter(|floor| !floor.is_met()).count();
    println!("{} of {} floors missed", missed, floors.len());
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
