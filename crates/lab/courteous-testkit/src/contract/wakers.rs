use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    Client, Subject,
    subject::{paused, read, ready, request},
    waits::Others,
};
use crate::{Probe, assert_ends};

/// A task's waker is foreign code: what it does when it is replaced, dropped or woken may be another call of the same
/// service. So no layer runs it under a lock of its own.
pub fn a_waker_may_make_another_call<L>(make: impl Fn() -> Subject<L> + Send + 'static)
where
    L: Layer<Probe, Service: Client + Send + Sync + 'static>,
{
    assert_ends(move || check(&make()));
}

fn check<L>(subject: &Subject<L>)
where
    L: Layer<Probe, Service: Client + Send + Sync + 'static>,
{
    let probe = Probe::new();
    let service = subject.service(&probe);
    let caller = || Waker::from(Arc::new(Caller(service.clone())));
    paused(async {
        let others = Others::occupy(subject, &service, &probe).await;
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let mut service = service.clone();
            ready(&mut service).await.unwrap();
            let mut call = Box::pin(service.call(request()));
            for _ in 0..2 {
                // The second one takes the place of the first, which goes.
                let polled = call.as_mut().poll(&mut Context::from_waker(&caller()));
                if subject.behind.is_some() {
                    assert!(polled.is_pending(), "the call does not wait");
                }
                if polled.is_ready() {
                    break;
                }
            }
            waiting.push(call);
        }
        let second = waiting.pop();
        // Its waker goes with it.
        drop(waiting);
        others.finish().await;
        // The waker of the second one is woken, unless the subject needs time for that.
        if let Some(second) = second
            && subject.behind.is_some()
        {
            let response = second.await.map_err(Into::into).unwrap();
            read(response).await.unwrap();
        }
    });
}

/// Calls the service when it is woken and when it is dropped, and gives the call up after one poll.
struct Caller<C: Client>(C);

impl<C: Client> Caller<C> {
    fn call(&self) {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut service = self.0.clone();
        // An instance of the probe is not ready at its first poll.
        for _ in 0..3 {
            if let Poll::Ready(Ok(())) = service.poll_ready(cx) {
                let mut call = Box::pin(service.call(request()));
                drop(call.as_mut().poll(cx));
                return;
            }
        }
    }
}

impl<C: Client + Send + Sync + 'static> Wake for Caller<C> {
    fn wake(self: Arc<Self>) {
        self.call();
    }
}

impl<C: Client> Drop for Caller<C> {
    fn drop(&mut self) {
        self.call();
    }
}
