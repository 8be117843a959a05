//! Where letters wait on this machine while the database is away.

use std::{
    num::NonZeroU64,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use courteous_dead_letter::{
    BoxFuture, Filter, Letter, LetterId, LetterStore, Mark, Page, PushError, Reason, StateKind,
    StoreError,
};

/// A separate, bounded store that holds letters until the database is back.
#[derive(Clone, Debug)]
pub(crate) struct Spill {
    store: Arc<dyn LetterStore>,
    max: u64,
    /// How many letters there are. A push that is under way counts too, until it is known to have
    /// failed.
    count: u64,
}

impl Spill {
    pub(crate) fn new(store: impl LetterStore + 'static, max: NonZeroU64) -> Self {
        Self {
            store: Arc::new(store),
            max: max.get(),
            count: 0,
        }
    }

    /// Counts the letters that an earlier process has left.
    pub(crate) async fn recount(&mut self) -> Result<(), StoreError> {
        self.count = self.store.stats().await?.undelivered();
        Ok(())
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Keeps letters, all in one commit if the store can do that. The answers are in the letters'
    /// order.
    pub(crate) async fn keep(&mut self, letters: Vec<Letter>) -> Vec<Result<(), PushError>> {
        let mut keeping = Vec::new();
        for letter in letters {
            keeping.push((self.count < self.max).then(|| self.store.push(waiting(letter))));
            self.count = (self.count + 1).min(self.max);
        }
        let mut kept = Vec::new();
        for push in keeping {
            kept.push(match push {
                None => Err(PushError::Full),
                Some(push) => push.await.inspect_err(|_| self.count -= 1),
            });
        }
        kept
    }

    /// The oldest letters after the letter with the id `after`.
    pub(crate) async fn next(
        &self,
        after: Option<LetterId>,
        limit: u32,
    ) -> Result<Vec<Letter>, StoreError> {
        let page = match after {
            None => Page::first(limit),
            Some(after) => Page::after(after, limit),
        };
        let filter = Filter::new().with_state(StateKind::Pending);
        let records = self.store.list(filter, page).await?;
        let letters = records.into_iter().map(|record| as_it_was(record.letter));
        Ok(letters.collect())
    }

    /// Removes letters that the database has.
    pub(crate) async fn forget(&mut self, ids: &[LetterId]) -> Result<(), StoreError> {
        let marks = ids.iter().map(|id| self.store.mark(*id, Mark::Discarded));
        let marked = all(marks.collect()).await;
        let forgotten = marked.iter().filter(|marked| marked.is_ok()).count();
        self.count = self.count.saturating_sub(forgotten as u64);
        self.store.purge(Duration::ZERO).await?;
        marked.into_iter().collect()
    }
}

/// The tag that holds the reason of a letter that was already expired when it was pushed.
const REASON: &str = "courteous-spilled-for";

/// The letter as it waits here. A letter that was already expired when it was pushed waits as the
/// others do: it must not be purged with the letters that were handed over. So its reason moves to
/// a tag. To mark the letter as pending would lose its `not_before`.
fn waiting(mut letter: Letter) -> Letter {
    let reason = letter.failure.reason;
    if reason.is_end() {
        letter.tags = letter.tags.with(REASON, reason.as_str());
        letter.failure.reason = Reason::WaitTooLong;
    }
    letter
}

/// The opposite of [`waiting`].
fn as_it_was(mut letter: Letter) -> Letter {
    let reason = letter.tags.get(REASON).and_then(|word| word.parse().ok());
    if let Some(reason) = reason {
        letter.failure.reason = reason;
        let tags = letter.tags.iter().filter(|(name, _)| *name != REASON);
        letter.tags = tags.collect();
    }
    letter
}

/// Waits for all the futures at once.
async fn all<T>(mut futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut done: Vec<_> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx: &mut Context<'_>| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(output) = Pin::new(future).poll(cx)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}
