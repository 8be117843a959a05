use courteous_core::CallTimeout;
use http::Request;
use reqwest::{Body, Client, Error};

/// Converts a request that was built with reqwest for a stack around a [`ReqwestService`](crate::ReqwestService).
///
/// Its own timeout (`RequestBuilder::timeout`) becomes the call's [`CallTimeout`], which bounds all attempts together.
/// reqwest itself would give it to each attempt again.
///
/// ```
/// use std::time::Duration;
///
/// use courteous_core::CallTimeout;
///
/// let client = reqwest::Client::new();
/// let request = client.get("http://api.example/").timeout(Duration::from_secs(5)).build()?;
/// let request = courteous_reqwest::into_http(request)?;
/// assert_eq!(request.extensions().get(), Some(&CallTimeout(Duration::from_secs(5))));
/// # Ok::<_, reqwest::Error>(())
/// ```
///
/// # Errors
///
/// reqwest's, if `http` cannot express the request.
pub fn into_http(mut request: reqwest::Request) -> Result<Request<Body>, Error> {
    let timeout = request.timeout().copied();
    if timeout.is_some() {
        *request.timeout_mut() = None;
    }
    let mut request = Request::try_from(request)?;
    if let Some(timeout) = timeout {
        request.extensions_mut().insert(CallTimeout(timeout));
    }
    Ok(request)
}

/// The client that sends this request, in place of the service's.
#[derive(Clone)]
pub(crate) struct OwnClient(pub(crate) Client);
