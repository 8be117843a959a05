use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    thread,
    time::Duration,
};

use courteous_core::{RequestLine, timer};
use http_body::Body;
use tokio::{
    task::coop,
    time::{Instant, Sleep},
};

use super::{
    collect::Collect,
    events::{self, Subject},
    settings::Settings,
};
use crate::{
    BoxFuture, DeadLettered, Letter, LetterEvent, LetterId, LetterOutcome, NotRecorded,
    NotRecordedCause, Payload, PushError, Reason,
};

/// A letter on its way to the sink.
///
/// If it is dropped before the sink has the letter, the letter is handed over with as much of its
/// body as was read.
pub(crate) struct Recording<B: Body> {
    settings: Arc<Settings>,
    id: LetterId,
    reason: Reason,
    subject: Subject,
    state: State<B>,
    /// For the hook, if there is one.
    shown: Option<Letter>,
    timer: Timer,
    body_timer: Timer,
}

/// The rest of a streamed body may take this long, and at most half of the time to record. Then the
/// letter goes without it.
const BODY_TIME: Duration = Duration::from_secs(1);

enum State<B> {
    /// The body is being read.
    Collecting {
        letter: Box<Letter>,
        body: Collect<B>,
    },
    /// The sink has the letter.
    Pushed(BoxFuture<'static, Result<(), PushError>>),
    /// The letter must not be recorded.
    Rejected(NotRecordedCause),
    Done,
}

/// The result of a recording.
pub(crate) type Recorded = Result<DeadLettered, NotRecorded>;

impl<B: Body> Recording<B> {
    pub(crate) fn new(
        settings: Arc<Settings>,
        line: RequestLine,
        letter: Letter,
        body: Option<Collect<B>>,
        rejection: Option<NotRecordedCause>,
    ) -> Self {
        let timeout = settings.record_timeout;
        let mut recording = Self {
            settings,
            id: letter.id,
            reason: letter.failure.reason,
            subject: Subject::new(line, letter.failure.last_status),
            state: State::Done,
            shown: None,
            timer: Timer::new(timeout),
            body_timer: Timer::new(BODY_TIME.min(timeout / 2)),
        };
        if let Some(cause) = rejection {
            recording.show(&letter);
            recording.state = State::Rejected(cause);
        } else if let Some(body) = body {
            recording.state = State::Collecting {
                letter: Box::new(letter),
                body,
            };
        } else {
            recording.push(letter);
        }
        recording
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Recorded> {
        let mut result = self.advance(cx, false);
        if let State::Collecting { .. } = self.state {
            ready!(self.body_timer.poll(cx));
            result = self.advance(cx, true);
        }
        let result = match result {
            Poll::Ready(result) => result,
            Poll::Pending => {
                ready!(self.timer.poll(cx));
                Err(NotRecordedCause::TimedOut(self.settings.record_timeout))
            }
        };
        Poll::Ready(self.end(result))
    }

    /// Goes as far as possible without waiting. If the body's time is over, the letter takes what
    /// was read of it.
    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        is_body_over: bool,
    ) -> Poll<Result<(), NotRecordedCause>> {
        loop {
            match &mut self.state {
                State::Collecting { letter, body } => {
                    letter.payload = match body.poll(cx) {
                        Poll::Ready(payload) => payload,
                        Poll::Pending if is_body_over => Payload::Gone,
                        Poll::Pending => return Poll::Pending,
                    };
                    self.push_collected();
                }
                State::Pushed(receipt) => {
                    let result = ready!(receipt.as_mut().poll(cx));
                    let rejected = |error| NotRecordedCause::Rejected(Arc::new(error));
                    return Poll::Ready(result.map_err(rejected));
                }
                State::Rejected(cause) => return Poll::Ready(Err(cause.clone())),
                State::Done => return Poll::Pending,
            }
        }
    }

    fn end(&mut self, result: Result<(), NotRecordedCause>) -> Recorded {
        self.state = State::Done;
        match result {
            Ok(()) => {
                self.tell(LetterOutcome::Recorded);
                Ok(DeadLettered::new(self.id, self.reason))
            }
            Err(cause) => {
                let error = NotRecorded::new(self.id, self.reason, cause);
                self.tell(LetterOutcome::NotRecorded(&error));
                Err(error)
            }
        }
    }

    fn push_collected(&mut self) {
        if let State::Collecting { mut letter, .. } =
            std::mem::replace(&mut self.state, State::Done)
        {
            if let Some(scrubber) = &self.settings.body_scrubber {
                let withheld = &letter.withheld.headers;
                letter.payload = scrubber.scrub(&letter.headers, withheld, letter.payload);
            }
            self.push(*letter);
        }
    }

    fn push(&mut self, letter: Letter) {
        self.show(&letter);
        self.state = State::Pushed(self.settings.sink.push(letter));
    }

    fn show(&mut self, letter: &Letter) {
        self.shown = self.settings.on_letter.as_ref().map(|_| letter.clone());
    }

    fn tell(&self, outcome: LetterOutcome<'_>) {
        self.settings.counts.count(outcome);
        events::settled(self.id, self.reason, &self.subject, outcome);
        if let (Some(on_letter), Some(letter)) = (&self.settings.on_letter, &self.shown) {
            on_letter(&LetterEvent::new(letter, outcome));
        }
    }
}

impl<B: Body> Drop for Recording<B> {
    fn drop(&mut self) {
        if let State::Collecting { body, .. } = &mut self.state
            && thread::panicking()
        {
            // If the body panicked again while it is dropped, the process would end.
            body.forget();
        }
        if matches!(self.state, State::Done) {
            return;
        }
        match self.advance(&mut Context::from_waker(Waker::noop()), true) {
            Poll::Ready(result) => drop(self.end(result)),
            Poll::Pending => self.tell(LetterOutcome::HandedOver),
        }
    }
}

/// A timer that is created at the first wait.
struct Timer {
    /// `None` if there is no end.
    end: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn new(timeout: Duration) -> Self {
        // Tokio rounds a timer up to its next millisecond with an addition that is not checked.
        let end = Instant::now().checked_add(timeout);
        let is_safe = |end: &Instant| end.checked_add(Duration::from_millis(1)).is_some();
        Self {
            end: end.filter(is_safe),
            sleep: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(end) = self.end else {
            return Poll::Pending;
        };
        if end <= Instant::now() {
            return Poll::Ready(());
        }
        if self.sleep.is_none() {
            self.sleep = timer(end).map(Box::pin).ok();
        }
        let Some(sleep) = &mut self.sleep else {
            // There is no runtime, so the future is polled again and again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        // Not limited by the task's budget, as the future that this timer bounds may always spend
        // the whole budget.
        pin!(coop::unconstrained(sleep.as_mut())).poll(cx)
    }
}
