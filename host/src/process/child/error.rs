//! Why a child could not be started.

use std::{fmt, io};

use thiserror::Error;

/// Why a child could not be started. Nothing of it is left then.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// What was asked for cannot be had of any system.
    #[error("a child process cannot be started: {0}")]
    Invalid(String),
    /// The system refused something.
    #[error("a child process cannot {action}{}", remedy(*.step, .source))]
    Refused {
        /// What it refused.
        step: Step,
        /// The same with the values that it was to have.
        action: String,
        /// What it said.
        source: io::Error,
    },
}

/// What is done to start a child, in this order. All before `Enter` is done here, the rest in the
/// child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Opening the program, and pipes for what it writes.
    Open,
    /// Making its control group, and limiting it.
    Cgroup,
    /// Making the process.
    Fork,
    /// Putting its descriptors where they are to be, and closing all others.
    Descriptors,
    /// Putting the actions for signals back to the defaults.
    Signals,
    /// Entering a process group of its own.
    OwnGroup,
    /// Entering its control group.
    Enter,
    /// Limiting memory.
    Memory,
    /// Limiting processor time.
    CpuTime,
    /// Limiting core dumps.
    Core,
    /// Setting the nice value.
    Nice,
    /// Having it scheduled as batch work.
    Scheduling,
    /// Giving up capabilities that would be kept by the next user.
    Capabilities,
    /// Setting the supplementary groups.
    Groups,
    /// Setting the group.
    Group,
    /// Setting the user.
    User,
    /// Asking for a signal at this process's death.
    ParentDeath,
    /// Gaining no privileges from now on.
    NoNewPrivs,
    /// Entering the directory.
    Directory,
    /// Executing the program.
    Execute,
}

impl Step {
    /// Those that are done in the child.
    const IN_CHILD: [Self; 17] = [
        Self::Descriptors,
        Self::Signals,
        Self::OwnGroup,
        Self::Enter,
        Self::Memory,
        Self::CpuTime,
        Self::Core,
        Self::Nice,
        Self::Scheduling,
        Self::Capabilities,
        Self::Groups,
        Self::Group,
        Self::User,
        Self::ParentDeath,
        Self::NoNewPrivs,
        Self::Directory,
        Self::Execute,
    ];

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::IN_CHILD.into_iter().find(|step| *step as u8 == byte)
    }
}

/// What may help, where that is known.
fn remedy(step: Step, error: &io::Error) -> Remedy {
    let text = match (step, error.raw_os_error()) {
        (Step::Capabilities | Step::Groups | Step::Group | Step::User, Some(libc::EPERM)) => {
            "only root, or who has CAP_SETUID and CAP_SETGID, becomes another user: start Replug \
             as root, or leave out user, group and supplementary groups"
        }
        (Step::Nice, Some(libc::EPERM | libc::EACCES)) => {
            "only root, or who has CAP_SYS_NICE, lowers it: use a higher one"
        }
        (Step::Memory | Step::CpuTime | Step::Core, Some(libc::EPERM)) => {
            "Replug itself may not have that much: use a lower limit"
        }
        (Step::Descriptors, Some(libc::ENOSYS | libc::EINVAL)) => "it takes Linux 5.11",
        (Step::Fork, Some(libc::EAGAIN)) => "there are too many processes: see `ulimit -u`",
        (Step::Execute, Some(libc::EACCES)) => {
            "the child's user must be allowed to execute it, and its file system must be mounted so"
        }
        (Step::Directory, Some(libc::EACCES)) => "the child's user must be allowed to enter it",
        _ => return Remedy(None),
    };
    Remedy(Some(text))
}

struct Remedy(Option<&'static str>);

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(f, " ({text})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_in_the_child_comes_back_from_its_byte() {
        for step in Step::IN_CHILD {
            assert_eq!(Step::from_byte(step as u8), Some(step));
        }
        assert_eq!(Step::from_byte(Step::Fork as u8), None);
        assert_eq!(Step::from_byte(255), None);
    }

    #[test]
    fn a_refusal_names_the_step_and_the_remedy_and_not_its_source() {
        let refused = |step, errno| SpawnError::Refused {
            step,
            action: "do it".to_owned(),
            source: io::Error::from_raw_os_error(errno),
        };
        let text = refused(Step::User, libc::EPERM).to_string();
        assert!(text.starts_with("a child process cannot do it (only root"));
        let text = refused(Step::Fork, libc::ENOMEM).to_string();
        assert_eq!(text, "a child process cannot do it");
    }
}
