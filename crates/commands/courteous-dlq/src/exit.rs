use std::process::ExitCode;

/// How a command ended: what a script can tell by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All that was asked for was done.
    Done,
    /// The store could not be used, or something else went wrong.
    Failed,
    /// The command line makes no sense: what clap uses as well.
    Usage,
    /// A replay came to its end, and some letters were not delivered.
    Undelivered,
    /// There is no such letter, or it is not in a state for what was asked.
    NotFound,
    /// Some letters cannot be read; what was asked for was done for the others.
    Unreadable,
    /// Ctrl-C: 128 + SIGINT, as shells have it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Undelivered => 3,
            Exit::NotFound => 4,
            Exit::Unreadable => 5,
            Exit::Interrupted => 130,
        })
    }
}
