use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
};

use courteous::BoxError;
use courteous_dead_letter::{
    Clock, LetterId, LetterStore, Progress, Reason, Redrive, RedriveOutcome, State, StateKind,
    StoreError, Summary,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::signal::ctrl_c;

use crate::{
    args, client,
    exit::Exit,
    fresh_headers::{FreshHeaders, Unusable},
    output::{Output, report},
    view,
    window::Window,
    with_causes,
};

/// Sends letters again.
pub(crate) async fn replay(
    store: &dyn LetterStore,
    args: args::Replay,
    output: Output,
) -> Result<Exit, BoxError> {
    let fresh = match FreshHeaders::parse(&args.headers) {
        Ok(fresh) => fresh,
        Err(error @ Unusable::Value(_)) => return Err(error.into()),
        Err(error) => {
            report(&format!("error: {error}"));
            return Ok(Exit::Usage);
        }
    };
    let client = client::client(args.timeout, args.rate, args.concurrency)?;
    let limit = args.limit.map_or(usize::MAX, Into::into);
    let bar = progress_bar(store, &args, limit).await?;
    let teller = Teller {
        output,
        bar: bar.clone(),
        told: Mutex::default(),
    };
    let window = Window::new(store, limit);
    let mut redrive = Redrive::new()
        .with_concurrency(args.concurrency)
        .with_total_timeout(args.timeout)
        .with_key_lifetime(args.key_lifetime)
        .with_filter(args.select.filter(None))
        .with_dry_run(args.dry_run)
        .with_on_progress(move |progress| teller.tell(progress));
    if !args.headers.is_empty() {
        redrive = redrive.with_secrets(move |letter: &_| fresh.secrets(letter));
    }

    let once = args.ids.iter().map(|id| (*id, false));
    let twice = args.i_know_it_may_run_twice.iter().map(|id| (*id, true));
    let chosen: Vec<_> = once.chain(twice).collect();
    let run = async {
        if chosen.is_empty() {
            let summary = redrive.run(&window, client).await?;
            let claimed = store.stats().await?.in_state(StateKind::Claimed);
            if claimed > 0 {
                report(&format!(
                    "{claimed} more are claimed: by another replay, or until the lease of one that was killed ends"
                ));
            }
            return Ok((summary, Exit::Done));
        }
        let (mut sum, mut exit) = (Summary::default(), Exit::Done);
        for (id, twice) in chosen {
            let redrive = redrive.clone().with_id(id).with_may_run_twice(twice);
            let summary = redrive.run(&window, client.clone()).await?;
            if summary.total() == 0 && !window.is_closed() {
                report(&why_not(store, id).await?);
                exit = Exit::NotFound;
            }
            add(&mut sum, &summary);
        }
        Ok::<_, StoreError>((sum, exit))
    };
    let (summary, exit) = until_interrupted(run, &window).await?;
    bar.finish_and_clear();
    output.write(&summary_json(&summary), || summary_line(&summary))?;
    Ok(match (window.is_closed(), summary.is_success()) {
        (true, _) => Exit::Interrupted,
        (false, false) => Exit::Undelivered,
        (false, true) => exit,
    })
}

/// The first Ctrl-C lets the letters in flight finish and be settled. The second Ctrl-C does not:
/// those letters stay claimed until their lease ends.
async fn until_interrupted<T>(
    run: impl Future<Output = Result<T, StoreError>>,
    window: &Window<'_>,
) -> Result<T, BoxError> {
    let mut run = pin!(run);
    let interrupted = async {
        // If there is no such signal, there is nothing to wait for.
        if ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        done = &mut run => return Ok(done?),
        () = interrupted => window.close(),
    }
    report(
        "interrupted: what is under way comes to its end; a second Ctrl-C leaves it claimed until its lease ends",
    );
    tokio::select! {
        done = &mut run => Ok(done?),
        _ = ctrl_c() => Err("interrupted twice: letters that were under way are claimed until their lease ends".into()),
    }
}

/// Why a letter that was requested by its id was not tried.
async fn why_not(store: &dyn LetterStore, id: LetterId) -> Result<String, StoreError> {
    let Some(record) = store.get(id).await? else {
        return Ok(format!("{id}: there is no such letter"));
    };
    Ok(match record.state {
        State::Pending => match record.letter.failure.not_before {
            Some(then) if then > Clock::system().now() => {
                format!("{id} is not due before {}", view::time(then))
            }
            _ => format!("{id} is none of those that were selected"),
        },
        State::Expired => match view::never_again(&record) {
            Some(why) => format!("{id} is expired: {why}"),
            None => format!("{id} is expired"),
        },
        state => format!("{id} is {}", state.kind()),
    })
}

/// On a terminal only.
async fn progress_bar(
    store: &dyn LetterStore,
    args: &args::Replay,
    limit: usize,
) -> Result<ProgressBar, BoxError> {
    let bar = ProgressBar::no_length();
    if bar.is_hidden() {
        return Ok(bar);
    }
    let chosen = args.ids.len() + args.i_know_it_may_run_twice.len();
    let letters = match chosen {
        0 => store.stats().await?.undelivered(),
        chosen => chosen as u64,
    };
    bar.set_length(letters.min(limit as u64));
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {msg}{eta} left")?;
    Ok(bar.with_style(style))
}

/// Reports what was done with each letter: every letter to scripts, and only undelivered letters to
/// people.
struct Teller {
    output: Output,
    bar: ProgressBar,
    /// One line at a time.
    told: Mutex<()>,
}

impl Teller {
    fn tell(&self, progress: &Progress<'_>) {
        let (id, outcome) = (progress.id(), progress.outcome());
        let _one = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        self.bar.inc(1);
        let failed = progress.summary().total() - progress.summary().delivered;
        if failed > 0 {
            self.bar.set_message(format!("{failed} not delivered, "));
        }
        let is_fine = matches!(outcome, RedriveOutcome::Delivered { .. });
        if self.output == Output::Json || !is_fine {
            self.bar.suspend(|| {
                // A replay continues even if the output has no reader: the store has all this as
                // well.
                let _ = self.output.write(&outcome_json(id, outcome), || {
                    format!("{id}  {}\n", in_words(outcome))
                });
            });
        }
    }
}

fn outcome_json(id: LetterId, outcome: &RedriveOutcome) -> Value {
    let (word, status, why) = match outcome {
        RedriveOutcome::Delivered { status } => ("delivered", Some(status), None),
        RedriveOutcome::Refused { status } => ("refused", Some(status), None),
        RedriveOutcome::Failed { reason } => ("failed", None, Some(reason.to_string())),
        RedriveOutcome::Exhausted { reason } => ("exhausted", None, Some(reason.to_string())),
        RedriveOutcome::Expired => ("expired", None, None),
        RedriveOutcome::NotSent(why) => ("not_sent", None, Some(with_causes(why))),
        RedriveOutcome::Lost => ("lost", None, None),
        RedriveOutcome::WouldSend => ("would_send", None, None),
        other => ("other", None, Some(format!("{other:?}"))),
    };
    let status = status.map(|status| status.as_u16());
    json!({ "id": id.to_string(), "outcome": word, "status": status, "reason": why })
}

fn in_words(outcome: &RedriveOutcome) -> String {
    match outcome {
        RedriveOutcome::Delivered { status } => format!("delivered ({})", status.as_u16()),
        RedriveOutcome::Refused { status } => format!("refused ({})", status.as_u16()),
        RedriveOutcome::Failed { reason } => format!("failed again ({reason}), and is pending"),
        RedriveOutcome::Exhausted {
            reason: Reason::KeyRunsOut,
        } => format!("failed again, and is expired: {}", view::KEY_RUNS_OUT),
        RedriveOutcome::Exhausted { reason } => {
            format!("failed for the last time ({reason}), and is expired")
        }
        RedriveOutcome::Expired => "expired: too old, or sent too often".to_owned(),
        RedriveOutcome::NotSent(why) => format!("not sent: {}", with_causes(why)),
        RedriveOutcome::Lost => "claimed by another replay meanwhile".to_owned(),
        RedriveOutcome::WouldSend => "would be sent".to_owned(),
        other => format!("{other:?}"),
    }
}

fn summary_json(summary: &Summary) -> Value {
    json!({
        "delivered": summary.delivered,
        "refused": summary.refused,
        "failed": summary.failed,
        "expired": summary.expired,
        "not_sent": summary.not_sent,
        "lost": summary.lost,
        "would_send": summary.would_send,
        "stopped_early": summary.stopped_early,
    })
}

fn summary_line(summary: &Summary) -> String {
    let counts = [
        (summary.delivered, "delivered"),
        (summary.would_send, "would be sent"),
        (summary.refused, "refused"),
        (summary.failed, "failed again"),
        (summary.expired, "expired"),
        (summary.not_sent, "not sent"),
        (summary.lost, "claimed by another replay"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let mut line = match counts.is_empty() {
        true => "nothing to be sent".to_owned(),
        false => counts.join(", "),
    };
    if summary.stopped_early {
        line += "; stopped early, as too many failed in a row: is the server down?";
    }
    line + "\n"
}

fn add(sum: &mut Summary, summary: &Summary) {
    sum.delivered += summary.delivered;
    sum.refused += summary.refused;
    sum.failed += summary.failed;
    sum.expired += summary.expired;
    sum.not_sent += summary.not_sent;
    sum.lost += summary.lost;
    sum.would_send += summary.would_send;
    sum.stopped_early |= summary.stopped_early;
}
