use std::{error::Error, io};

/// Whether `error` says, itself and not by a cause of it, that something took too long: in the words of the clients.
pub(crate) fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
        || error.is::<tokio::time::error::Elapsed>()
        || error.is::<tower::timeout::error::Elapsed>()
    {
        return true;
    }
    #[cfg(feature = "hyper-util")]
    if error.downcast_ref().is_some_and(hyper::Error::is_timeout) {
        return true;
    }
    #[cfg(feature = "reqwest")]
    if error.downcast_ref().is_some_and(reqwest::Error::is_timeout) {
        return true;
    }
    #[cfg(feature = "tonic")]
    {
        let status = error.downcast_ref().map(tonic::Status::code);
        if status == Some(tonic::Code::DeadlineExceeded) || error.is::<tonic::TimeoutExpired>() {
            return true;
        }
    }
    false
}
