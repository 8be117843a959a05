use std::{
    error::Error,
    future::pending,
    io::{self, ErrorKind},
    sync::Arc,
};

use courteous_core::{BoxError, find_cause};
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Incoming;

use super::{line::Line, sent_body::SentBody};
use crate::{InvalidAnswer, ResponseFuture, ScriptBody, UnexpectedCall, record::Record};

/// Answers one request as the service does, or ends its connection where the service fails.
pub(super) async fn exchange(
    request: Request<Incoming>,
    record: Arc<Record>,
    line: Arc<Line>,
) -> Result<Response<SentBody>, BoxError> {
    let response = match ResponseFuture::new(record, request).await {
        Ok(response) => response,
        Err(error) => match reason(&*error) {
            Some(reason) => not_implemented(reason),
            None => {
                line.lose(is_reset(&*error));
                // The connection ends, and this with it.
                pending().await
            }
        },
    };
    Ok(response.map(|body| SentBody::new(body, line)))
}

/// What is wrong with the script or the call, if that is what the error tells.
fn reason(error: &(dyn Error + 'static)) -> Option<String> {
    let unexpected = find_cause::<UnexpectedCall>(error).map(ToString::to_string);
    unexpected.or_else(|| find_cause::<InvalidAnswer>(error).map(ToString::to_string))
}

fn is_reset(error: &(dyn Error + 'static)) -> bool {
    let kind = find_cause::<io::Error>(error).map(io::Error::kind);
    kind == Some(ErrorKind::ConnectionReset)
}

fn not_implemented(reason: String) -> Response<ScriptBody> {
    let mut response = Response::new(ScriptBody::from(reason));
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
