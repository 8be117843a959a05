//! courteous and its peers, measured side by side.

mod contenders;
mod groups;
mod kit;

use std::{io, process::ExitCode};

use clap::Parser;

use crate::groups::{Effort, layers};

/// Measures courteous and its peers side by side, and prints markdown tables.
#[derive(Debug, Parser)]
struct Arguments {
    /// Ends within a minute, and is less exact.
    #[arg(long)]
    quick: bool,
    /// Runs one group only.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=6))]
    group: Option<u8>,
    /// Counts the instructions of group 1, under valgrind.
    #[arg(long)]
    instructions: bool,
    /// What the program is told when it runs itself under valgrind.
    #[arg(long, hide = true)]
    counted: Option<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    if let Some(which) = &arguments.counted {
        return layers::run_counted(which == "ours");
    }
    let effort = match arguments.quick {
        true => Effort::Quick,
        false => Effort::Full,
    };
    println!("{}\n{}\n", kit::machine(), kit::versions());
    if arguments.instructions {
        println!("{}", layers::instructions_table(&layers::instructions(false)?));
        return Ok(());
    }
    println!("{}", layers::run(effort)?);
    Ok(())
}
