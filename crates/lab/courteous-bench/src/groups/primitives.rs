use std::{
    hint::black_box,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use courteous::core::CallContext;
use http::{Extensions, HeaderMap, HeaderValue};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    contenders::Kind,
    kit::{KEY, Shape, Spread, Table, cpu_of},
};

/// How often a primitive is run for a sample.
const TIMES: u32 = 2048;

/// The primitives that layers are made of. Their sums tell the least that a layer must cost on this
/// machine.
pub(super) struct Primitives {
    primitives: Vec<Primitive>,
}

struct Primitive {
    name: &'static str,
    run: Box<dyn FnMut()>,
    samples: Vec<f64>,
}

const CLOCK: &str = "clock read";
const CAS: &str = "compare-and-swap";
const MUTEX: &str = "mutex locked and unlocked";
const ARC: &str = "`Arc` cloned and dropped";
const CONTEXT: &str = "call context into empty extensions, and dropped";
const CONTEXT_AGAIN: &str = "call context into extensions that have one";
const SLEEP: &str = "`Sleep` registered and cancelled";
const RESET: &str = "kept `Sleep` reset";
const CLONE: [&str; 2] = [
    "request cloned and dropped: floor",
    "request cloned and dropped: realistic",
];
const KEY_WRITTEN: [&str; 2] = [
    "key drawn, written, into the header fields: floor",
    "key drawn, written, into the header fields: realistic",
];

impl Primitives {
    pub(super) fn new() -> Self {
        let mut new = Self {
            primitives: Vec::new(),
        };
        new.add_memory();
        new.add_timers();
        new.add_requests();
        new
    }

    fn add_memory(&mut self) {
        self.add(CLOCK, || {
            black_box(Instant::now());
        });
        let word = AtomicUsize::new(0);
        self.add(CAS, move || {
            let value = black_box(&word).load(Ordering::Relaxed);
            let next = value.wrapping_add(1);
            let swap = word.compare_exchange(value, next, Ordering::AcqRel, Ordering::Relaxed);
            let _ = black_box(swap);
        });
        let mutex = Mutex::new(0_u64);
        self.add(MUTEX, move || {
            let mut guard = black_box(&mutex)
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *guard += 1;
        });
        let shared = Arc::new(0_u64);
        self.add(ARC, move || drop(black_box(Arc::clone(black_box(&shared)))));
        self.add(CONTEXT, || {
            let mut extensions = Extensions::new();
            extensions.insert(black_box(CallContext::default()));
            drop(black_box(extensions));
        });
        let mut extensions = Extensions::new();
        self.add(CONTEXT_AGAIN, move || {
            black_box(&mut extensions).insert(black_box(CallContext::default()));
        });
    }

    fn add_timers(&mut self) {
        // Later than the end of all rounds.
        let far = Instant::now() + Duration::from_secs(3600);
        self.add(SLEEP, move || {
            let mut sleep = pin!(sleep_until(far));
            register(sleep.as_mut());
        });
        let mut sleep = Box::pin(sleep_until(far));
        register(sleep.as_mut());
        let mut later = far;
        self.add(RESET, move || {
            later += Duration::from_millis(1);
            sleep.as_mut().reset(later);
        });
    }

    fn add_requests(&mut self) {
        for shape in Shape::ALL {
            let request = shape.request(true);
            self.add(CLONE[shape as usize], move || {
                drop(black_box(black_box(&request).clone()));
            });
        }
        self.add(KEY_WRITTEN[0], || {
            let mut fields = HeaderMap::new();
            insert_key(&mut fields);
            drop(black_box(fields));
        });
        let mut fields = Shape::Realistic.request(true).headers().clone();
        self.add(KEY_WRITTEN[1], move || insert_key(black_box(&mut fields)));
    }

    fn add(&mut self, name: &'static str, mut once: impl FnMut() + 'static) {
        self.primitives.push(Primitive {
            name,
            run: Box::new(move || {
                for _ in 0..TIMES {
                    once();
                }
            }),
            samples: Vec::new(),
        });
    }

    /// Measures each primitive once more.
    pub(super) fn sample(&mut self) {
        for primitive in &mut self.primitives {
            let spent = cpu_of(&mut primitive.run);
            let nanos = spent.as_nanos() as f64 / f64::from(TIMES);
            primitive.samples.push(nanos);
        }
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(1, ["primitive", "ns (min < **median** < max)"]);
        for primitive in &self.primitives {
            let spread = Spread::of(&primitive.samples);
            table.row([primitive.name.to_owned(), format!("{spread:.1}")]);
        }
        table
    }

    /// The least that the promises of a layer cost, in each shape.
    pub(super) fn sum(&self, kind: Kind) -> Option<[f64; 2]> {
        let of = |name| {
            let primitive = self
                .primitives
                .iter()
                .find(|primitive| primitive.name == name);
            primitive.map_or(f64::NAN, |primitive| Spread::of(&primitive.samples).median)
        };
        // A service that is cloned for a call has its own handle to what its clones share.
        let cloned = |[floor, realistic]: [f64; 2]| [floor, realistic + of(ARC)];
        let both = |nanos| [nanos, nanos];
        Some(match kind {
            // A permit taken, held by the response's body, and given back.
            Kind::Concurrency => cloned(both(2.0 * of(CAS) + of(ARC))),
            // The current level, and the handle that listens to the response.
            Kind::Throttle => cloned(both(of(CLOCK) + of(CAS) + of(ARC))),
            // The request for another attempt, the settings, the number and the identity that inner
            // layers are told, and the deposit into a window of time.
            Kind::Retry => {
                let deposit = of(CLOCK) + of(CAS);
                cloned(CLONE.map(|clone| of(clone) + of(ARC) + of(CONTEXT) + deposit))
            }
            Kind::Key => cloned(KEY_WRITTEN.map(of)),
            // The deadline that inner layers are told, another clock read before anything is sent,
            // and the timer if there is a wait.
            Kind::TotalTimeout => {
                let deadline = 2.0 * of(CLOCK) + of(CONTEXT);
                [deadline, deadline + of(SLEEP)]
            }
            Kind::AttemptTimeout => [of(CLOCK), of(CLOCK) + of(SLEEP)],
            Kind::Five => {
                let five = [
                    Kind::Concurrency,
                    Kind::Throttle,
                    Kind::Retry,
                    Kind::Key,
                    Kind::TotalTimeout,
                ];
                // Two of the layers write the context, but it is made once.
                let saved = of(CONTEXT_AGAIN) - of(CONTEXT);
                five.into_iter()
                    .filter_map(|kind| self.sum(kind))
                    .fold([saved, saved], |[a, b], [c, d]| [a + c, b + d])
            }
            Kind::Stack => return None,
        })
    }
}

fn register(sleep: Pin<&mut Sleep>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sleep.poll(&mut cx).is_pending(), "a time that has come");
}

/// Draws a key, and writes it into the fields.
fn insert_key(fields: &mut HeaderMap) {
    let mut buffer = uuid::Uuid::encode_buffer();
    let Ok(bytes) = courteous::core::random_bytes() else {
        return;
    };
    let key = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let key = key.hyphenated().encode_lower(&mut buffer);
    if let Ok(key) = HeaderValue::from_str(key) {
        fields.insert(KEY, key);
    }
}
