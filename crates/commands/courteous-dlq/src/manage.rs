//! Commands that only look at letters, or change their state by hand.

use std::{io, time::Duration};

use courteous::BoxError;
use courteous_dead_letter::{Filter, LetterId, LetterStore, Mark, Page, Record, StoreError};
use serde_json::{Value, json};

use crate::{
    args,
    exit::Exit,
    output::{Output, report},
    view,
};

/// How many letters are read at once: each may have a large body.
const PAGE: u32 = 200;

pub(crate) async fn list(
    store: &dyn LetterStore,
    args: args::List,
    output: Output,
) -> Result<Exit, BoxError> {
    let filter = args.select.filter(args.state);
    let shown = each(store, filter, args.limit.get(), |record| {
        output.write(&view::json(record, false), || view::line(record) + "\n")
    });
    let shown = shown.await?;
    if shown.letters == args.limit.get() && output == Output::People {
        report("there may be more: see --limit");
    }
    Ok(shown.exit)
}

pub(crate) async fn show(
    store: &dyn LetterStore,
    args: args::Show,
    output: Output,
) -> Result<Exit, BoxError> {
    let record = match store.get(args.id).await {
        Ok(Some(record)) => record,
        Ok(None) => {
            report(&format!("{}: there is no such letter", args.id));
            return Ok(Exit::NotFound);
        }
        Err(error @ StoreError::Corrupt { .. }) => {
            report(&error.to_string());
            return Ok(Exit::Unreadable);
        }
        Err(error) => return Err(error.into()),
    };
    output.write(&view::json(&record, args.body), || {
        view::page(&record, args.body)
    })?;
    Ok(Exit::Done)
}

pub(crate) async fn export(store: &dyn LetterStore, args: args::Export) -> Result<Exit, BoxError> {
    let filter = args.select.filter(args.state);
    let shown = each(store, filter, usize::MAX, |record| {
        Output::Json.write(&view::json(record, args.bodies), String::new)
    });
    Ok(shown.await?.exit)
}

pub(crate) async fn stats(store: &dyn LetterStore, output: Output) -> Result<Exit, BoxError> {
    let stats = store.stats().await?;
    output.write(&view::stats_json(&stats), || view::stats_page(&stats))?;
    Ok(match stats.unreadable {
        0 => Exit::Done,
        _ => Exit::Unreadable,
    })
}

pub(crate) async fn mark(
    store: &dyn LetterStore,
    ids: Vec<LetterId>,
    mark: Mark,
    output: Output,
) -> Result<Exit, BoxError> {
    let mut exit = Exit::Done;
    let (mut marked, mut failed) = (Vec::new(), Vec::new());
    for id in ids {
        match store.mark(id, mark).await {
            Ok(()) => marked.push(id.to_string()),
            Err(error @ (StoreError::NotFound | StoreError::Claimed { .. })) => {
                report(&format!("{id}: {error}"));
                failed.push(json!({ "id": id.to_string(), "error": error.to_string() }));
                exit = Exit::NotFound;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let json: Value = json!({ "changed": marked, "not_changed": failed });
    output.write(&json, || format!("{} changed\n", marked.len()))?;
    Ok(exit)
}

pub(crate) async fn purge(
    store: &dyn LetterStore,
    older_than: Duration,
    output: Output,
) -> Result<Exit, BoxError> {
    let purged = store.purge(older_than).await?;
    output.write(&json!({ "purged": purged }), || {
        format!("{purged} deleted\n")
    })?;
    Ok(Exit::Done)
}

/// What [`each`] has shown.
struct Shown {
    letters: usize,
    exit: Exit,
}

/// Shows the first letters, and reports the unreadable letters before the last shown one.
async fn each(
    store: &dyn LetterStore,
    mut filter: Filter,
    limit: usize,
    mut show: impl FnMut(&Record) -> io::Result<()>,
) -> Result<Shown, BoxError> {
    let (mut shown, mut page) = (0, Page::first(PAGE));
    while shown < limit {
        let left = u32::try_from(limit - shown).unwrap_or(PAGE);
        page.limit = left.min(PAGE);
        let records = store.list(filter.clone(), page).await?;
        let Some(last) = records.last() else { break };
        page.after = Some(last.letter.id);
        records.iter().try_for_each(&mut show)?;
        shown += records.len();
    }
    if let Some(last) = page.after.filter(|_| shown == limit) {
        filter.before = Some(last.recorded_at() + Duration::from_millis(1));
    }
    Ok(Shown {
        letters: shown,
        exit: report_unreadable(store, filter).await?,
    })
}

async fn report_unreadable(store: &dyn LetterStore, filter: Filter) -> Result<Exit, BoxError> {
    let (mut exit, mut page) = (Exit::Done, Page::first(PAGE));
    loop {
        let found = store.unreadable(filter.clone(), page).await?;
        for unreadable in &found {
            report(&unreadable.to_string());
            exit = Exit::Unreadable;
        }
        page.after = found.last().and_then(|last| last.id);
        if page.after.is_none() {
            return Ok(exit);
        }
    }
}
