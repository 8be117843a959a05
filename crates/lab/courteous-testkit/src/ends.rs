use std::{sync::mpsc, thread, time::Duration};

/// How long a check may take on the machine's clock before it counts as a deadlock.
const LONG: Duration = Duration::from_secs(120);

/// Runs `check` on a thread of its own, and panics if it has not ended within two minutes: so a deadlock fails a test
/// instead of hanging the suite.
pub fn assert_ends(check: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        check();
        // If the check panics, the channel is closed instead.
        let _ = done.send(());
    });
    if ended.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("not over after {LONG:?}: a deadlock");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
