use std::task::Poll;

use tower_layer::Layer;
use tower_service::Service;

use super::{
    Client, Subject,
    subject::{paused, read, ready, request, send, succeed},
};
use crate::{Latch, Probe, Reply, Task};

/// `poll_ready` asks the inner service only: a service that is ready and is not called takes nothing from the others.
pub fn poll_ready_reserves_nothing<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    let subject = make();
    let probe = Probe::new();
    let service = subject.service(&probe);
    paused(async {
        let mut idle: Vec<_> = (0..100).map(|_| service.clone()).collect();
        for service in &mut idle {
            ready(service).await.unwrap();
        }
        assert!(probe.instances() < 1000 && probe.calls() == 0);
        let others = Others::occupy(&subject, &service, &probe).await;
        others.finish().await;
        // Those that were ready all the time are still good for a call each.
        for mut service in idle.into_iter().take(3) {
            succeed(&mut service).await;
        }
        subject.assert_nothing_held(&probe, &"after calls next to idle services");
    });
}

/// While a call waits in the layer, for its turn or for its backoff, no inner instance is ready for it, no call and no
/// response is kept; the service says so little of it that it is ready for another call.
pub fn waiting_holds_nothing_of_the_inner_service<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    let subject = make();
    if subject.behind.is_some() {
        let probe = Probe::new();
        let mut service = subject.service(&probe);
        paused(async {
            let others = Others::occupy(&subject, &service, &probe).await;
            let (calls, in_flight) = (probe.calls(), probe.in_flight());
            ready(&mut service).await.unwrap();
            let mut waiting = Task::new(service.call(request()));
            assert!(waiting.settle().await.is_pending());
            assert_eq!(probe.calls(), calls, "the call does not wait");
            assert_eq!(probe.in_flight(), in_flight);
            assert_eq!(probe.ready_held(), 0, "inner readiness held by a waiter");
            ready(&mut service.clone()).await.unwrap();
            assert_eq!(probe.ready_held(), 0);
            others.finish().await;
            let response = waiting.finish().await.map_err(Into::into).unwrap();
            read(response).await.unwrap();
            subject.assert_nothing_held(&probe, &"after a wait");
        });
    }
    if subject.after_failure {
        let probe = Probe::new();
        let subject = make();
        subject.fail_first(&probe);
        let mut service = subject.service(&probe);
        paused(async {
            ready(&mut service).await.unwrap();
            let mut waiting = Task::new(service.call(request()));
            assert!(waiting.settle().await.is_pending());
            assert_eq!(probe.calls(), 1);
            assert_eq!(probe.in_flight(), 0, "a call kept during the backoff");
            assert_eq!(probe.ready_held(), 0, "readiness held during the backoff");
            assert_eq!(probe.bodies().alive(), 0, "the response kept");
            let response = waiting.finish().await.map_err(Into::into).unwrap();
            read(response).await.unwrap();
            subject.assert_nothing_held(&probe, &"after a backoff");
        });
    }
}

/// A waiter that is dropped in the queue, or when it was woken and not polled yet, leaves its turn to the next one.
pub fn a_dropped_waiter_wakes_the_next<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    for dropped_when_woken in [false, true] {
        let subject = make();
        if subject.behind.is_none() {
            return;
        }
        let probe = Probe::new();
        let service = subject.service(&probe);
        paused(async {
            let mut others = Others::occupy(&subject, &service, &probe).await;
            let calls = probe.calls();
            let mut services = [service.clone(), service.clone()];
            let [first, second] = &mut services;
            let mut first = Task::new(send(first));
            let mut second = Task::new(send(second));
            assert!(first.settle().await.is_pending());
            assert!(second.settle().await.is_pending());
            assert_eq!(probe.calls(), calls, "the calls do not wait");
            if dropped_when_woken {
                others.finish_one().await;
                first.woken().await;
                drop(first);
            } else {
                drop(first);
                others.finish_one().await;
            }
            // There is room for one call, and the first has left it.
            let response = second.finish().await.unwrap();
            assert_eq!(probe.calls(), calls + 1);
            read(response).await.unwrap();
            others.finish().await;
            subject.assert_nothing_held(&probe, &"after a waiter was dropped");
            succeed(&mut service.clone()).await;
        });
    }
}

/// Many waiters are all sent, though their inner instances are pending at first when their turn comes, and none of them is
/// polled more than a few times on its way.
pub fn all_waiters_get_through<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    const WAITERS: usize = 50;
    for pending in [0, 1, 2] {
        let subject = make();
        let Some(behind) = subject.behind else {
            return;
        };
        let probe = Probe::new().pending_polls(pending);
        let service = subject.service(&probe);
        paused(async {
            let mut others = Others::occupy(&subject, &service, &probe).await;
            let mut waiters = Vec::new();
            for _ in 0..WAITERS {
                let mut service = service.clone();
                let call = async move { succeed(&mut service).await };
                let mut waiter = Task::new(call);
                assert!(waiter.settle().await.is_pending());
                waiters.push(waiter);
            }
            assert_eq!(probe.calls(), behind);
            // There is room for one at a time.
            others.finish_one().await;
            Task::finish_all(&mut waiters).await;
            others.finish().await;
            assert_eq!(probe.calls(), behind + WAITERS);
            let polls: usize = waiters.iter().map(Task::polls).sum();
            let most = WAITERS * (10 + 5 * pending);
            assert!(polls <= most, "{polls} polls for {WAITERS} waiters");
            subject.assert_nothing_held(&probe, &"after many waiters");
        });
    }
}

/// The calls that another one waits behind, in flight until they may finish.
pub(super) struct Others<F> {
    calls: Vec<(Latch, Task<F>)>,
}

impl Others<()> {
    /// Makes as many calls as the subject admits at once.
    pub(super) async fn occupy<L>(
        subject: &Subject<L>,
        service: &L::Service,
        probe: &Probe,
    ) -> Others<<L::Service as Client>::Call>
    where
        L: Layer<Probe, Service: Client>,
    {
        let before = probe.calls();
        let mut calls = Vec::new();
        let number = subject.behind.unwrap_or(1);
        for _ in 0..number {
            let latch = Latch::new();
            probe.script([Reply::ok().body("held").held_by(&latch)]);
            let mut service = service.clone();
            ready(&mut service).await.unwrap();
            let mut call = Task::new(service.call(request()));
            assert!(call.settle().await.is_pending());
            calls.push((latch, call));
        }
        assert_eq!(probe.calls(), before + number, "admitted at once");
        Others { calls }
    }
}

impl<F, B, E> Others<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<courteous_core::BoxError>>,
    E: Into<courteous_core::BoxError>,
{
    /// Lets the calls resolve, and reads their responses.
    pub(super) async fn finish(mut self) {
        while !self.calls.is_empty() {
            self.finish_one().await;
        }
    }

    /// Lets one call resolve, and reads its response.
    pub(super) async fn finish_one(&mut self) {
        let Some((latch, mut call)) = self.calls.pop() else {
            return;
        };
        latch.open();
        let Poll::Ready(response) = call.settle().await else {
            panic!("a call in flight did not resolve with its response");
        };
        read(response.map_err(Into::into).unwrap()).await.unwrap();
    }
}
