//! What was done.

use std::{collections::BTreeMap, fmt, process::ExitCode, time::Duration};

use indicatif::HumanBytes;
use tokio::time::Instant;

use crate::url_list::UrlList;

#[derive(Debug)]
pub(crate) struct Summary {
    start: Instant,
    time: Duration,
    listed: usize,
    malformed: usize,
    fetched: usize,
    bytes: u64,
    /// How many failed for each reason.
    failed: BTreeMap<String, usize>,
    retries: u64,
}

impl Summary {
    pub(crate) fn new(list: &UrlList) -> Self {
        Self {
            start: Instant::now(),
            time: Duration::ZERO,
            listed: list.urls.len(),
            malformed: list.malformed.len(),
            fetched: 0,
            bytes: 0,
            failed: BTreeMap::new(),
            retries: 0,
        }
    }

    /// Counts a page, by its length or by the reason why it could not be fetched.
    pub(crate) fn count(&mut self, outcome: Result<u64, String>) {
        match outcome {
            Ok(bytes) => {
                self.fetched += 1;
                self.bytes += bytes;
            }
            Err(reason) => *self.failed.entry(reason).or_default() += 1,
        }
    }

    pub(crate) fn end(&mut self, retries: u64) {
        self.time = self.start.elapsed();
        self.retries = retries;
    }

    /// The part of a progress line about failures.
    pub(crate) fn failures(&self) -> String {
        match self.failed() {
            0 => String::new(),
            failed => format!("{failed} failed, "),
        }
    }

    /// 0 if every listed page was fetched, else 1; 2 if nothing was listed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.listed + self.malformed {
            0 => ExitCode::from(2),
            all if all == self.fetched => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }

    fn failed(&self) -> usize {
        self.failed.values().sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.listed + self.malformed == 0 {
            return writeln!(f, "the list has no URL in it");
        }
        writeln!(
            f,
            "fetched    {:>6}  {}",
            self.fetched,
            HumanBytes(self.bytes)
        )?;
        writeln!(f, "failed     {:>6}", self.failed())?;
        for (reason, count) in &self.failed {
            writeln!(f, "           {count:>6}  {reason}")?;
        }
        if self.malformed > 0 {
            writeln!(f, "malformed  {:>6}", self.malformed)?;
        }
        let left = self.listed - self.fetched - self.failed();
        if left > 0 {
            writeln!(f, "not done   {left:>6}")?;
        }
        writeln!(f, "retries    {:>6}", self.retries)?;
        writeln!(f, "time       {:>6.1}  s", self.time.as_secs_f64())
    }
}
