use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{DefaultGuard, SetGlobalDefaultError, set_default, set_global_default},
};

/// A subscriber that keeps the events of this workspace's layers, each as one line: level, target, name and fields.
///
/// The message comes last, and is left out where it is the name again.
///
/// ```
/// use courteous_testkit::Events;
///
/// let events = Events::listen();
/// tracing::debug!(name: "closed", target: "courteous::throttle", pause_ms = 5, method = "GET", "closed");
/// assert_eq!(events.take(), ["DEBUG courteous::throttle closed pause_ms=5 method=GET"]);
/// ```
#[derive(Debug)]
pub struct Events {
    lines: Lines,
    _guard: Option<DefaultGuard>,
}

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Events {
    /// Listens to this thread until it is dropped.
    #[must_use]
    pub fn listen() -> Self {
        /// While a process has a single subscriber, `tracing` asks the thread that comes to an event first whether anyone wants
        /// it, for all threads: a test without a listener says no (tokio-rs/tracing#3611). So there are always two.
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| Dispatch::new(Lines::default()));

        let lines = Lines::default();
        Self {
            lines: lines.clone(),
            _guard: Some(set_default(lines)),
        }
    }

    /// Listens to all threads that have no listener of their own, until the process ends: for events of a thread that a store starts.
    /// Such a test needs a process of its own.
    ///
    /// # Errors
    ///
    /// When the process has such a subscriber already.
    pub fn listen_to_all_threads() -> Result<Self, SetGlobalDefaultError> {
        let lines = Lines::default();
        set_global_default(lines.clone())?;
        Ok(Self {
            lines,
            _guard: None,
        })
    }

    /// The events since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock())
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("courteous")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let name = metadata.name();
        let mut line = EventText {
            text: format!("{} {} {name}", metadata.level(), metadata.target()),
            message: String::new(),
        };
        event.record(&mut line);
        if line.message != name {
            let _ = write!(line.text, " message={}", line.message);
        }
        self.lock().push(line.text);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct EventText {
    text: String,
    message: String,
}

impl EventText {
    fn add(&mut self, field: &Field, value: impl fmt::Display) {
        match field.name() {
            "message" => self.message = value.to_string(),
            name => drop(write!(self.text, " {name}={value}")),
        }
    }
}

impl Visit for EventText {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}
