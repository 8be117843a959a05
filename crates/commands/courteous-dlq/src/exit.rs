use std::process::ExitCode;

/// How a command ended, for a script that reads its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for was done.
    Done,
    /// The store could not be used, or something else went wrong.
    Failed,
    /// The command line makes no sense; clap uses the same code.
    Usage,
    /// A replay ended, and some letters were not delivered.
    Undelivered,
    /// There is no such letter, or its state does not allow the command.
    NotFound,
    /// Some letters cannot be read; the command has done its work for the others.
    Unreadable,
    /// Ctrl-C: 128 + SIGINT, as in shells.
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
