//! The process that started this one.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{PidfdFlags, getppid, pidfd_open},
};

/// The process that started this one: whoever takes its children over when it dies is another.
#[derive(Debug)]
pub struct Parent(OwnedFd);

impl Parent {
    /// Who it is now.
    ///
    /// # Errors
    /// When there is none, as for the first process of a container, or the system is too old to say.
    pub fn now() -> rustix::io::Result<Self> {
        let pid = getppid().ok_or(Errno::SRCH)?;
        pidfd_open(pid, PidfdFlags::empty()).map(Self)
    }

    /// Whether it is dead, or is so within that time. Blocks the thread.
    #[must_use]
    pub fn dies_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(left) = Timespec::try_from(left) else {
                return false;
            };
            let mut dead = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut dead, Some(&left)) {
                Err(Errno::INTR) => {}
                answer => return answer.is_ok_and(|number| number > 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::Pid;

    use super::*;

    #[test]
    fn a_process_is_seen_to_die_and_not_before() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let process = Parent(pidfd_open(pid, PidfdFlags::empty()).unwrap());
        assert!(!process.dies_within(Duration::from_millis(20)));
        // Its input ends.
        drop(child.stdin.take());
        assert!(process.dies_within(Duration::from_secs(60)));
        child.wait().unwrap();
    }

    #[test]
    fn the_parent_of_a_test_lives() {
        assert!(!Parent::now().unwrap().dies_within(Duration::ZERO));
    }
}
