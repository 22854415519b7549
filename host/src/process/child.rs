//! Children: a process is started with all that it needs, and watched until it is dead.
//!
//! The standard library's `Command` sets no supplementary groups, limits or descriptors, and what
//! its `pre_exec` may do tells only an error number, not which step was refused. Here all happens
//! in a fixed order, in [`Step`]'s: what takes privileges, then giving them up, then all that is
//! looked up with the rights of the child's user, at last its program. What the system refuses is
//! an error that names the step, and there is no child then.
//!
//! What ends a child whose parent dies: its end of a channel to the parent closes, and it ends by
//! itself. If it does not, the kernel sends it [`ChildSpec::parent_death`].
//!
//! It takes Linux 5.11 or later.

#![expect(unsafe_code, reason = "makes processes by system calls")]

mod cgroup;
mod death;
mod enter;
mod error;
mod fork;
mod identity;
mod output;
mod prepared;
mod reaper;
mod spec;
mod watch;

#[cfg(test)]
mod tests;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    io::Errno,
    process::{Signal, pidfd_send_signal},
};
use tokio::{net::unix::pipe, sync::watch as channel};

pub use death::Death;
pub use error::{SpawnError, Step};
pub use output::{KEPT_LINES, LONGEST_LINE, Line, Sink, Stream};
pub use reaper::{adopts_orphans, reap_orphans};
pub use spec::{Batch, Cgroup, ChildSpec, Environment, Limits, Program};

use cgroup::Made;
use enter::REPORT;
use fork::Forked;
use output::{Last, Reader};
use prepared::Prepared;
use watch::Watched;

/// A child process. Dropped, it goes on, and is still watched: its lines are handed on, and when it
/// dies nothing of it is left.
#[derive(Clone, Debug)]
pub struct Child {
    pid: u32,
    process: Arc<OwnedFd>,
    death: channel::Receiver<Option<Death>>,
    last: Last,
}

impl ChildSpec {
    /// Starts it, and watches it on the runtime of the caller. Comes back when its program is being
    /// executed. Given up before that, there is no child.
    ///
    /// # Errors
    /// When something of it is nothing that the system could do, or is refused: by name.
    ///
    /// # Panics
    /// Outside of a tokio runtime that has I/O enabled.
    pub async fn spawn(mut self) -> Result<Child, SpawnError> {
        let cgroup = self.cgroup.take().map(|cgroup| Made::new(&cgroup));
        let mut cgroup = cgroup.transpose().map_err(|(action, source)| {
            let step = Step::Cgroup;
            SpawnError::Refused {
                step,
                action,
                source,
            }
        })?;
        let last = Last::default();
        let (standard, readers) = self.streams(&last).map_err(cannot_start(Step::Open))?;
        let prepared = Prepared::new(self, standard, cgroup.as_mut())?;
        let forked = fork::fork(prepared).await;
        let forked = forked.map_err(cannot_start(Step::Fork))?;
        let forked = executing(forked).await?;
        let (pid, process, known) = forked.watched();
        let death = Watched {
            process: Arc::clone(&process),
            known,
            readers,
            cgroup,
        };
        Ok(Child {
            pid: pid.as_raw_nonzero().get().unsigned_abs(),
            process,
            death: death.watch().map_err(cannot_start(Step::Open))?,
            last,
        })
    }

    /// The child's ends of its standard streams, and who reads what it writes.
    fn streams(&mut self, last: &Last) -> io::Result<([OwnedFd; 3], [Reader; 2])> {
        let nothing = std::fs::File::open("/dev/null")?;
        let (output, to_output) = io::pipe()?;
        let (error, to_error) = io::pipe()?;
        if let Some(identity) = &self.identity {
            // Else it could write to them, but not open `/dev/stderr`. Who may not give things away
            // cannot change that.
            let (uid, gid) = (Some(identity.uid), Some(identity.gid));
            let _ = std::os::unix::fs::fchown(&to_output, uid, gid);
            let _ = std::os::unix::fs::fchown(&to_error, uid, gid);
        }
        let sink = self.output.take();
        let reader =
            |end: io::PipeReader, stream, sink| Reader::new(end.into(), stream, sink, last.clone());
        let output = reader(output, Stream::Output, sink.clone())?;
        let error = reader(error, Stream::Error, sink)?;
        let standard = [nothing.into(), to_output.into(), to_error.into()];
        Ok((standard, [output, error]))
    }
}

impl Child {
    /// Its process id; another's, maybe, once it is dead.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it is dead. All that it wrote has been handed on then. May be called as often as
    /// needed, and be given up at any time.
    pub async fn wait(&self) -> Death {
        let mut death = self.death.clone();
        // There is no other sender: the task that watched is gone, with its runtime.
        death
            .wait_for(Option::is_some)
            .await
            .map_or(Death::Unknown, |death| death.unwrap_or(Death::Unknown))
    }

    /// How it died, if it is dead.
    #[must_use]
    pub fn death(&self) -> Option<Death> {
        *self.death.borrow()
    }

    /// Sends it a signal; never another process that has got its number. Returns whether it was
    /// still there.
    ///
    /// # Errors
    /// When this process may not, which it always may if it runs as root, or as the same user.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        match pidfd_send_signal(&self.process, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The last [`KEPT_LINES`] lines that it wrote, which may say why it died.
    #[must_use]
    pub fn last_lines(&self) -> Vec<Line> {
        self.last.lines()
    }
}

impl AsFd for Child {
    /// The process's descriptor (`pidfd`), which is readable when it is dead.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

fn cannot_start(step: Step) -> impl FnOnce(io::Error) -> SpawnError {
    move |source| SpawnError::Refused {
        step,
        action: "be started".to_owned(),
        source,
    }
}

/// Waits until it executes its program, or reports what was refused.
async fn executing(forked: Forked) -> Result<Forked, SpawnError> {
    let report = forked.report.try_clone();
    let report = report.and_then(pipe::Receiver::from_owned_fd);
    let report = report.map_err(cannot_start(Step::Fork))?;
    let mut bytes = [0; REPORT];
    loop {
        report.readable().await.map_err(cannot_start(Step::Fork))?;
        match report.try_read(&mut bytes) {
            // Closed as the program began. Or it was killed before, which its death will tell.
            Ok(0) => return Ok(forked),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(cannot_start(Step::Fork)(error)),
        }
    }
    let [step, errno @ ..] = bytes;
    let step = Step::from_byte(step).unwrap_or(Step::Fork);
    Err(SpawnError::Refused {
        step,
        action: forked.prepared.action(step),
        source: io::Error::from_raw_os_error(i32::from_ne_bytes(errno)),
    })
}
