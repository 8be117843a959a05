use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use courteous_core::{BoxError, Classified, Verdict};
use http::request::Parts;
use tokio::sync::Notify;

use crate::{
    Answer, Call, Calls, Mismatch, Script, UnexpectedCall,
    call::End,
    script::{Turn, Used},
};

/// The script, and what has come of it so far: what all clones of a service share.
pub(crate) struct Record {
    script: Script,
    state: Mutex<State>,
    /// A call has come.
    came: Notify,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    used: Used,
}

/// What was decided on a call.
pub(crate) enum Decided {
    Answer(Answer),
    Unexpected(UnexpectedCall),
}

impl Record {
    pub(crate) fn new(script: Script) -> Arc<Self> {
        Arc::new(Self {
            script,
            state: Mutex::default(),
            came: Notify::new(),
        })
    }

    /// Records a call. Its number, and what it gets.
    pub(crate) fn begin(&self, head: Parts) -> (usize, Turn) {
        let mut call = Call::new(head);
        // Not under the lock: this asks the caller's closure.
        let (place, script) = self.script.find(&call);
        let taken = {
            let mut state = self.lock();
            let used = state.used.entry(place).or_default();
            let turn = script.turn(*used);
            *used = used.saturating_add(1);
            let number = state.calls.len().saturating_add(1);
            call.set_number(number);
            call.is_unexpected = matches!(turn, Turn::Unexpected(_));
            state.calls.push(call);
            (number, turn)
        };
        self.came.notify_waiters();
        taken
    }

    /// Decides on a call whose request was read as far as its answer wants it. Asks the caller's
    /// closure.
    pub(crate) fn decide(&self, number: usize, turn: Turn) -> Decided {
        let answer = match turn {
            Turn::Given(answer) => answer,
            Turn::Ask(with) => {
                let Some(call) = self.lock().calls.get(number - 1).cloned() else {
                    return Decided::Answer(Answer::never());
                };
                with(&call)
            }
            Turn::Unexpected(answers) => {
                let mut line = String::new();
                self.edit(number, |call| {
                    line = call.line();
                    call.decide("unexpected".to_owned(), false);
                });
                return Decided::Unexpected(UnexpectedCall::new(number, line, answers));
            }
        };
        let (told, is_processed) = (answer.to_string(), answer.is_processed());
        self.edit(number, |call| {
            call.is_invalid = answer.is_invalid();
            call.decide(told, is_processed);
        });
        Decided::Answer(answer)
    }

    /// Changes what is recorded of a call.
    pub(crate) fn edit(&self, number: usize, edit: impl FnOnce(&mut Call)) {
        let mut state = self.lock();
        if let Some(call) = state.calls.get_mut(number.wrapping_sub(1)) {
            edit(call);
        }
    }

    pub(crate) fn end(&self, number: usize, end: End) {
        self.edit(number, |call| call.set_end(end));
    }

    pub(crate) fn calls(&self) -> Calls {
        Calls::new(self.lock().calls.clone())
    }

    pub(crate) fn verify(&self) -> Result<(), Mismatch> {
        let (calls, used) = {
            let state = self.lock();
            (state.calls.clone(), state.used.clone())
        };
        let mut differences = self.script.unmet(&used);
        for call in &calls {
            let (number, line) = (call.number(), call.line());
            if call.is_unexpected {
                differences.push(format!("unexpected call #{number}, {line}"));
            }
            if call.is_invalid {
                differences.push(format!("call #{number}, {line}, got an invalid answer"));
            }
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(Mismatch::new(differences, Calls::new(calls))),
        }
    }

    /// Waits until `calls` calls have come.
    pub(crate) async fn wait_for(&self, calls: usize) {
        loop {
            let mut came = std::pin::pin!(self.came.notified());
            // From here on no call is missed.
            came.as_mut().enable();
            if self.lock().calls.len() >= calls {
                return;
            }
            came.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error of the script's own, which no retry makes up for.
pub(crate) fn permanent(error: impl Into<BoxError>) -> BoxError {
    Classified::new(Verdict::Permanent, error).into()
}
