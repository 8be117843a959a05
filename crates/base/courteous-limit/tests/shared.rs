//! The guarantees of the timer.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use courteous_limit::{Next, Queue, Serve, Shared, Ticket, Wakes};
use tokio::{
    runtime::{Builder, Runtime},
    time::{self, Instant},
};
use tokio_test::{assert_pending, assert_ready, task};

const SECOND: Duration = Duration::from_secs(1);

/// Lets each waiter through at its own instant, in the order in which the waiters came.
struct Waiters {
    queue: Queue<(Instant, Option<Waker>)>,
    served: usize,
    roused: usize,
}

impl Serve for Waiters {
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next {
        while let Some(&(at, _)) = self.queue.front() {
            if at > now {
                return Next::At(at);
            }
            self.served += 1;
            wakes.extend(self.queue.take_front().and_then(|(_, waker)| waker.take()));
        }
        Next::Nothing
    }

    fn rouse(&mut self, wakes: &mut Wakes) {
        self.roused += 1;
        wakes.extend(
            self.queue
                .values_mut()
                .filter_map(|(_, waker)| waker.take()),
        );
    }
}

type Handle = Arc<Shared<Waiters>>;

fn handle() -> Handle {
    Arc::new(Shared::new(Waiters {
        queue: Queue::new(),
        served: 0,
        roused: 0,
    }))
}

struct Waiting {
    waiters: Handle,
    ticket: Option<Ticket>,
}

fn wait(waiters: &Handle, at: Instant) -> Waiting {
    Waiting {
        waiters: Arc::clone(waiters),
        ticket: Some(waiters.with(|waiters| waiters.queue.push_back((at, None)))),
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(ticket) = &this.ticket else {
            return Poll::Ready(());
        };
        this.waiters.join(|waiters, now, wakes| {
            waiters.serve(now, wakes);
            if waiters.queue.is_queued(ticket) {
                waiters.queue.get_mut(ticket).1 = Some(cx.waker().clone());
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.waiters
                .update(|waiters, _, _| waiters.queue.remove(ticket));
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn paused() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_timer_serves_one_after_the_other_without_a_poll() {
    let waiters = handle();
    let start = Instant::now();
    let mut first = task::spawn(wait(&waiters, start + SECOND));
    let mut second = task::spawn(wait(&waiters, start + 2 * SECOND));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    time::sleep(Duration::from_millis(999)).await;
    assert!(!first.is_woken());
    time::sleep(Duration::from_millis(1)).await;
    assert!(first.is_woken());
    assert_eq!(waiters.armed_at(), Some(start + 2 * SECOND));
    // The first waiter is never polled again.
    time::sleep(SECOND).await;
    assert!(second.is_woken());
    assert_ready!(second.poll());
    assert_eq!(waiters.armed_at(), None);
}

#[tokio::test(start_paused = true)]
async fn a_leaving_front_brings_the_timer_to_the_next_one() {
    let waiters = handle();
    let start = Instant::now();
    let mut first = task::spawn(wait(&waiters, start + 9 * SECOND));
    let mut second = task::spawn(wait(&waiters, start + SECOND));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_eq!(waiters.armed_at(), Some(start + 9 * SECOND));
    drop(first);
    assert_eq!(waiters.armed_at(), Some(start + SECOND));
    time::sleep(SECOND).await;
    assert!(second.is_woken());
    drop(second);
    assert_eq!(waiters.armed_at(), None);
}

#[test]
fn the_timer_knows_the_runtimes_of_those_who_joined() {
    let knows = |waiters: &Handle| waiters.attend(|_, known| known());
    let (one, other) = (paused(), paused());
    let waiters = handle();
    let mut waiting = task::spawn(wait(&waiters, Instant::now() + SECOND));
    one.block_on(async {
        assert!(!knows(&waiters), "nobody has joined");
        assert_pending!(waiting.poll());
        assert!(knows(&waiters));
    });
    assert!(!knows(&waiters), "this is no runtime");
    other.block_on(async { assert!(!knows(&waiters)) });
    one.block_on(async {
        drop(waiting);
        assert!(!knows(&waiters), "nobody waits");
    });
}

#[tokio::test(start_paused = true)]
async fn an_instant_years_ahead_is_reached() {
    let waiters = handle();
    let years = 4 * 365 * 24 * 60 * 60 * SECOND;
    let start = Instant::now();
    wait(&waiters, start + years).await;
    assert_eq!(start.elapsed(), years);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_time_is_no_overflow() {
    let waiters = handle();
    let last = (0..63).rev().fold(Instant::now(), |at, bit| {
        at.checked_add(Duration::new(1 << bit, 0)).unwrap_or(at)
    });
    let last = last
        .checked_add(Duration::from_nanos(999_999_999))
        .unwrap_or(last);
    let mut waiting = task::spawn(wait(&waiters, last));
    assert_pending!(waiting.poll());
}

#[tokio::test(start_paused = true)]
async fn a_task_without_budget_is_served_all_the_same() {
    let waiters = handle();
    let at = Instant::now() + SECOND;
    let waiting = tokio::spawn({
        let waiters = Arc::clone(&waiters);
        async move {
            while tokio::task::coop::has_budget_remaining() {
                tokio::task::coop::consume_budget().await;
            }
            wait(&waiters, at).await;
        }
    });
    waiting.await.unwrap();
    assert_eq!(Instant::now(), at);
    assert_eq!(waiters.with(|waiters| waiters.served), 1);
}

#[test]
fn one_handle_serves_two_runtimes_in_turn() {
    let waiters = handle();
    for turn in 1..=3 {
        paused().block_on(async {
            let start = Instant::now();
            tokio::join!(
                wait(&waiters, start + SECOND),
                wait(&waiters, start + 2 * SECOND)
            );
            assert_eq!(start.elapsed(), 2 * SECOND);
        });
        assert_eq!(waiters.with(|waiters| waiters.served), 2 * turn);
    }
}

#[test]
fn a_runtime_that_is_shut_down_wakes_those_who_waited_on_it() {
    let waiters = handle();
    let dead = runtime();
    let at = Instant::now() + Duration::from_millis(20);
    let mut waiting = task::spawn(wait(&waiters, at));
    dead.block_on(async { assert_pending!(waiting.poll()) });
    assert!(!waiting.is_woken());
    drop(dead);
    assert!(waiting.is_woken());
    assert_eq!(waiters.with(|waiters| waiters.roused), 1);
    // The waiter joins again wherever it is polled next.
    runtime().block_on(waiting.into_inner());
    assert!(Instant::now() >= at);
}

#[test]
fn a_timer_that_was_due_when_its_runtime_died_does_not_panic() {
    let waiters = handle();
    let dead = runtime();
    let start = Instant::now();
    let mut first = task::spawn(wait(&waiters, start + Duration::from_millis(1)));
    let mut second = task::spawn(wait(&waiters, start + Duration::from_millis(30)));
    dead.block_on(async {
        assert_pending!(first.poll());
        assert_pending!(second.poll());
    });
    while start.elapsed() < Duration::from_millis(5) {
        std::hint::spin_loop();
    }
    drop(dead);
    assert!(first.is_woken() && second.is_woken());
    runtime().block_on(second.into_inner());
}

#[test]
fn a_runtime_that_nobody_drives_does_not_hold_up_another() {
    let waiters = handle();
    let idle = runtime();
    let at = Instant::now() + Duration::from_millis(20);
    let mut parked = task::spawn(wait(&waiters, at));
    idle.block_on(async { assert_pending!(parked.poll()) });
    // The alarm belongs to the idle runtime. The second waiter sets an alarm on its own runtime.
    runtime().block_on(wait(&waiters, at));
    assert!(parked.is_woken());
    // The other way round: the second runtime is gone, and the alarm of the first one still rings.
    let at = Instant::now() + Duration::from_millis(20);
    let mut again = task::spawn(wait(&waiters, at));
    idle.block_on(async { assert_pending!(again.poll()) });
    let other = runtime();
    let mut elsewhere = task::spawn(wait(&waiters, at));
    other.block_on(async { assert_pending!(elsewhere.poll()) });
    idle.block_on(again.into_inner());
    assert!(elsewhere.is_woken());
}

#[test]
fn a_waiter_may_be_dropped_outside_of_any_runtime() {
    let waiters = handle();
    let alive = runtime();
    let start = Instant::now();
    let mut first = task::spawn(wait(&waiters, start + 9 * SECOND));
    let mut second = task::spawn(wait(&waiters, start + Duration::from_millis(20)));
    alive.block_on(async {
        assert_pending!(first.poll());
        assert_pending!(second.poll());
    });
    drop(first);
    alive.block_on(second.into_inner());
    assert!(start.elapsed() < 9 * SECOND);
}

#[test]
fn a_waiter_of_a_dead_runtime_may_be_dropped() {
    let waiters = handle();
    let dead = runtime();
    let start = Instant::now();
    let mut first = task::spawn(wait(&waiters, start + SECOND));
    let mut second = task::spawn(wait(&waiters, start + 2 * SECOND));
    dead.block_on(async {
        assert_pending!(first.poll());
        assert_pending!(second.poll());
    });
    drop(dead);
    drop(first);
    drop(second);
    assert_eq!(waiters.with(|waiters| waiters.queue.tickets()), 0);
}

#[test]
fn nothing_is_leaked_when_the_last_handle_goes_while_somebody_waits() {
    let waiters = handle();
    let weak = Arc::downgrade(&waiters);
    let alive = runtime();
    let mut waiting = task::spawn(wait(&waiters, Instant::now() + SECOND));
    alive.block_on(async { assert_pending!(waiting.poll()) });
    drop(waiters);
    drop(waiting);
    assert_eq!(weak.strong_count(), 0);
}

/// Joins the queue again when it is woken, on the thread that wakes.
struct Eager(Handle, AtomicUsize);

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.update(|waiters, _, _| assert!(waiters.served > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn wakers_are_called_without_the_lock() {
    let waiters = handle();
    let eager = Arc::new(Eager(Arc::clone(&waiters), AtomicUsize::new(0)));
    let mut waiting = wait(&waiters, Instant::now() + SECOND);
    let waker = Waker::from(Arc::clone(&eager));
    assert_pending!(Pin::new(&mut waiting).poll(&mut Context::from_waker(&waker)));
    time::sleep(SECOND).await;
    assert_eq!(eager.1.load(Ordering::Relaxed), 1);
}

#[test]
fn runtimes_that_come_and_go_while_threads_wait_lose_nobody() {
    let waiters = handle();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let waiters = &waiters;
            scope.spawn(move || {
                for turn in 0..20u64 {
                    let runtime = Builder::new_multi_thread()
                        .worker_threads(2)
                        .enable_time()
                        .build()
                        .unwrap();
                    // These tasks are cancelled by the shutdown, in whatever state they are.
                    for i in 0..20 {
                        let at = Instant::now()
                            + Duration::from_micros(thread * 300 + turn * 70 + i * 100);
                        runtime.spawn(wait(waiters, at));
                    }
                    let at = Instant::now() + Duration::from_millis(1);
                    runtime.block_on(wait(waiters, at));
                }
            });
        }
    });
    assert_eq!(waiters.with(|waiters| waiters.queue.tickets()), 0);
}

/// Waits for an event, which makes it wait for an instant.
#[derive(Debug)]
struct Door {
    waker: Option<Waker>,
    opens: Option<Instant>,
}

impl Serve for Door {
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next {
        match (&self.waker, self.opens) {
            (None, _) => Next::Nothing,
            (Some(_), None) => Next::Event,
            (Some(_), Some(opens)) if now < opens => Next::At(opens),
            (Some(_), Some(_)) => {
                wakes.extend(self.waker.take());
                Next::Nothing
            }
        }
    }

    fn rouse(&mut self, wakes: &mut Wakes) {
        wakes.extend(self.waker.take());
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_outside_of_a_runtime_sets_the_timer_and_nothing_was_set_before() {
    let door = Arc::new(Shared::new(Door {
        waker: None,
        opens: None,
    }));
    let mut waiting = task::spawn(std::future::poll_fn(|cx| {
        door.join(|door, _, _| {
            let first = door.opens.is_none();
            door.waker = first.then(|| cx.waker().clone());
            if first {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
    }));
    let start = Instant::now();
    assert_pending!(waiting.poll());
    assert_eq!(door.armed_at(), None);
    // As no timer of the door is set, the paused clock goes straight to the next timer that there
    // is.
    time::sleep(SECOND).await;
    assert_eq!(start.elapsed(), SECOND);
    std::thread::scope(|scope| {
        scope.spawn(|| door.update(|door, _, _| door.opens = Some(start + 2 * SECOND)));
    });
    assert!(!waiting.is_woken());
    time::sleep(SECOND).await;
    assert!(waiting.is_woken());
    assert_ready!(waiting.poll());
}

/// Moves the front's instant, on the thread that wakes.
struct Mover(Handle, Instant);

impl Wake for Mover {
    fn wake(self: Arc<Self>) {
        self.0.update(|waiters, _, _| {
            if let Some((at, _)) = waiters.queue.front_mut() {
                *at = self.1;
            }
        });
    }
}

#[test]
fn a_timer_that_fires_while_it_is_set_does_not_deadlock() {
    let waiters = handle();
    let dead = runtime();
    let start = Instant::now();
    let mut waiting = task::spawn(wait(&waiters, start + 9 * SECOND));
    let mover = Waker::from(Arc::new(Mover(Arc::clone(&waiters), start + 8 * SECOND)));
    // There are more timers than Tokio fires in one go. So when the alarm is moved, it is still
    // pending, on a runtime that is shutting down.
    let mut others: Vec<_> = dead.block_on(async {
        assert_pending!(waiting.poll());
        (0..100)
            .map(|_| Box::pin(time::sleep_until(start + SECOND)))
            .collect()
    });
    for other in &mut others {
        let mut cx = Context::from_waker(&mover);
        assert_pending!(other.as_mut().poll(&mut cx));
    }
    drop(dead);
    assert!(waiting.is_woken());
    assert!(waiters.with(|waiters| waiters.roused > 0));
}

#[test]
fn a_task_without_budget_outside_of_the_scheduler_is_served_all_the_same() {
    let waiters = handle();
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().await;
        }
        wait(&waiters, Instant::now() + Duration::from_millis(5)).await;
    });
    assert_eq!(waiters.with(|waiters| waiters.served), 1);
}

#[test]
fn setting_the_timer_while_its_runtime_is_shut_down_does_not_panic() {
    let waiters = handle();
    for _ in 0..300 {
        let dying = runtime();
        let start = Instant::now();
        let mut waiting = task::spawn(wait(&waiters, start + 9 * SECOND));
        dying.block_on(async { assert_pending!(waiting.poll()) });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..300 {
                    waiters.update(|waiters, _, _| {
                        if let Some((at, _)) = waiters.queue.front_mut() {
                            *at = start + (9 + i % 2) * SECOND;
                        }
                    });
                }
            });
            scope.spawn(|| drop(dying));
        });
        assert!(waiting.is_woken());
    }
}

#[test]
fn runtimes_that_come_and_go_while_one_waits_for_an_event_are_let_go_of() {
    let door = Arc::new(Shared::new(Door {
        waker: Some(Waker::noop().clone()),
        opens: None,
    }));
    for _ in 0..20 {
        runtime().block_on(async { door.join(|_, _, _| ()) });
    }
    let shown = format!("{door:?}");
    assert!(shown.contains("alarms: 1 "), "{shown}");
}
