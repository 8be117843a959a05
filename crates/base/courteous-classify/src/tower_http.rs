//! Our classifiers as tower-http's, and the other way round.

use std::{any::Any, fmt};

use courteous_core::{BoxError, Classify, Effect, Fault, Outcome, RequestLine, Verdict};
use http::{Request, Response};
use tower_http::classify::{
    ClassifiedResponse, ClassifyEos as _, ClassifyResponse, MakeClassifier, NeverClassifyEos,
};

/// A classifier of ours that drives tower-http's `TraceLayer`, so that traces and retries agree on what a failure is.
///
/// tower-http shows a classifier neither whether a body follows nor an error by its type. So a gRPC status among the
/// headers is not read, and of errors only a [`BoxError`] is: any other is a failure of unknown effect.
///
/// ```
/// use courteous_classify::{HttpClassifier, TraceClassifier};
/// use tower_http::trace::TraceLayer;
///
/// let layer = TraceLayer::new(TraceClassifier::new(HttpClassifier::new()));
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceClassifier<C> {
    classifier: C,
}

impl<C: Classify + Clone> TraceClassifier<C> {
    /// `classifier`, for tower-http, which clones it for each request.
    #[must_use]
    pub const fn new(classifier: C) -> Self {
        Self { classifier }
    }
}

impl<C: Classify + Clone> MakeClassifier for TraceClassifier<C> {
    type Classifier = TraceCall<C>;
    type FailureClass = FailureClass;
    type ClassifyEos = NeverClassifyEos<FailureClass>;

    fn make_classifier<B>(&self, request: &Request<B>) -> TraceCall<C> {
        TraceCall {
            classifier: self.classifier.clone(),
            request: RequestLine::of(request),
        }
    }
}

/// A [`TraceClassifier`] of one request.
#[derive(Clone, Debug)]
pub struct TraceCall<C> {
    classifier: C,
    request: RequestLine,
}

impl<C: Classify> ClassifyResponse for TraceCall<C> {
    type FailureClass = FailureClass;
    type ClassifyEos = NeverClassifyEos<FailureClass>;

    fn classify_response<B>(
        self,
        response: &Response<B>,
    ) -> ClassifiedResponse<FailureClass, Self::ClassifyEos> {
        let outcome = Outcome::head(response).with_request(&self.request);
        ClassifiedResponse::Ready(match self.classifier.classify(outcome) {
            Verdict::Answered => Ok(()),
            verdict => Err(FailureClass {
                verdict,
                what: response.status().to_string(),
            }),
        })
    }

    fn classify_error<E: fmt::Display + 'static>(self, error: &E) -> FailureClass {
        let verdict = match (error as &dyn Any).downcast_ref::<BoxError>() {
            Some(error) => {
                let outcome = Outcome::error(&**error).with_request(&self.request);
                self.classifier.classify(outcome)
            }
            None => Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse),
        };
        FailureClass {
            verdict,
            what: error.to_string(),
        }
    }
}

/// What tower-http's layers report of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureClass {
    verdict: Verdict,
    what: String,
}

impl FailureClass {
    /// How the failure was judged.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// A classifier of tower-http's that drives a retry.
///
/// What it calls a failure may pass, and was *maybe processed*; it knows nothing finer, and does not see the request. A class that depends on the end of
/// the body counts as answered, as a retry decides before that. It is shown a copy of the head, which allocates: use it
/// where there is a classifier that must be the only one.
///
/// ```
/// use courteous_classify::FromTowerHttp;
/// use courteous_core::{Classify, Effect, Fault, Outcome, Verdict};
/// use http::Response;
/// use tower_http::classify::ServerErrorsAsFailures;
///
/// // For `RetryLayer::with_classifier`.
/// let classifier = FromTowerHttp::new(ServerErrorsAsFailures::new());
/// let response = Response::builder().status(501).body(())?;
/// let failed = Verdict::transient(Effect::MaybeProcessed, Fault::Server);
/// assert_eq!(classifier.classify(Outcome::head(&response)), failed);
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct FromTowerHttp<C> {
    classifier: C,
}

impl<C: ClassifyResponse + Clone> FromTowerHttp<C> {
    /// `classifier`, for a retry.
    #[must_use]
    pub const fn new(classifier: C) -> Self {
        Self { classifier }
    }
}

impl<C: ClassifyResponse + Clone> Classify for FromTowerHttp<C> {
    fn classify(&self, outcome: Outcome<'_>) -> Verdict {
        let failed = Verdict::transient(Effect::MaybeProcessed, Fault::Server);
        let Ok(head) = outcome.result() else {
            return Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);
        };
        let mut response = Response::new(());
        *response.status_mut() = head.status();
        *response.headers_mut() = head.headers().clone();
        match self.classifier.clone().classify_response(&response) {
            ClassifiedResponse::Ready(Ok(())) => Verdict::Answered,
            ClassifiedResponse::Ready(Err(_)) => failed,
            // The trailers of a response that is nothing but a head are its headers.
            ClassifiedResponse::RequiresEos(eos) if head.is_end_stream() => {
                match eos.classify_eos(Some(head.headers())) {
                    Ok(()) => Verdict::Answered,
                    Err(_) => failed,
                }
            }
            ClassifiedResponse::RequiresEos(_) => Verdict::Answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use tower_http::classify::{GrpcErrorsAsFailures, ServerErrorsAsFailures};

    use super::*;
    use crate::HttpClassifier;

    fn response(status: u16, grpc: Option<&str>) -> Response<Empty<&'static [u8]>> {
        let mut response = Response::builder().status(status);
        if let Some(grpc) = grpc {
            response = response.header("grpc-status", grpc);
        }
        response.body(Empty::new()).unwrap()
    }

    #[test]
    fn our_verdicts_are_their_failures() {
        let request = Request::new(());
        let theirs = TraceClassifier::new(HttpClassifier::new()).make_classifier(&request);
        let of = |status| match theirs.clone().classify_response(&response(status, None)) {
            ClassifiedResponse::Ready(result) => result.map_err(|class| class.verdict()),
            ClassifiedResponse::RequiresEos(_) => panic!("decided on the head"),
        };
        assert_eq!((of(200), of(404)), (Ok(()), Ok(())));
        assert_eq!(of(501), Err(Verdict::Permanent));
        assert_eq!(
            of(503),
            Err(Verdict::transient(Effect::MaybeProcessed, Fault::Server))
        );
        let refused: BoxError = std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into();
        let never_sent = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
        assert_eq!(theirs.classify_error(&refused).verdict(), never_sent);
    }

    #[test]
    fn a_traces_classifier_sees_the_request() {
        let lags = |outcome: Outcome<'_>| match outcome.request() {
            Some(request) if request.uri().path() == "/lags" => Verdict::Permanent,
            _ => Verdict::Answered,
        };
        let classifier = TraceClassifier::new(lags);
        for (path, failed) in [("/lags", true), ("/", false)] {
            let request = Request::get(path).body(()).unwrap();
            let classifier = classifier.make_classifier(&request);
            match classifier.classify_response(&response(200, None)) {
                ClassifiedResponse::Ready(result) => assert_eq!(result.is_err(), failed),
                ClassifiedResponse::RequiresEos(_) => panic!("decided on the head"),
            }
        }
    }

    #[test]
    fn their_failures_are_our_verdicts() {
        let failed = Verdict::transient(Effect::MaybeProcessed, Fault::Server);
        let ours = FromTowerHttp::new(ServerErrorsAsFailures::new());
        assert_eq!(
            ours.classify(Outcome::response(&response(429, None))),
            Verdict::Answered
        );
        assert_eq!(
            ours.classify(Outcome::response(&response(500, None))),
            failed
        );
        let grpc = FromTowerHttp::new(GrpcErrorsAsFailures::new());
        assert_eq!(
            grpc.classify(Outcome::response(&response(200, Some("14")))),
            failed
        );
        assert_eq!(
            grpc.classify(Outcome::response(&response(200, Some("0")))),
            Verdict::Answered
        );
    }
}
