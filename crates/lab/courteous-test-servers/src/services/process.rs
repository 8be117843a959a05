use std::{
    fmt, io,
    process::{Child, Command, ExitStatus, Stdio},
};

use super::wait_for;

/// A process that ends with its test: when it is dropped, when the test panics, and even when the
/// test itself is killed.
///
/// ```
/// use std::process::Command;
///
/// use courteous_test_servers::Process;
///
/// let mut server = Process::spawn(Command::new("sleep").arg("60"))?;
/// server.pause();
/// server.resume();
/// assert!(server.is_running());
/// server.kill();
/// assert!(!server.is_running());
/// # std::io::Result::Ok(())
/// ```
pub struct Process {
    child: Child,
    /// Waits for the end of its input, which this process holds, and then kills the child. If this
    /// process is killed, only the guard can end the child.
    guard: Child,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Errors
    ///
    /// If there is no such program, or no shell.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let guard = Command::new("sh")
            .args(["-c", "read -r _; kill -KILL \"$1\"", "sh"])
            .arg(child.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match guard {
            Ok(guard) => Ok(Self { child, guard }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether the process is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Stops the process as if its machine had stopped (`SIGSTOP`): its connections stay, and it
    /// does not answer.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets the process continue after [`pause`](Self::pause) (`SIGCONT`).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends the process a signal, by the name that `kill` uses.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &id])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} {id}");
    }

    /// Kills the process (`SIGKILL`) if it runs, and waits for its end.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Waits until the process has ended without a signal from us, for 30 s at most. Returns `None`
    /// if it has not.
    pub fn wait(&mut self) -> Option<ExitStatus> {
        wait_for(|| self.child.try_wait().ok().flatten())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
        // Kill the child before the guard's input ends, as the child's id may soon belong to
        // another process.
        end(&mut self.guard);
    }
}

/// A process that has already ended cannot be killed, and its status is kept.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
