//! The promises of a body that is given again.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod interleavings;
mod support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use bytes::Bytes;
use courteous_body::{
    AnyBody, DEFAULT_LIMIT, Keep, Kept, Native, NotReplayable, Overtaken, Replay, ReplayBody,
    SendOnce, Via,
};
use courteous_core::{BoxError, Upload, find_cause};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{
    BodyExt, Either, Empty, Full,
    combinators::{BoxBody, UnsyncBoxBody},
};
use support::{Feed, Read, Source, Step, trailers};
use tokio_test::{assert_pending, assert_ready, task};

fn kept(feed: &Feed, limit: usize) -> (ReplayBody<Source>, Kept<Source>) {
    ReplayBody::new(feed.source()).keep(limit)
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// How far the first attempt got before the second one began.
#[derive(Clone, Copy, Debug)]
enum Stopped {
    Unpolled,
    MidChunks,
    BeforeTrailers,
    AtEnd,
}

/// The source gives `ab`, `cd`, `ef`, and its trailers.
fn each_way_to_stop(stopped: Stopped, all_arrived_before: bool, first_stays_alive: bool) {
    let case = format!("{stopped:?}, {all_arrived_before}, {first_stays_alive}");
    let feed = Feed::default();
    let mut late = vec![
        Step::Data(b"ab"),
        Step::Data(b"cd"),
        Step::Data(b"ef"),
        Step::Trailers(trailers()),
    ];
    let frames = match stopped {
        Stopped::Unpolled => 0,
        Stopped::MidChunks => 1,
        Stopped::BeforeTrailers => 3,
        Stopped::AtEnd => 4,
    };
    let early = if all_arrived_before { 4 } else { frames };
    late.drain(..early).for_each(|step| feed.push(step));

    let (mut first, kept) = kept(&feed, 1024);
    let mut read = Read::default();
    for _ in 0..frames {
        assert!(read.step(&mut first, &mut noop()).unwrap(), "{case}");
    }
    let mut first = Some(first).filter(|_| first_stays_alive);

    let mut second = kept.again().unwrap();
    let mut read = Read::default();
    while read.step(&mut second, &mut noop()).unwrap() {}
    if let Some(first) = &mut first {
        let before = feed.polls();
        let end = Read::all(first);
        assert_eq!(feed.polls(), before, "{case}: the first copy read on");
        if matches!(stopped, Stopped::AtEnd) {
            assert!(end.unwrap().ended, "{case}: it had ended");
        } else {
            assert!(find_cause::<Overtaken>(&*end.unwrap_err()).is_some());
        }
    }
    late.into_iter().for_each(|step| feed.push(step));
    while !read.ended && read.step(&mut second, &mut noop()).unwrap() {}

    assert_eq!(read.data, b"abcdef", "{case}");
    assert_eq!(read.trailers, Some(trailers()), "{case}");
    assert!(second.is_end_stream(), "{case}");
    // Whatever the second attempt did, the third does the same.
    let third = Read::all(&mut kept.again().unwrap()).unwrap();
    assert_eq!((third.data, third.trailers), (read.data, read.trailers));
}

#[test]
fn every_attempt_gives_the_same_however_the_one_before_it_stopped() {
    use Stopped::{AtEnd, BeforeTrailers, MidChunks, Unpolled};
    for stopped in [Unpolled, MidChunks, BeforeTrailers, AtEnd] {
        for all_arrived_before in [false, true] {
            for first_stays_alive in [false, true] {
                each_way_to_stop(stopped, all_arrived_before, first_stays_alive);
            }
        }
    }
}

#[test]
fn an_attempt_that_waits_is_woken_to_fail_when_it_is_overtaken() {
    let feed = Feed::default();
    let (first, kept) = kept(&feed, 1024);
    let mut first = task::spawn(first);
    assert_pending!(first.enter(|cx, body| body.poll_frame(cx)));
    let mut second = task::spawn(kept.again().unwrap());
    assert!(first.is_woken());
    let failed = assert_ready!(first.enter(|cx, body| body.poll_frame(cx)));
    let error = failed.unwrap().unwrap_err();
    assert!(find_cause::<Overtaken>(&*error).is_some());
    assert!(!first.enter(|_, body| body.is_end_stream()));

    // The source still knows only the first attempt's waker; it gets the second attempt's waker at
    // its first poll.
    assert_pending!(second.enter(|cx, body| body.poll_frame(cx)));
    feed.push(Step::Data(b"ab"));
    assert!(second.is_woken());
}

#[test]
fn a_chunk_that_wakes_the_overtaken_attempt_is_not_lost_to_the_new_one() {
    let feed = Feed::default();
    let (first, kept) = kept(&feed, 1024);
    let mut first = task::spawn(first);
    assert_pending!(first.enter(|cx, body| body.poll_frame(cx)));
    let mut second = kept.again().unwrap();
    feed.push(Step::Data(b"ab"));
    feed.push(Step::End);
    assert_eq!(Read::all(&mut second).unwrap().data, b"ab");
}

#[test]
fn an_overtaken_attempt_fails_even_where_it_could_have_given_more() {
    let feed = Feed::default();
    feed.push(Step::Data(b"ab"));
    feed.push(Step::End);
    let (mut first, kept) = kept(&feed, 1024);
    Read::all(&mut first).unwrap();
    let mut second = kept.again().unwrap();
    let _third = kept.again().unwrap();
    assert!(!second.is_end_stream());
    for _ in 0..2 {
        let error = Read::all(&mut second).unwrap_err();
        assert!(find_cause::<Overtaken>(&*error).is_some());
    }
}

#[test]
fn what_was_never_read_is_given_again_whatever_its_size() {
    let feed = Feed::default();
    feed.push(Step::Bytes(vec![7; 1 << 20].into()));
    feed.push(Step::Trailers(trailers()));
    let (first, kept) = kept(&feed, 0);
    let second = kept.again().unwrap();
    drop((first, second));
    let read = Read::all(&mut kept.again().unwrap()).unwrap();
    assert_eq!(
        (read.data.len(), read.trailers),
        (1 << 20, Some(trailers()))
    );
    assert_eq!(kept.again().unwrap_err(), NotReplayable::TooLarge);
}

#[test]
fn a_source_that_was_asked_but_gave_nothing_counts_as_never_read() {
    let feed = Feed::default();
    let (mut first, kept) = kept(&feed, 0);
    assert_eq!(Read::all(&mut first).unwrap(), Read::default());
    feed.push(Step::Data(b"ab"));
    let read = Read::all(&mut kept.again().unwrap()).unwrap();
    assert_eq!(read.data, b"ab");
}

#[test]
fn above_the_limit_it_is_sent_once_whole_and_nothing_is_held() {
    let feed = Feed::default();
    let (mut first, kept) = kept(&feed, 4);
    let mut read = Read::default();
    feed.push(Step::Data(b"abcd"));
    assert!(read.step(&mut first, &mut noop()).unwrap());
    assert_eq!((kept.check(), kept.kept_bytes()), (Ok(()), 4));
    feed.push(Step::Data(b"e"));
    assert!(read.step(&mut first, &mut noop()).unwrap());
    assert_eq!(
        (kept.check(), kept.kept_bytes()),
        (Err(NotReplayable::TooLarge), 0)
    );
    // An `again` that fails disturbs no attempt.
    assert_eq!(kept.again().unwrap_err(), NotReplayable::TooLarge);
    feed.push(Step::Data(b"f"));
    feed.push(Step::Trailers(trailers()));
    while read.step(&mut first, &mut noop()).unwrap() {}
    assert_eq!(
        (&*read.data, read.trailers),
        (&b"abcdef"[..], Some(trailers()))
    );
    assert_eq!(kept.kept_bytes(), 0);
}

#[test]
fn a_second_attempt_may_be_the_one_that_outgrows_the_limit() {
    let feed = Feed::default();
    feed.push(Step::Data(b"abcd"));
    let (mut first, kept) = kept(&feed, 4);
    Read::all(&mut first).unwrap();
    let mut second = kept.again().unwrap();
    feed.push(Step::Data(b"e"));
    feed.push(Step::End);
    assert_eq!(Read::all(&mut second).unwrap().data, b"abcde");
    assert_eq!(kept.check(), Err(NotReplayable::TooLarge));
    assert_eq!(kept.kept_bytes(), 0);
}

#[test]
fn trailers_count_towards_the_limit() {
    for (limit, replayable) in [(13, false), (14, true)] {
        let feed = Feed::default();
        feed.push(Step::Data(b"ab"));
        feed.push(Step::Trailers(trailers())); // grpc-status: 0
        let (mut first, kept) = kept(&feed, limit);
        assert_eq!(Read::all(&mut first).unwrap().trailers, Some(trailers()));
        assert_eq!(kept.check().is_ok(), replayable);
    }
}

#[test]
fn a_source_that_failed_is_not_asked_again() {
    let feed = Feed::default();
    feed.push(Step::Data(b"ab"));
    feed.push(Step::Fail);
    let (mut first, kept) = kept(&feed, 1024);
    let error = Read::all(&mut first).unwrap_err();
    assert_eq!(error.to_string(), "the disk is gone");
    assert!(!first.is_end_stream());
    assert_eq!(kept.again().unwrap_err(), NotReplayable::SourceFailed);
    assert_eq!(kept.kept_bytes(), 0);
    // A reader that continues does not take the failure for the end.
    assert!(Read::all(&mut first).is_err());
}

#[test]
fn a_source_that_panicked_is_not_asked_again() {
    let feed = Feed::default();
    feed.push(Step::Panic);
    let (mut first, kept) = kept(&feed, 1024);
    assert!(catch_unwind(AssertUnwindSafe(|| Read::all(&mut first))).is_err());
    assert_eq!(kept.again().unwrap_err(), NotReplayable::SourceFailed);
    assert!(Read::all(&mut first).is_err());
}

/// Asks for another attempt of itself in its first poll, and gives `ab` in all.
#[derive(Default)]
struct Asking {
    kept: Arc<Mutex<Option<Kept<Self>>>>,
    again: Arc<Mutex<Option<ReplayBody<Self>>>>,
    asked: bool,
    given: usize,
    pending: bool,
}

impl Body for Asking {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !std::mem::replace(&mut self.asked, true) {
            let again = self.kept.lock().unwrap().as_ref().map(Kept::again);
            *self.again.lock().unwrap() = Some(again.unwrap().unwrap());
            if self.pending {
                return Poll::Pending;
            }
        }
        self.given += 1;
        let frame = b"ab".chunks(1).nth(self.given - 1);
        Poll::Ready(frame.map(|data| Ok(Frame::data(Bytes::from_static(data)))))
    }
}

/// A source is foreign code: it is not polled under our lock.
#[test]
fn a_source_may_ask_for_the_next_attempt_while_it_is_polled() {
    let (done, finished) = mpsc::channel();
    let checks = thread::spawn(move || {
        for pending in [false, true] {
            let source = Asking {
                pending,
                ..Asking::default()
            };
            let (kept, again) = (Arc::clone(&source.kept), Arc::clone(&source.again));
            let (mut first, handle) = ReplayBody::new(source).keep(100);
            *kept.lock().unwrap() = Some(handle);
            let error = Read::all(&mut first).unwrap_err();
            assert!(find_cause::<Overtaken>(&*error).is_some());
            let second = again.lock().unwrap().take();
            let read = Read::all(&mut second.unwrap());
            assert_eq!(read.unwrap().data, b"ab", "pending: {pending}");
            kept.lock().unwrap().take();
        }
        done.send(()).unwrap();
    });
    let finished = finished.recv_timeout(Duration::from_secs(60));
    assert_ne!(finished, Err(mpsc::RecvTimeoutError::Timeout), "deadlock");
    checks.join().unwrap();
}

#[test]
fn every_attempt_announces_the_same_length() {
    let feed = Feed::default();
    let (mut first, kept) = ReplayBody::new(feed.sized_source(SizeHint::with_exact(4))).keep(1024);
    assert_eq!(first.size_hint().exact(), Some(4));
    feed.push(Step::Data(b"a"));
    Read::all(&mut first).unwrap();
    assert_eq!(first.size_hint().exact(), Some(3));
    let mut second = kept.again().unwrap();
    assert_eq!(second.size_hint().exact(), Some(4));
    feed.push(Step::Data(b"bcd"));
    feed.push(Step::End);
    Read::all(&mut second).unwrap();
    assert_eq!(second.size_hint().exact(), Some(0));
    assert_eq!(kept.again().unwrap().size_hint().exact(), Some(4));
}

#[test]
fn a_length_that_was_not_known_at_first_is_not_announced_later() {
    let feed = Feed::default();
    feed.push(Step::End);
    let (mut first, kept) = kept(&feed, 1024);
    assert!(!first.is_end_stream());
    Read::all(&mut first).unwrap();
    let second = kept.again().unwrap();
    assert!(!second.is_end_stream());
    assert_eq!(second.size_hint().exact(), None);
}

#[test]
fn the_end_is_announced_with_the_last_chunk_of_every_attempt() {
    let (mut body, kept) = ReplayBody::new(Full::<Bytes>::from("abc")).keep(1024);
    for _ in 0..3 {
        assert!(!body.is_end_stream());
        let mut read = Read::default();
        assert!(read.step(&mut body, &mut noop()).unwrap());
        assert!(body.is_end_stream());
        assert!(!read.step(&mut body, &mut noop()).unwrap());
        assert_eq!((&*read.data, read.ended), (&b"abc"[..], true));
        body = kept.again().unwrap();
    }
}

#[test]
fn an_empty_body_stays_an_empty_body() {
    let (body, kept) = ReplayBody::new(Empty::<Bytes>::new()).keep(0);
    for mut body in [body, kept.again().unwrap(), kept.again().unwrap()] {
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(Read::all(&mut body).unwrap().ended);
    }
}

#[test]
fn when_nobody_can_ask_again_nothing_more_is_held() {
    let feed = Feed::default();
    feed.push(Step::Data(b"abcd"));
    let (mut first, kept) = kept(&feed, 1024);
    Read::all(&mut first).unwrap();
    let mut second = kept.again().unwrap();
    drop(kept);
    // What the second attempt must still give is there,
    let mut read = Read::default();
    assert!(read.step(&mut second, &mut noop()).unwrap());
    feed.push(Step::Data(b"ef"));
    assert!(read.step(&mut second, &mut noop()).unwrap());
    assert_eq!(read.data, b"abcdef");
    // and gone once it was given: a `keep` of the body now starts from here.
    let (mut second, kept) = second.keep(1024);
    assert_eq!(kept.kept_bytes(), 0);
    feed.push(Step::Data(b"gh"));
    feed.push(Step::End);
    assert_eq!(Read::all(&mut second).unwrap().data, b"gh");
    assert_eq!(Read::all(&mut kept.again().unwrap()).unwrap().data, b"gh");
}

#[test]
fn two_layers_can_keep_the_same_body() {
    let feed = Feed::default();
    feed.push(Step::Data(b"ab"));
    let (body, outer) = kept(&feed, 1024);
    let (mut first, inner) = body.keep(2);
    Read::all(&mut first).unwrap();
    let mut second = inner.again().unwrap();
    feed.push(Step::Data(b"cd")); // above the inner limit, below the outer one
    feed.push(Step::End);
    assert_eq!(Read::all(&mut second).unwrap().data, b"abcd");
    drop(inner);
    let (mut third, inner) = outer.again().unwrap().keep(0);
    assert_eq!(Read::all(&mut third).unwrap().data, b"abcd");
    assert_eq!(
        Read::all(&mut inner.again().unwrap()).unwrap().data,
        b"abcd"
    );
}

#[test]
fn an_overtaken_body_that_is_kept_does_not_begin_in_the_middle() {
    let feed = Feed::default();
    feed.push(Step::Data(b"abcd"));
    let (first, outer) = kept(&feed, 1024);
    Read::all(&mut outer.again().unwrap()).unwrap();
    let (_first, late) = first.keep(1024);
    assert_eq!(Read::all(&mut late.again().unwrap()).unwrap().data, b"abcd");
}

#[test]
fn a_small_slice_of_a_huge_buffer_does_not_keep_the_huge_one() {
    let feed = Feed::default();
    let huge = Bytes::from(vec![7; 1 << 20]);
    feed.push(Step::Bytes(huge.slice(..10)));
    let (mut first, kept) = kept(&feed, 1024);
    Read::all(&mut first).unwrap();
    assert_eq!(kept.kept_bytes(), 10);
    assert!(huge.is_unique());
}

/// Sends `body` three times by `keep`.
fn thrice<B, K>(keep: &K, body: B, limit: usize) -> Vec<Read>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    K: Keep<B>,
{
    let (mut body, kept) = keep.keep(body, limit);
    let mut reads = vec![Read::all(&mut body).unwrap()];
    for _ in 0..2 {
        keep.check(&kept).unwrap();
        reads.push(Read::all(&mut keep.again(&kept).unwrap()).unwrap());
    }
    reads
}

#[test]
fn bodies_keep_their_type() {
    let native = Native::new();
    let abc = |reads: Vec<Read>| assert!(reads.iter().all(|read| read.data == b"abc"));
    abc(thrice(&native, Full::<Bytes>::from("abc"), 0));
    abc(thrice(&native, String::from("abc"), 0));
    let either = Either::<Full<Bytes>, Empty<Bytes>>::Left("abc".into());
    abc(thrice(&native, either, 0));
    let boxed = || Full::<Bytes>::from("abc").map_err(Into::into);
    let unsync: UnsyncBoxBody<Bytes, BoxError> = boxed().boxed_unsync();
    abc(thrice(&native, unsync, 3));
    let sync: BoxBody<Bytes, BoxError> = boxed().boxed();
    abc(thrice(&native, sync, 3));
    let unsync: UnsyncBoxBody<Bytes, BoxError> = boxed().boxed_unsync();
    abc(thrice(&Via::new(UnsyncBoxBody::new), unsync, 3));
    let empty = thrice(&native, Empty::<Bytes>::new(), 0);
    assert!(empty.iter().all(|read| read.data.is_empty() && read.ended));
}

#[test]
fn a_body_with_trailers_is_kept_in_a_box() {
    let feed = Feed::default();
    feed.push(Step::Data(b"abc"));
    feed.push(Step::Trailers(trailers()));
    let reads = thrice(&Native::new(), feed.source().boxed_unsync(), DEFAULT_LIMIT);
    assert!(
        reads
            .iter()
            .all(|read| read.data == b"abc" && read.trailers == Some(trailers()))
    );
}

#[test]
fn a_body_that_is_sent_once_says_so() {
    let keep = SendOnce::new();
    let (mut body, kept) = keep.keep(Full::<Bytes>::from("abc"), DEFAULT_LIMIT);
    assert_eq!(Read::all(&mut body).unwrap().data, b"abc");
    let again: Result<Full<Bytes>, _> = keep.again(&kept);
    assert_eq!(again.unwrap_err(), NotReplayable::OneShot);
}

#[test]
fn a_body_is_unpin_and_sync_whatever_its_source_is() {
    fn check<T: Unpin + Send + Sync + std::fmt::Debug>(_: &T) {}
    struct NotSync(std::cell::Cell<u8>, std::marker::PhantomPinned);
    impl Body for NotSync {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
            self.0.set(1);
            std::task::Poll::Ready(None)
        }
    }
    let source = NotSync(std::cell::Cell::new(0), std::marker::PhantomPinned);
    let (body, kept) = ReplayBody::new(source).keep(0);
    check(&body);
    check(&kept);
    Read::all(&mut { body }).unwrap();
}

#[cfg(feature = "axum")]
#[test]
fn axum_bodies_keep_their_type() {
    use axum_core::body::Body;
    let reads = thrice(&Native::new(), Body::from("abc"), 3);
    assert!(reads.iter().all(|read| read.data == b"abc"));
    let reads = thrice(&Native::new(), Body::empty(), 0);
    assert!(reads.iter().all(|read| read.data.is_empty()));
}

#[cfg(feature = "tonic")]
#[test]
fn tonic_bodies_keep_their_type_and_their_status() {
    use tonic::{Code, Status, body::Body};
    let reads = thrice(&Native::new(), Body::new(Full::<Bytes>::from("abc")), 3);
    assert!(reads.iter().all(|read| read.data == b"abc"));

    let failing = http_body_util::StreamBody::new(
        tokio_test::stream_mock::StreamMockBuilder::new()
            .next(Err::<http_body::Frame<Bytes>, _>(Status::data_loss("gone")))
            .build(),
    );
    let (mut body, kept) = Body::new(failing).keep(3);
    let error = Read::all(&mut body).unwrap_err();
    assert_eq!(
        find_cause::<Status>(&*error).unwrap().code(),
        Code::DataLoss
    );
    assert_eq!(Body::again(&kept).unwrap_err(), NotReplayable::SourceFailed);
}

#[cfg(feature = "reqwest")]
#[test]
fn reqwest_bodies_keep_their_type() {
    use reqwest::Body;
    // Made of bytes: the limit does not count, and the kept half still knows that it was made of
    // bytes.
    let (body, kept) = Body::from("abc").keep(0);
    for mut body in [body, Body::again(&kept).unwrap()] {
        assert_eq!(body.as_bytes(), Some(&b"abc"[..]));
        assert_eq!(Read::all(&mut body).unwrap().data, b"abc");
    }
    let (body, kept) = Body::from("").keep(0);
    assert!(body.is_end_stream() && Body::again(&kept).unwrap().is_end_stream());
    // Made of a stream.
    let reads = thrice(&Native::new(), Body::wrap(Full::<Bytes>::from("abc")), 3);
    assert!(reads.iter().all(|read| read.data == b"abc"));
    let (mut body, kept) = Body::wrap(Full::<Bytes>::from("abc")).keep(2);
    Read::all(&mut body).unwrap();
    assert_eq!(Body::check(&kept), Err(NotReplayable::TooLarge));
}

/// What `body` gives now; `None` if it is pending.
fn taken<B>(body: &mut B) -> Option<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    match Pin::new(body).poll_frame(&mut noop()) {
        Poll::Ready(frame) => Some(frame),
        Poll::Pending => None,
    }
}

#[test]
fn each_frame_that_is_taken_is_reported_by_whichever_copy_is_read() {
    let feed = Feed::default();
    let (mut first, kept) = kept(&feed, 1024);
    let upload = ReplayBody::upload(&kept).unwrap();
    assert!(taken(&mut first).is_none());
    assert_eq!(upload.last(), None, "nothing was taken yet");

    feed.push(Step::Data(b"ab"));
    taken(&mut first).unwrap().unwrap().unwrap();
    let at_first = upload.last().unwrap();
    let mut second = kept.again().unwrap();
    taken(&mut second).unwrap().unwrap().unwrap();
    let at_second = upload.last().unwrap();
    assert!(at_first <= at_second);

    // An overtaken body takes nothing.
    assert!(taken(&mut first).unwrap().unwrap().is_err());
    assert_eq!(upload.last(), Some(at_second));

    assert_eq!(upload.last_large(), None);
    feed.push(Step::Bytes(vec![0; Upload::LARGE + 1].into()));
    feed.push(Step::End);
    taken(&mut second).unwrap().unwrap().unwrap();
    let large = upload.last_large().unwrap();
    assert_eq!(large, (upload.last().unwrap(), Upload::LARGE + 1));
    assert!(taken(&mut second).unwrap().is_none());
    assert_eq!(upload.last_large(), Some(large), "the end does not hide it");
}

#[test]
fn a_body_that_is_watched_only_is_not_kept() {
    let feed = Feed::default();
    let mut body: UnsyncBoxBody<Bytes, BoxError> = feed.source().boxed_unsync();
    let upload = body.watch_in_place().unwrap();
    feed.push(Step::Data(b"ab"));
    taken(&mut body).unwrap().unwrap().unwrap();
    assert!(upload.last().is_some());

    let mut body = ReplayBody::new(feed.source());
    let kept = body.keep_in_place(0);
    drop(kept);
    let upload = body.watch_in_place().unwrap();
    feed.push(Step::Data(b"cd"));
    taken(&mut body).unwrap().unwrap().unwrap();
    assert!(upload.last().is_some());
    assert_eq!(body.keep_in_place(0).kept_bytes(), 0);
}

#[test]
fn a_body_in_memory_reports_nothing_and_is_left_as_it_is() {
    let bytes = Bytes::from(vec![7; 100]);
    let mut full = Full::new(bytes.clone());
    assert!(full.watch_in_place().is_none());
    assert!(Full::upload(&full.keep_in_place(0)).is_none());
    let mut any = AnyBody::from(bytes.clone());
    assert!(any.watch_in_place().is_none());
    assert!(AnyBody::upload(&any.keep_in_place(0)).is_none());
    assert!(String::from("text").watch_in_place().is_none());
    assert!(Empty::<Bytes>::new().watch_in_place().is_none());
    let mut either = Either::<_, ReplayBody<Source>>::Left(Full::new(bytes));
    assert!(either.watch_in_place().is_none());
    let mut either = Either::<Full<Bytes>, _>::Right(ReplayBody::new(Feed::default().source()));
    assert!(either.watch_in_place().is_some());
    assert!(SendOnce::new().watch_in_place(&mut either).is_none());
}
