//! Part of group 5: what it costs to look up the state of a request's origin, once and three times
//! in a call.

use std::{hint::black_box, iter};

use courteous::{
    concurrency,
    core::{CallContext, Origin, OriginHashes, RequestView},
    throttle::{self, Bucket, Rate},
};
use http::Request;

use super::Effort;
use crate::kit::{Spread, Table, cpu_of, uris};

/// Calls per sample.
const CALLS: usize = 2048;

/// The table. Each cell is what the look-ups add to a call.
pub(super) fn table(effort: Effort) -> Table {
    let mut table = Table::new(
        1,
        [
            "origins",
            "one look-up, ns (min < **median** < max)",
            "three look-ups, one hash",
            "three / one",
            "three / one look-up of one origin",
            "one look-up by a key of its own",
            "three such look-ups",
        ],
    );
    let mut of_one_origin = None;
    for origins in [1, 8, 1_000, 10_000] {
        let [one, three, own, three_own] = measure(origins, effort.of(9, 101));
        let single = *of_one_origin.get_or_insert(one.median);
        table.row([
            origins.to_string(),
            one.to_string(),
            three.to_string(),
            format!("{:.2}", three.median / one.median),
            format!("{:.2}", three.median / single),
            own.to_string(),
            three_own.to_string(),
        ]);
    }
    table
}

/// The requests of a client, each to another origin, and limits that know all of them.
struct LookUps {
    requests: Vec<Request<()>>,
    limiters: concurrency::PerOrigin,
    buckets: [throttle::PerOrigin; 2],
    own_limiters: concurrency::Keyed<Origin, KeyOf>,
    own_buckets: [throttle::Keyed<Origin, KeyOf>; 2],
}

/// A function that makes a key for each look-up.
type KeyOf = fn(RequestView<'_>) -> Origin;

/// Nanoseconds that one and three look-ups add, by a hash that is carried and by keys of their own.
fn measure(origins: usize, rounds: usize) -> [Spread; 4] {
    let mut look_ups = LookUps::new(origins);
    let ways: [fn(&LookUps, &mut Request<()>); 5] = [
        |_, request| {
            black_box(request);
        },
        |limits, request| throttle_look_up(&limits.buckets[0], request),
        |limits, request| {
            limit_look_up(&limits.limiters, request);
            throttle_look_up(&limits.buckets[0], request);
            throttle_look_up(&limits.buckets[1], request);
        },
        |limits, request| throttle_look_up(&limits.own_buckets[0], request),
        |limits, request| {
            limit_look_up(&limits.own_limiters, request);
            throttle_look_up(&limits.own_buckets[0], request);
            throttle_look_up(&limits.own_buckets[1], request);
        },
    ];
    look_ups.keep_all();
    let mut samples: [Vec<f64>; 4] = Default::default();
    for round in 0..rounds {
        let nanos = ways.map(|way| {
            let any = (0..CALLS).map(|call| round * CALLS + call);
            let spent = cpu_of(|| look_ups.run(any, way));
            spent.as_nanos() as f64 / CALLS as f64
        });
        for (samples, with) in iter::zip(&mut samples, &nanos[1..]) {
            samples.push(with - nanos[0]);
        }
    }
    samples.map(|samples| Spread::of(&samples))
}

impl LookUps {
    fn new(origins: usize) -> Self {
        let requests = uris(origins).into_iter().map(|uri| {
            let mut request = Request::new(());
            *request.uri_mut() = uri;
            CallContext::edit(request.extensions_mut());
            request
        });
        let limiter = || concurrency::Limiter::from(std::num::NonZeroUsize::MIN);
        let bucket = || Bucket::new(Rate::UNLIMITED);
        let key_of: KeyOf = |head| head.origin();
        Self {
            requests: requests.collect(),
            limiters: concurrency::Keyed::per_origin(limiter()),
            buckets: [(); 2].map(|()| throttle::Keyed::per_origin(bucket())),
            own_limiters: concurrency::Keyed::new(limiter(), key_of),
            own_buckets: [(); 2].map(|()| throttle::Keyed::new(bucket(), key_of)),
        }
    }

    /// Makes all origins known, by handles that are kept: so none is forgotten.
    fn keep_all(&self) {
        for request in &self.requests {
            let head = RequestView::of(request);
            keep(concurrency::Partition::select(&self.limiters, head));
            keep(concurrency::Partition::select(&self.own_limiters, head));
            for (buckets, own) in iter::zip(&self.buckets, &self.own_buckets) {
                keep(throttle::Partition::select(buckets, head));
                keep(throttle::Partition::select(own, head));
            }
        }
    }

    /// Looks up what `way` says for calls whose hash no layer has made yet. The numbers are spread
    /// over all requests.
    fn run(&mut self, numbers: impl Iterator<Item = usize>, way: fn(&Self, &mut Request<()>)) {
        let mut requests = std::mem::take(&mut self.requests);
        for number in numbers {
            let at = number * 617 % requests.len();
            let request = &mut requests[at];
            if let Some(context) = request.extensions_mut().get_mut::<CallContext>() {
                *context = CallContext::default();
            }
            way(self, request);
        }
        self.requests = requests;
    }
}

/// Keeps a handle for as long as the program runs.
fn keep<T>(handle: T) {
    std::mem::forget(handle);
}

fn limit_look_up(limiters: &impl concurrency::Partition, request: &mut Request<()>) {
    let hashes = OriginHashes::of(request.extensions().get());
    let head = RequestView::of(request).with_hashes(&hashes);
    drop(black_box(limiters.select(head)));
    hashes.carry(request.extensions_mut());
}

fn throttle_look_up(buckets: &impl throttle::Partition, request: &mut Request<()>) {
    let hashes = OriginHashes::of(request.extensions().get());
    let head = RequestView::of(request).with_hashes(&hashes);
    drop(black_box(buckets.select(head)));
    hashes.carry(request.extensions_mut());
}
