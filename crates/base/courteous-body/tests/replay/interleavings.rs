//! Attempts that are begun, read, overtaken and dropped in any order, compared with a model.

use std::task::{Context, Waker};

use bytes::Bytes;
use courteous_body::{NotReplayable, Overtaken, Replay, ReplayBody};
use courteous_core::{BoxError, find_cause};
use http_body::Body;
use proptest::{collection::vec, option, prelude::*};
use tokio_test::task;

use crate::support::{Feed, Read, Source, Step, trailers};

/// `grpc-status: 0`
const TRAILERS_LEN: usize = 12;

#[derive(Clone, Debug)]
enum Event {
    /// The next step of the source arrives.
    Arrive,
    /// The copy with this number, counted from the newest, is polled.
    Poll(usize),
    /// The copy is dropped.
    Drop(usize),
    /// The body is given again.
    Again,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => Just(Event::Arrive),
        4 => Just(Event::Poll(0)),
        2 => (0_usize..4).prop_map(Event::Poll),
        1 => (0_usize..4).prop_map(Event::Drop),
        2 => Just(Event::Again),
    ];
    vec(event, 0..80)
}

struct Copy {
    body: task::Spawn<ReplayBody<Source>>,
    read: Read,
    /// The copy said that there is nothing now.
    parked: bool,
}

impl Copy {
    fn new(body: ReplayBody<Source>) -> Self {
        Self {
            body: task::spawn(body),
            read: Read::default(),
            parked: false,
        }
    }

    /// Whether the copy gave a frame.
    fn poll(&mut self) -> Result<bool, BoxError> {
        let read = &mut self.read;
        let gave = self.body.enter(|cx, body| read.step(body.get_mut(), cx))?;
        self.parked = !gave && !read.ended;
        Ok(gave)
    }

    fn len(&self) -> usize {
        let trailers = self.read.trailers.as_ref();
        self.read.data.len() + trailers.map_or(0, |_| TRAILERS_LEN)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_attempt_that_is_given_gives_what_the_source_gave(
        chunks in vec(vec(any::<u8>(), 0..20), 0..8),
        ends_with_trailers in any::<bool>(),
        limit in option::of(0_usize..100),
        events in events(),
    ) {
        let limit = limit.unwrap_or(usize::MAX);
        let feed = Feed::default();
        let whole = chunks.concat();
        let last = if ends_with_trailers { Step::Trailers(trailers()) } else { Step::End };
        let mut steps = chunks.into_iter().map(|chunk| Step::Bytes(Bytes::from(chunk))).chain([last]);

        let (first, kept) = ReplayBody::new(feed.source()).keep(limit);
        let mut copies = vec![Some(Copy::new(first))];
        let mut taken = 0; // the most that any copy has read
        let finale = [Event::Again, Event::Arrive, Event::Poll(0)];
        for event in events.into_iter().chain(finale) {
            match event {
                Event::Arrive => {
                    if let Some(step) = steps.next() {
                        feed.push(step);
                        if let Some(Some(newest)) = copies.last() {
                            prop_assert!(!newest.parked || newest.body.is_woken(), "a lost wake-up");
                        }
                    }
                }
                Event::Again => {
                    let fits = taken == 0 || taken <= limit;
                    prop_assert_eq!(kept.check().is_ok(), fits);
                    match kept.again() {
                        Ok(body) => {
                            prop_assert!(fits);
                            prop_assert!(!body.is_end_stream());
                            if let Some(Some(old)) = copies.last() {
                                prop_assert!(!old.parked || old.body.is_woken(), "not told to fail");
                            }
                            copies.push(Some(Copy::new(body)));
                        }
                        Err(reason) => prop_assert_eq!(reason, NotReplayable::TooLarge),
                    }
                }
                Event::Drop(age) => {
                    if let Some(at) = copies.len().checked_sub(1 + age) {
                        copies[at] = None;
                    }
                }
                Event::Poll(age) => {
                    let Some(at) = copies.len().checked_sub(1 + age) else { continue };
                    let Some(copy) = &mut copies[at] else { continue };
                    if copy.read.ended {
                        continue;
                    }
                    let had_trailers = copy.read.trailers.is_some();
                    match copy.poll() {
                        Err(error) => {
                            prop_assert!(age > 0 && !had_trailers);
                            prop_assert!(find_cause::<Overtaken>(&*error).is_some());
                        }
                        Ok(gave) => {
                            // An older copy can only learn that it has ended.
                            prop_assert!(age == 0 || (had_trailers && !gave));
                            taken = taken.max(copy.len());
                        }
                    }
                    prop_assert!(whole.starts_with(&copy.read.data));
                    if copy.read.ended {
                        prop_assert_eq!(&copy.read.data, &whole);
                        prop_assert_eq!(copy.read.trailers.is_some(), ends_with_trailers);
                    }
                }
            }
            prop_assert!(kept.kept_bytes() <= limit);
        }

        // Left alone, the newest copy gives everything.
        steps.for_each(|step| feed.push(step));
        if let Some(Some(newest)) = copies.last_mut() {
            let mut cx = Context::from_waker(Waker::noop());
            while !newest.read.ended {
                newest.read.step(&mut *newest.body, &mut cx).unwrap();
            }
            prop_assert_eq!(&newest.read.data, &whole);
            prop_assert_eq!(newest.read.trailers.is_some(), ends_with_trailers);
            prop_assert!(newest.body.is_end_stream());
        }
    }
}
