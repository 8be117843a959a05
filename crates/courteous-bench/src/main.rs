//! courteous and its peers, measured side by side.

mod contenders;
mod groups;
mod guard;
mod kit;

use std::{io, process::ExitCode};

use clap::Parser;

use crate::{
    contenders::Kind,
    groups::{
        Effort, client,
        instructions::{self, instructions, instructions_table},
        layers, queues, threads,
    },
};

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
    /// Compares the instructions of our layers with the committed ones; fails where they are more than a tenth more.
    #[arg(long)]
    check: bool,
    /// Writes the instructions of our layers to be committed.
    #[arg(long)]
    write_baseline: bool,
    /// Tells where one of our layers spends its instructions, under valgrind.
    #[arg(long, value_name = "LAYER")]
    profile: Option<Kind>,
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
        return instructions::run_counted(which);
    }
    if arguments.check {
        return guard::check();
    }
    if arguments.write_baseline {
        return guard::write();
    }
    let effort = match arguments.quick {
        true => Effort::Quick,
        false => Effort::Full,
    };
    println!("{}\n{}\n", kit::machine(), kit::versions());
    if let Some(kind) = arguments.profile {
        println!("{}", instructions::profile_table(kind)?);
        return Ok(());
    }
    if arguments.instructions {
        println!("{}", instructions_table(&instructions(false)?));
        return Ok(());
    }
    let groups: [(u8, &str, fn(Effort) -> io::Result<String>); 4] = [
        (1, "What each layer adds to a call", layers::run),
        (2, "Whole clients", client::run),
        (3, "Crowds", queues::run),
        (4, "Two threads", threads::run),
    ];
    for (number, title, run) in groups {
        if arguments.group.is_none_or(|only| only == number) {
            println!("## {number}. {title}\n\n{}", run(effort)?);
        }
    }
    Ok(())
}
