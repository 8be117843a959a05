//! Eight processes share one quota, through a Redis.
//!
//! ```text
//! cargo run --example shared_quota -- --workers 8 --rate 200/s
//! ```
//!
//! It starts its own Redis on a free port (`--redis URL` uses another), a server that counts its
//! requests, and worker processes. Each worker sends as much as the shared throttle allows. Then it
//! prints what each worker has sent, the window of time in which all workers together came closest
//! to the quota, and how often they asked Redis.
//!
//! The exit code is 0 if in *every* window `w` at most `burst + rate * w` requests were sent, and 1
//! if not. Without a `redis-server` there is nothing to show: then the exit code is also 0, but 1
//! with `CI=true`.

mod server;
mod worker;

use std::{
    env,
    error::Error,
    net::SocketAddr,
    num::NonZeroU32,
    panic,
    process::{Command, ExitCode},
    time::Duration,
};

use clap::{Parser, Subcommand};
use courteous_core::Rate;
use courteous_test_servers::{Process, Redis, jain_index};
use tokio::time::sleep;

use crate::server::CountingServer;

#[derive(Debug, Parser)]
#[command(about = "Shares one quota among worker processes, through a Redis")]
struct Args {
    /// How many worker processes there are.
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    /// What all workers together may send, such as `200/s` or `90/m`.
    #[arg(long, default_value = "200/s")]
    rate: Rate,
    /// What they may send at once. The default is what comes back in half a second, and at least 2.
    #[arg(long)]
    burst: Option<NonZeroU32>,
    /// How long the workers work.
    #[arg(long, default_value = "8")]
    seconds: u64,
    /// Which part of the quota the workers ask for together, such as `0.5`. The default is as much as is let through.
    #[arg(long)]
    load: Option<f64>,
    /// The Redis to use, such as `redis://127.0.0.1:6379`. The default is one of its own.
    #[arg(long)]
    redis: Option<String>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Is one of the workers.
    #[command(hide = true)]
    Worker {
        redis: String,
        number: usize,
        server: SocketAddr,
        key: String,
    },
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    if let Some(role) = &args.role {
        return worker::run(role, &args).await;
    }
    if let Some(redis) = &args.redis {
        return fleet(&args, redis).await;
    }
    // If there is no Redis, `start` has printed that, and panics with `CI=true`.
    match panic::catch_unwind(Redis::start) {
        Ok(Some(redis)) => fleet(&args, &redis.url()).await,
        Ok(None) => Ok(ExitCode::SUCCESS),
        Err(_) => Ok(ExitCode::FAILURE),
    }
}

impl Args {
    fn quota(&self) -> Rate {
        let default = || {
            let half = Duration::from_millis(500).as_nanos() / self.rate.interval().as_nanos();
            let half = u32::try_from(half.max(2)).unwrap_or(u32::MAX);
            NonZeroU32::new(half).unwrap_or(NonZeroU32::MIN)
        };
        self.rate.with_burst(self.burst.unwrap_or_else(default))
    }

    /// The mean time between two calls of one worker, unless it sends as fast as possible.
    fn gap(&self) -> Option<Duration> {
        let load = self.load.filter(|load| load.is_finite() && *load > 0.0)?;
        let workers = f64::from(self.workers);
        Some(self.rate.interval().mul_f64(workers / load))
    }
}

async fn fleet(args: &Args, redis: &str) -> Outcome<ExitCode> {
    let rate = args.quota();
    let burst = rate.burst().get();
    let per_second = rate.tokens() as f64 * 1e9 / rate.per() as f64;
    println!(
        "{per_second} per second and {burst} at once, for {} workers together",
        args.workers
    );

    let server = CountingServer::start().await?;
    // A new name for each run, as a Redis that is not ours may remember the previous run.
    let key = format!("shared-quota-{}-{}", std::process::id(), server.address());
    let calls = script_calls(redis).await?;
    let workers = (0..args.workers).map(|number| {
        Process::spawn(
            Command::new(env::current_exe()?)
                .args(env::args_os().skip(1))
                .args(["worker", redis, &number.to_string()])
                .args([&server.address().to_string(), &key]),
        )
    });
    let workers = workers.collect::<Result<Vec<_>, _>>()?;
    sleep(Duration::from_secs(args.seconds)).await;
    drop(workers);
    let calls = script_calls(redis).await? - calls;
    Ok(report(args, &server, calls))
}

fn report(args: &Args, server: &CountingServer, calls: u64) -> ExitCode {
    let sends = server.sends();
    let counts = sends.by_worker(usize::from(args.workers), 0);
    for (worker, count) in counts.iter().enumerate() {
        println!("worker {worker:2}: {count:6} requests");
    }
    println!(
        "together:  {:6} requests, as the server counts them",
        sends.len()
    );
    let Some(worst) = sends.worst(args.quota()) else {
        println!("nothing was sent");
        return ExitCode::FAILURE;
    };
    println!("worst window: {worst}");
    println!("fairness: {:.4} (Jain's index)", jain_index(&counts));
    let per_request = calls as f64 / sends.len() as f64;
    println!("Redis: {per_request:.3} calls per request");
    let waits = server.waits();
    if args.load.is_some() && !waits.is_empty() {
        let part = |percent: usize| waits[waits.len() * percent / 100];
        let (p50, p99) = (part(50), part(99));
        println!("throttle: p50 {p50:.1?}, p99 {p99:.1?} from call to send");
    }
    if worst.is_within() {
        ExitCode::SUCCESS
    } else {
        println!("MORE THAN THE QUOTA");
        ExitCode::FAILURE
    }
}

/// How many scripts Redis has run, by its own count.
async fn script_calls(redis: &str) -> Outcome<u64> {
    let client = redis::Client::open(redis)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut info = redis::cmd("INFO");
    let stats: String = info
        .arg("commandstats")
        .query_async(&mut connection)
        .await?;
    let calls = |command: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(command))?;
        let calls = line.strip_prefix(":calls=")?.split(',').next()?;
        calls.parse::<u64>().ok()
    };
    let commands = ["cmdstat_evalsha", "cmdstat_eval"];
    Ok(commands.iter().filter_map(|command| calls(command)).sum())
}
