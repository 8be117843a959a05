//! Two clients charge the same customers on the same bad day. How many pay twice?
//!
//! A payments server on the loopback interface has a bad day. It loses the answers of some charges
//! that it has booked, answers others with 503, resets a few connections, and has a quota. Two
//! clients send it charges: the usual hand-written retry loop, and the same HTTP client with a
//! courteous stack around it. The server's ledger, not the clients, tells which customer paid how
//! often.
//!
//! ```text
//! cargo run --example double_charge
//! cargo run --example double_charge -- --charges 2000 --seed 7
//! ```
//!
//! The example ends with an error if the courteous client has charged any customer twice, or not at
//! all.

mod bad_day;
mod client;
mod courteous_client;
mod hand_written;
mod ledger;
mod payments_server;
mod quota;
mod report;

use std::{error::Error, process::ExitCode};

use clap::Parser;

use crate::{
    client::charge_all, courteous_client::CourteousClient, hand_written::HandWritten,
    payments_server::PaymentsServer, report::Report,
};

#[derive(Clone, Copy, Debug, Parser)]
#[command(about = "Two clients charge the same customers on a bad day: how many pay twice?")]
struct Args {
    /// How many customers there are, each to be charged once.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    charges: u32,
    /// Which bad day it is: the same seed makes the same requests fail.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Args { charges, seed } = Args::parse();
    report::introduce(charges, seed);

    // Each client has its own server, ledger and quota, and both meet the same faults.
    let server_a = PaymentsServer::start(charges, seed).await?;
    let server_b = PaymentsServer::start(charges, seed).await?;
    let hand_written = HandWritten::new(server_a.address());
    let courteous = CourteousClient::new(server_b.address())?;
    let (time_a, time_b) = tokio::join!(
        charge_all(charges, hand_written),
        charge_all(charges, courteous),
    );

    let hand_written = Report::of(&server_a, time_a);
    let courteous = Report::of(&server_b, time_b);
    report::print_table(&hand_written, &courteous);
    Ok(courteous.verdict())
}
