use std::fmt::Debug;

use tower_layer::Layer;
use tower_service::Service;

use super::{
    Client, Subject,
    subject::{paused, succeed, unavailable},
};
use crate::Probe;

/// Neither the layer nor its service needs a runtime to be made, cloned or dropped, and a layer that lives for ever serves
/// one runtime after the other.
pub fn it_is_built_outside_a_runtime_and_serves_two_in_turn<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client> + 'static,
{
    assert!(tokio::runtime::Handle::try_current().is_err());
    let subject: &'static Subject<L> = Box::leak(Box::new(make()));
    let probe = Probe::new();
    let mut service = subject.service(&probe);
    drop(service.clone());
    for _ in 0..2 {
        paused(async {
            // Once, so that a budget lasts for both runtimes.
            if subject.after_failure {
                probe.script([unavailable()]);
            }
            // Twice what is admitted at once, so that timers are armed and used.
            for _ in 0..2 * subject.behind.unwrap_or(1) {
                succeed(&mut service.clone()).await;
                subject.assert_nothing_held(&probe, &"after a call in one of two runtimes");
            }
        });
    }
    paused(succeed(&mut service));
}

/// All that can be named is `Send`, `Debug` and `'static`, layer and service are `Clone` and `Sync`, and the response body
/// is `Unpin` and `Default`: as those of the [`Probe`] are.
pub fn its_types_are_send_sync_clone_and_debug<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe> + Clone + Debug + Send + Sync + 'static,
    L::Service: Client<
            Call: Send + Debug + 'static,
            Body: Send + Debug + Default + Unpin + 'static,
            Failure: Send + Debug + 'static,
        > + Debug
        + Send
        + Sync
        + 'static,
{
    let Subject { layer, .. } = make();
    let mut service = layer.clone().layer(Probe::new());
    assert!(!format!("{layer:?}").is_empty());
    assert!(!format!("{service:?}").is_empty());
    paused(async {
        super::subject::ready(&mut service).await.unwrap();
        let future = service.call(super::subject::request());
        assert!(!format!("{future:?}").is_empty());
        let response = future.await.map_err(Into::into).unwrap();
        assert!(!format!("{response:?}").is_empty());
    });
}
