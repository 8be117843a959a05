//! A replay body, compared with a model: the bytes of its source.
//!
//! The input is the limit, how the source ends, the number of its chunks and their lengths. Then
//! come the events, in any order: a chunk arrives, a copy is polled or dropped, the body is given
//! again, kept once more, or released.

#![no_main]

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use courteous_core::{BoxError, find_cause};
use courteous_body::{Kept, NotReplayable, Overtaken, Replay, ReplayBody};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use libfuzzer_sys::fuzz_target;
use tokio_test::task::{self, Spawn};

/// `grpc-status: 0`
const TRAILERS: usize = 12;

fuzz_target!(|data: &[u8]| {
    let [limit, end, count, rest @ ..] = data else {
        return;
    };
    let count = usize::from(count % 16).min(rest.len());
    let (lengths, events) = rest.split_at(count);
    let limit = if *limit == 255 {
        usize::MAX
    } else {
        usize::from(*limit) * 4
    };
    let mut world = World::new(limit, *end, lengths);
    for event in events {
        world.step(*event);
    }
    world.finish();
});

struct World {
    limit: usize,
    source: Source,
    whole: Vec<u8>,
    last: Step,
    /// What has not arrived yet.
    to_come: VecDeque<Step>,
    kept: Vec<Kept<Source>>,
    copies: Vec<Option<Copy>>,
    /// The most that any copy has read, and whether the source failed.
    taken: usize,
    failed: bool,
    /// Whether something was read while no half kept it.
    gone: bool,
}

struct Copy {
    body: Spawn<ReplayBody<Source>>,
    data: Vec<u8>,
    trailers: bool,
    ended: bool,
    parked: bool,
}

#[derive(Clone, PartialEq)]
enum Step {
    Data(Bytes),
    Trailers,
    Fail,
    End,
}

impl World {
    fn new(limit: usize, end: u8, lengths: &[u8]) -> Self {
        let last = match end % 4 {
            0 | 1 => Step::End,
            2 => Step::Trailers,
            _ => Step::Fail,
        };
        let mut next = 0..=u8::MAX;
        let chunks: Vec<Bytes> = lengths
            .iter()
            .map(|&length| next.by_ref().take(usize::from(length % 64)).collect())
            .collect();
        let whole = chunks.concat();
        let source = Source::new((end % 4 == 0).then_some(whole.len() as u64));
        let to_come = chunks
            .into_iter()
            .map(Step::Data)
            .chain([last.clone()])
            .collect();
        let (first, kept) = ReplayBody::new(source.clone()).keep(limit);
        let is_empty = first.is_end_stream();
        assert!(!is_empty || whole.is_empty());
        Self {
            limit,
            source,
            whole,
            last,
            to_come,
            kept: vec![kept],
            copies: vec![Some(Copy::new(first))],
            taken: 0,
            failed: false,
            gone: false,
        }
    }

    fn step(&mut self, event: u8) {
        let age = usize::from(event >> 4);
        match event & 0b1111 {
            0..4 => self.arrive(),
            4..9 => self.poll(0),
            9 | 10 => self.poll(age),
            11 => {
                if let Some(at) = self.copies.len().checked_sub(1 + age) {
                    self.copies[at] = None;
                }
            }
            12 if age == 0 => drop(self.kept.pop()),
            12 => {}
            _ => self.again(),
        }
        for kept in &self.kept {
            assert!(kept.kept_bytes() <= self.limit);
        }
    }

    fn arrive(&mut self) {
        if let Some(step) = self.to_come.pop_front() {
            self.source.push(step);
            if let Some(Some(newest)) = self.copies.last() {
                assert!(!newest.parked || newest.body.is_woken(), "a lost wake-up");
            }
        }
    }

    fn again(&mut self) {
        let Some(kept) = self.kept.first() else {
            return;
        };
        let fits = self.taken == 0 || self.taken <= self.limit;
        let expected = match (self.failed, fits && !self.gone) {
            (true, _) => Err(NotReplayable::SourceFailed),
            (false, true) => Ok(()),
            (false, false) => Err(NotReplayable::TooLarge),
        };
        assert_eq!(kept.check(), expected);
        let given = kept.again();
        assert_eq!(
            given.as_ref().map(|_| ()).map_err(|&reason| reason),
            expected
        );
        if let Ok(body) = given {
            assert_eq!(body.size_hint().exact(), self.source.lock().length);
            if let Some(Some(old)) = self.copies.last() {
                assert!(!old.parked || old.body.is_woken(), "not told to fail");
            }
            // The retry of a retry: a body that is given again can be kept, too.
            let (body, kept) = body.keep(self.limit);
            if self.kept.len() < 3 {
                self.kept.push(kept);
            }
            self.copies.push(Some(Copy::new(body)));
        }
    }

    fn poll(&mut self, age: usize) {
        let Some(at) = self.copies.len().checked_sub(1 + age) else {
            return;
        };
        let Some(copy) = &mut self.copies[at] else {
            return;
        };
        if copy.ended {
            return;
        }
        let (before, had_trailers) = (self.source.lock().polls, copy.trailers);
        match copy.poll() {
            Err(error) => {
                copy.ended = true;
                if age == 0 {
                    assert!(find_cause::<Overtaken>(&*error).is_none());
                    assert!(self.last == Step::Fail);
                    self.failed = true;
                } else {
                    assert!(!had_trailers);
                    assert!(find_cause::<Overtaken>(&*error).is_some());
                }
            }
            Ok(gave) => {
                let over =
                    had_trailers || (self.whole.is_empty() && self.source.lock().length == Some(0));
                assert!(age == 0 || (over && !gave), "an old copy was read");
                let read = copy.data.len() + if copy.trailers { TRAILERS } else { 0 };
                if read > self.taken {
                    self.taken = read;
                    self.gone |= self.kept.is_empty();
                }
            }
        }
        assert!(self.whole.starts_with(&copy.data));
        if copy.ended && !self.failed && age == 0 {
            assert_eq!(copy.data, self.whole);
            assert_eq!(copy.trailers, self.last == Step::Trailers);
        }
        assert!(self.source.lock().polls <= before + 1);
    }

    /// Left alone, the newest copy gives everything that there is.
    fn finish(&mut self) {
        while !self.to_come.is_empty() {
            self.arrive();
        }
        while let Some(Some(newest)) = self.copies.last()
            && !newest.ended
        {
            self.poll(0);
        }
        if let Some(Some(newest)) = self.copies.last() {
            assert!(self.failed || newest.body.is_end_stream());
        }
    }
}

impl Copy {
    fn new(body: ReplayBody<Source>) -> Self {
        Self {
            body: task::spawn(body),
            data: Vec::new(),
            trailers: false,
            ended: false,
            parked: false,
        }
    }

    /// Whether the copy gave a frame.
    fn poll(&mut self) -> Result<bool, BoxError> {
        let left = self.body.size_hint();
        let frame = self.body.enter(|cx, body| body.poll_frame(cx));
        self.parked = frame.is_pending();
        match frame {
            Poll::Pending => return Ok(false),
            Poll::Ready(None) => {
                self.ended = true;
                return Ok(false);
            }
            Poll::Ready(Some(frame)) => match frame?.into_data() {
                Ok(data) => {
                    assert!(!self.trailers, "data after trailers");
                    assert!(left.upper().is_none_or(|upper| data.len() as u64 <= upper));
                    self.data.extend_from_slice(&data);
                }
                Err(_) => self.trailers = true,
            },
        }
        Ok(true)
    }
}

/// A body whose frames arrive one by one.
#[derive(Clone)]
struct Source(Arc<Mutex<Inner>>);

struct Inner {
    length: Option<u64>,
    steps: VecDeque<Step>,
    waker: Option<Waker>,
    polls: usize,
    ended: bool,
}

impl Source {
    fn new(length: Option<u64>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            length,
            steps: VecDeque::new(),
            waker: None,
            polls: 0,
            ended: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic")
    }

    fn push(&self, step: Step) {
        let waker = {
            let mut inner = self.lock();
            inner.steps.push_back(step);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut inner = self.lock();
        inner.polls += 1;
        assert!(!inner.ended, "polled after its end");
        let Some(step) = inner.steps.pop_front() else {
            inner.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        inner.ended = !matches!(step, Step::Data(_));
        Poll::Ready(match step {
            Step::Data(data) => Some(Ok(Frame::data(data))),
            Step::Trailers => {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
            Step::Fail => Some(Err("the disk is gone".into())),
            Step::End => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.lock()
            .length
            .map(SizeHint::with_exact)
            .unwrap_or_default()
    }
}
