//! A store compared with the one in memory.

use std::sync::Arc;

use courteous_core::Dice;
use http::StatusCode;

use super::steps::{Any, HOUR, fence, letter};
use crate::{
    Claim, Clock, Failure, Filter, Letter, Mark, MemoryStore, Page, Reason, Record, Settlement,
    State, StateKind, StoreError,
};

/// Takes the same random steps on this store and on the one in memory, whose promises are each a
/// line of plain code. Both must give the same results.
pub async fn it_does_the_same_as_the_store_in_memory(store: &Any, clock: &Clock) {
    let model: Any = Arc::new(MemoryStore::new().with_clock(clock.clone()));
    let dice = &Dice::seeded(42);
    // No two times are ever equal, so that a store whose clock keeps running gives the same
    // results.
    let quarter = HOUR / 4;
    let mut ids = Vec::new();
    let mut fences = Vec::new();
    for step in 0..250 {
        match below(dice, 8) {
            0 | 1 => {
                let reason = pick(dice, &Reason::ALL[..3]).unwrap();
                let mut letter = letter(clock, below(dice, 48) as u32 * HOUR, reason);
                if below(dice, 4) == 0 {
                    letter.failure.not_before = Some(clock.now() + 3 * HOUR + quarter);
                }
                ids.push(letter.id);
                model.push(letter.clone()).await.unwrap();
                store.push(letter).await.unwrap();
            }
            2 | 3 => {
                let mut claim = Claim::new(below(dice, 4) as u32, 2 * HOUR + quarter);
                claim.after = (below(dice, 2) == 0).then(|| pick(dice, &ids)).flatten();
                claim.filter.reason = (below(dice, 4) == 0).then_some(Reason::ALL[0]);
                let expected = model.claim(claim.clone()).await.unwrap().records;
                let claimed = store.claim(claim).await.unwrap().records;
                assert_eq!(timeless(&claimed), timeless(&expected), "step {step}");
                fences.extend(
                    claimed
                        .iter()
                        .map(|record| (record.letter.id, fence(record))),
                );
            }
            4 | 5 => {
                let Some((id, fence)) = pick(dice, &fences) else {
                    continue;
                };
                let failure = Failure::new(pick(dice, &Reason::ALL[..3]).unwrap(), clock.now());
                let status = StatusCode::CREATED;
                let outcome = match below(dice, 6) {
                    0 => Settlement::Delivered { status },
                    1 => Settlement::Refused { status },
                    2 => Settlement::Failed(failure),
                    3 => Settlement::Exhausted(failure),
                    4 => Settlement::Expired,
                    _ => Settlement::Released,
                };
                let expected = model.settle(id, fence, outcome.clone()).await;
                let settled = store.settle(id, fence, outcome).await;
                assert_eq!(text(settled), text(expected), "step {step}");
            }
            6 => {
                let Some(id) = pick(dice, &ids) else {
                    continue;
                };
                let marks = [Mark::Pending, Mark::Discarded, Mark::Expired];
                let mark = pick(dice, &marks).unwrap();
                let expected = model.mark(id, mark).await;
                assert_eq!(
                    text(store.mark(id, mark).await),
                    text(expected),
                    "step {step}"
                );
            }
            _ if below(dice, 4) == 0 => {
                let age = below(dice, 9) as u32 * HOUR + quarter;
                clock.advance(HOUR / 2);
                let expected = model.purge(age).await.unwrap();
                assert_eq!(store.purge(age).await.unwrap(), expected, "step {step}");
            }
            _ => clock.advance(HOUR),
        }
        let page = Page::first(1000);
        let expected = model.list(Filter::new(), page).await.unwrap();
        let listed = store.list(Filter::new(), page).await.unwrap();
        assert_eq!(timeless(&listed), timeless(&expected), "step {step}");
    }
    let (stats, expected) = (store.stats().await.unwrap(), model.stats().await.unwrap());
    assert_eq!(stats.counts, expected.counts);
    assert!(fences.len() > 20 && stats.counts.len() > 5, "{stats:?}");
}

/// A number below `end`, which is not zero.
fn below(dice: &Dice, end: u64) -> u64 {
    dice.roll() % end
}

fn pick<T: Copy>(dice: &Dice, all: &[T]) -> Option<T> {
    (!all.is_empty()).then(|| all[below(dice, all.len() as u64) as usize])
}

fn text<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    }
}

/// The parts on which two stores must agree if their clocks differ by a moment.
fn timeless(records: &[Record]) -> Vec<(&Letter, StateKind, Option<u64>, u32)> {
    let timeless = |record: &Record| match record.state {
        State::Claimed { fence, .. } => Some(fence),
        _ => None,
    };
    let all = records.iter();
    all.map(|record| {
        (
            &record.letter,
            record.state.kind(),
            timeless(record),
            record.redrives,
        )
    })
    .collect()
}
