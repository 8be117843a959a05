use std::{collections::BTreeMap, fmt, sync::Arc};

use http::Method;

use crate::{Answer, Call};

/// What a server answers, call by call.
///
/// The answers are given in order, to whichever call comes next. What happens to further calls is a
/// setting:
///
/// | | further calls |
/// |---|---|
/// | by default | fail with [`UnexpectedCall`](crate::UnexpectedCall), and [`verify`](crate::ScriptService::verify) reports them |
/// | [`then_repeat`](Self::then_repeat) | get the same answer for ever |
/// | [`then_with`](Self::then_with) | get what a closure says |
///
/// ```
/// use std::time::Duration;
///
/// use courteous_testing::{Answer, Script};
/// use http::Method;
///
/// let script = Script::new([503, 200])
///     .on(Method::POST, "/charges", [Answer::lost(), Answer::status(201)])
///     .on(Method::GET, "/health", Script::always(Answer::never()))
///     .on(Method::GET, "/items/*", Script::new([429]).then_repeat(Answer::ok()).per_path());
/// let service = script.service();
/// # let _ = service;
/// ```
///
/// # Sharing
///
/// A script is a plan: it does not change when it is used, and services or servers that are made of
/// its clones know nothing of each other.
///
/// # Order
///
/// Calls are numbered as they come. Calls that come at once from several threads come in any order,
/// so the answer of each is a matter of chance. [`on`](Self::on) and [`per`](Self::per) make it
/// depend on the call alone.
#[derive(Clone, Default)]
pub struct Script {
    answers: Vec<Answer>,
    further: Further,
    routes: Vec<Route>,
    per: Option<Per>,
}

type Per = Arc<dyn Fn(&Call) -> String + Send + Sync>;
pub(crate) type With = Arc<dyn Fn(&Call) -> Answer + Send + Sync>;

#[derive(Clone, Default)]
enum Further {
    #[default]
    Unexpected,
    Repeat(Answer),
    With(With),
}

#[derive(Clone)]
struct Route {
    method: Method,
    path: String,
    script: Script,
}

/// A part of a script with a count of its own: a route, and in it a key of [`Script::per`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Place {
    route: Vec<usize>,
    per: Option<String>,
}

/// How many calls have come to each part of a script.
pub(crate) type Used = BTreeMap<Place, usize>;

/// What a call gets.
pub(crate) enum Turn {
    Given(Answer),
    Ask(With),
    /// Nothing: its part of the script has so many answers, and all were given.
    Unexpected(usize),
}

impl Script {
    /// These answers in order. A status alone is an answer, too: `Script::new([503, 200])`.
    ///
    /// `Script::default()` has no answers.
    #[must_use]
    pub fn new<A: Into<Answer>>(answers: impl IntoIterator<Item = A>) -> Self {
        Self {
            answers: answers.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// This answer to every call.
    #[must_use]
    pub fn always(answer: impl Into<Answer>) -> Self {
        Self::default().then_repeat(answer)
    }

    /// Adds one answer.
    #[must_use]
    pub fn then(mut self, answer: impl Into<Answer>) -> Self {
        self.answers.push(answer.into());
        self
    }

    /// Adds the same answer `times` times.
    #[must_use]
    pub fn then_times(mut self, times: usize, answer: impl Into<Answer>) -> Self {
        let answers = std::iter::repeat_n(answer.into(), times);
        self.answers.extend(answers);
        self
    }

    /// Gives `answer` to all further calls. Replaces what was said of them before.
    #[must_use]
    pub fn then_repeat(mut self, answer: impl Into<Answer>) -> Self {
        self.further = Further::Repeat(answer.into());
        self
    }

    /// Gives all further calls what `answer` says. Replaces what was said of them before.
    ///
    /// It is asked when the request was read, and sees its body. It is called under no lock, and
    /// may ask the service for its calls.
    ///
    /// ```
    /// use courteous_testing::{Answer, Script};
    ///
    /// let echo = Script::default().then_with(|call| Answer::ok().body(call.body().to_vec()));
    /// # let _ = echo;
    /// ```
    #[must_use]
    pub fn then_with(mut self, answer: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        self.further = Further::With(Arc::new(answer));
        self
    }

    /// Gives calls with this method and path a script of their own. The first route that fits
    /// counts.
    ///
    /// A path that ends with `*` covers every path that begins with the rest of it. The query does
    /// not count.
    #[must_use]
    pub fn on(mut self, method: Method, path: &str, script: impl Into<Self>) -> Self {
        self.routes.push(Route {
            method,
            path: path.to_owned(),
            script: script.into(),
        });
        self
    }

    /// Goes through the answers once for each key: calls for which `key` returns the same text
    /// share one pass.
    ///
    /// Routes are not concerned. `key` is asked when the call comes, before its body is read, and
    /// under no lock.
    ///
    /// ```
    /// use courteous_testing::{Answer, Script};
    ///
    /// // Each customer's first request fails, in whatever order they come.
    /// let script = Script::new([503, 200])
    ///     .per(|call| call.header("x-customer").unwrap_or("none").to_owned());
    /// # let _ = script;
    /// ```
    #[must_use]
    pub fn per(mut self, key: impl Fn(&Call) -> String + Send + Sync + 'static) -> Self {
        self.per = Some(Arc::new(key));
        self
    }

    /// Goes through the answers once for each path: [`per`](Self::per) with the path as the key.
    #[must_use]
    pub fn per_path(self) -> Self {
        self.per(|call| call.uri().path().to_owned())
    }

    /// The part of the script that is for `call`. Calls foreign code.
    pub(crate) fn find(&self, call: &Call) -> (Place, &Self) {
        let (mut place, mut script) = (Place::default(), self);
        while let Some((index, route)) = script.route(call) {
            place.route.push(index);
            script = &route.script;
        }
        place.per = script.per.as_ref().map(|key| key(call));
        (place, script)
    }

    fn route(&self, call: &Call) -> Option<(usize, &Route)> {
        let mut routes = self.routes.iter().enumerate();
        routes.find(|(_, route)| route.covers(call))
    }

    /// What the call gets that comes after `before` others to this part of the script.
    pub(crate) fn turn(&self, before: usize) -> Turn {
        match (self.answers.get(before), &self.further) {
            (Some(answer), _) => Turn::Given(answer.clone()),
            (None, Further::Repeat(answer)) => Turn::Given(answer.clone()),
            (None, Further::With(answer)) => Turn::Ask(answer.clone()),
            (None, Further::Unexpected) => Turn::Unexpected(self.answers.len()),
        }
    }

    /// A line for each part of the script whose answers were not all given.
    pub(crate) fn unmet(&self, used: &Used) -> Vec<String> {
        let mut lines = Vec::new();
        self.add_unmet(used, &mut Vec::new(), "", &mut lines);
        lines
    }

    fn add_unmet(&self, used: &Used, route: &mut Vec<usize>, label: &str, lines: &mut Vec<String>) {
        let here = used.iter().filter(|(place, _)| place.route == *route);
        let mut passes: Vec<_> = here
            .map(|(place, &used)| (place.per.as_deref(), used))
            .collect();
        if passes.is_empty() {
            passes.push((None, 0));
        }
        for (key, used) in passes {
            let left = self.answers.get(used..).unwrap_or_default();
            if left.is_empty() {
                continue;
            }
            let key = key.map(|key| format!("for {key:?}: ")).unwrap_or_default();
            let were = if left.len() == 1 { "was" } else { "were" };
            let (count, all) = (left.len(), self.answers.len());
            let left: Vec<_> = left.iter().map(ToString::to_string).collect();
            let left = left.join("; ");
            lines.push(format!(
                "{label}{key}{count} of {all} answers {were} not given: {left}"
            ));
        }
        for (index, inner) in self.routes.iter().enumerate() {
            route.push(index);
            let label = format!("{label}{} {}: ", inner.method, inner.path);
            inner.script.add_unmet(used, route, &label, lines);
            route.pop();
        }
    }

    /// Whether all answers that are written down can be given by a server.
    #[cfg(feature = "server")]
    pub(crate) fn is_for_servers(&self) -> bool {
        let repeated = match &self.further {
            Further::Repeat(answer) => Some(answer),
            Further::Unexpected | Further::With(_) => None,
        };
        let mut answers = self.answers.iter().chain(repeated);
        !answers.any(Answer::is_for_services_only)
            && self
                .routes
                .iter()
                .all(|route| route.script.is_for_servers())
    }
}

impl Route {
    fn covers(&self, call: &Call) -> bool {
        let path = call.uri().path();
        let covers_path = match self.path.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == self.path,
        };
        covers_path && *call.method() == self.method
    }
}

impl<A: Into<Answer>, const N: usize> From<[A; N]> for Script {
    fn from(answers: [A; N]) -> Self {
        Self::new(answers)
    }
}

impl<A: Into<Answer>> From<Vec<A>> for Script {
    fn from(answers: Vec<A>) -> Self {
        Self::new(answers)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Script");
        f.field("answers", &self.answers);
        match &self.further {
            Further::Unexpected => {}
            Further::Repeat(answer) => {
                f.field("then_repeat", answer);
            }
            Further::With(_) => {
                f.field("then_with", &"..");
            }
        }
        for route in &self.routes {
            f.field(&format!("{} {}", route.method, route.path), &route.script);
        }
        f.finish_non_exhaustive()
    }
}
