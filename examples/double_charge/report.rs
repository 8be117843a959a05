//! The report for a person.

use std::{process::ExitCode, time::Duration};

use crate::{ledger::Tally, payments_server::PaymentsServer, quota};

/// How one client's charges ended, by the server's ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    tally: Tally,
    requests: u32,
    throttled: u32,
    time: Duration,
}

impl Report {
    pub(crate) fn of(server: &PaymentsServer, time: Duration) -> Self {
        Self {
            tally: server.tally(),
            requests: server.requests(),
            throttled: server.throttled(),
            time,
        }
    }

    /// Success if every customer was charged once.
    pub(crate) const fn verdict(&self) -> ExitCode {
        match self.tally {
            Tally {
                twice_or_more: 0,
                never: 0,
                ..
            } => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

pub(crate) fn introduce(charges: u32, seed: u64) {
    println!("{charges} customers are to be charged once each, on a bad day (seed {seed}).");
    println!("Of 100 requests 10 get a 503, and 2 are booked but never answered.");
    println!("The quota is {}.", quota::DOCUMENTED);
    println!();
}

pub(crate) fn print_table(hand_written: &Report, courteous: &Report) {
    let row = |name, value: fn(&Report) -> String| {
        println!(
            "{name:22}{:>18}{:>14}",
            value(hand_written),
            value(courteous)
        );
    };
    println!("{:22}{:>18}{:>14}", "", "hand-written loop", "courteous");
    row("charged once", |r| r.tally.once.to_string());
    row("charged twice or more", |r| {
        r.tally.twice_or_more.to_string()
    });
    row("not charged", |r| r.tally.never.to_string());
    row("requests sent", |r| r.requests.to_string());
    row("429s received", |r| r.throttled.to_string());
    row("wall time", |r| format!("{:.1} s", r.time.as_secs_f64()));
    println!();
    let Tally {
        once,
        twice_or_more,
        never,
    } = courteous.tally;
    println!("courteous: {once} charged once, {twice_or_more} twice, {never} lost");
}
