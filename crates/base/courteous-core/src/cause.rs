use std::{error::Error, io};

/// Any error that can travel between threads: what a layer that can fail yields.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The first error of type `T` among the [`causes`] of `error`, itself included.
///
/// Call it with `&*error` for a [`BoxError`].
#[must_use]
pub fn find_cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// `error` and all its causes, outermost first.
///
/// Follows [`Error::source`], and also looks inside an [`io::Error`], whose `source` skips the error that it wraps.
pub fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RejectReason, Rejected};

    #[derive(Debug)]
    struct Wrapper(BoxError);

    impl std::fmt::Display for Wrapper {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl Error for Wrapper {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn a_cause_is_found_at_any_depth_also_inside_an_io_error() {
        let error: BoxError = Rejected::new(RejectReason::QueueFull).into();
        let error = io::Error::other(Wrapper(error));
        let error = Wrapper(io::Error::other(error).into());
        assert!(find_cause::<Rejected>(&error).is_some());
        assert!(find_cause::<io::Error>(&error).is_some());
        assert!(find_cause::<Wrapper>(&error).is_some());
    }

    #[test]
    fn a_cause_that_is_not_there_is_not_found() {
        let error = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(find_cause::<Rejected>(&error).is_none());
    }
}
