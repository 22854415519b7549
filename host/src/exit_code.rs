//! The exit codes of the `replug` program, all of them.

/// How the program ended, for scripts to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// What was asked for was done. A host that drained after SIGTERM or SIGINT ends so too.
    Ok = 0,
    /// An unexpected failure: a defect of Replug's, or of the system under it.
    Failure = 1,
    /// The command line cannot be understood. Nothing was done.
    Usage = 2,
    /// The host could not start: a port is taken, the configuration is wrong, or there is nothing
    /// to serve. No plugin's code ran unless the message says so.
    CannotStart = 3,
    /// An artifact was refused or failed to load.
    Refused = 4,
    /// A new generation was loaded, did worse than the old one, and was rolled back.
    RolledBack = 5,
    /// No host answers where commands are sent.
    NoHost = 6,
    /// Something waited for did not come in time. The number is that of `timeout(1)`.
    Timeout = 124,
    /// SIGQUIT ended the host at once.
    Quit = 131,
    /// A second SIGINT ended the host before it had drained: 128 and the signal's number, as
    /// shells have it.
    Interrupted = 130,
    /// A second SIGTERM ended the host before it had drained.
    Terminated = 143,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
