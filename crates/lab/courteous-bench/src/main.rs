//! courteous and its peers, measured side by side.

mod contenders;
mod groups;
mod guard;
mod kit;

use std::{fs, io, process::ExitCode};

use clap::Parser;

use crate::{
    contenders::Kind,
    groups::{
        Effort, client, failing,
        instructions::{self, instructions, instructions_table},
        keys, layers, queues, threads,
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
    /// Only counts the instructions of group 1, under valgrind.
    #[arg(long)]
    instructions: bool,
    /// Writes what is printed into this crate's README, too.
    #[arg(long)]
    readme: bool,
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

type Group = (u8, &'static str, fn(Effort) -> io::Result<String>);

const GROUPS: [Group; 6] = [
    (1, "What each layer adds to a call", layers::run),
    (2, "Whole clients", client::run),
    (3, "Crowds", queues::run),
    (4, "Two threads", threads::run),
    (5, "Keys", keys::run),
    (6, "A failed attempt", failing::run),
];

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
    if let Some(kind) = arguments.profile {
        println!("{}", instructions::profile_table(kind)?);
        return Ok(());
    }
    let mut report = Report::default();
    let quick = if arguments.quick { ", quick" } else { "" };
    report.add(format!(
        "{}{quick}\n\n{}\n",
        kit::machine(),
        kit::versions()
    ));
    if !arguments.instructions {
        let effort = match arguments.quick {
            true => Effort::Quick,
            false => Effort::Full,
        };
        for (number, title, run) in GROUPS {
            if arguments.group.is_none_or(|only| only == number) {
                report.add(format!("## {number}. {title}\n\n{}", run(effort)?));
            }
        }
    }
    if arguments.instructions || arguments.readme && kit::is_available() {
        let table = instructions_table(&instructions(false)?);
        report.add(format!("## Instructions of group 1\n\n{table}"));
    }
    if arguments.readme {
        report.write()?;
    }
    Ok(())
}

/// The printed text, piece by piece.
#[derive(Default)]
struct Report {
    text: String,
}

impl Report {
    fn add(&mut self, piece: String) {
        println!("{piece}");
        self.text += &piece;
        self.text.push('\n');
    }

    /// Writes the text into the README, in place of the previous one.
    fn write(&self) -> io::Result<()> {
        const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        const BEGIN: &str = "<!-- results -->\n";
        const END: &str = "<!-- end of results -->";
        let readme = fs::read_to_string(README)?;
        let parts = readme.split_once(BEGIN).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(END)?;
            Some((before, after))
        });
        let (before, after) = parts.ok_or_else(|| io::Error::other("a README without marks"))?;
        // One level below the section that contains it.
        let text = self.text.replace("\n## ", "\n### ");
        fs::write(README, format!("{before}{BEGIN}\n{text}{END}{after}"))
    }
}
