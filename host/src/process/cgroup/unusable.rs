//! Why there can be no control groups.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

/// Why there can be no control groups at a place.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The system shows none.
    #[error("this process has no control group of version 2 that it can see")]
    NotMounted,
    /// It belongs to whoever has made it.
    #[error("the control group {} is not delegated to this process", .0.display())]
    NotDelegated(PathBuf),
    /// It is something else.
    #[error("{} is no control group of version 2", .0.display())]
    NotOne(PathBuf),
    /// Others are in it, which nobody has asked to go elsewhere.
    #[error("processes that are not this host's are in the control group {}:{}", .directory.display(), listed(.others))]
    Shared {
        /// The control group.
        directory: PathBuf,
        /// Their ids; 0: one that cannot be seen.
        others: Vec<u32>,
    },
    /// No memory can be limited there.
    #[error("the control group {} has no controller of memory", .0.display())]
    NoMemory(PathBuf),
    /// The system does not let this process do something.
    #[error("cannot {action} {}: {source}", .path.display())]
    Refused {
        /// What, as a verb.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl Unusable {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotMounted => {
                "mount the file system of control groups (type cgroup2) at /sys/fs/cgroup, or set \
                 `cgroup` to \"auto\" or \"off\""
            }
            Self::NotDelegated(_) => {
                "have it delegated (systemd: `Delegate=yes` in the unit's [Service]), or set \
                 `cgroup` to the path of one that is the host's"
            }
            Self::NotOne(_) => "set `cgroup` to the path of a directory below /sys/fs/cgroup",
            Self::Shared { .. } => {
                "start the host in one of its own, or set `cgroup` to the path of one without \
                 processes"
            }
            Self::NoMemory(_) => {
                "have the group above it hand the controller on (systemd: `Delegate=yes`; by hand: \
                 write +memory to that group's cgroup.subtree_control), or set `cgroup` to \"auto\""
            }
            Self::Refused { .. } => {
                "give the host's user the directory with its cgroup.procs and \
                 cgroup.subtree_control (systemd: `Delegate=yes`), or set `cgroup` to \"off\""
            }
        }
    }

    pub(super) fn refused(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Refused {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

fn listed(pids: &[u32]) -> String {
    /// More tell nothing.
    const MOST: usize = 5;
    let mut list = String::new();
    for pid in pids.iter().take(MOST) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        let _ = match name {
            Ok(name) => write!(list, " {pid} ({})", name.trim_end()),
            Err(_) => write!(list, " {pid}"),
        };
    }
    if pids.len() > MOST {
        list.push_str(" …");
    }
    list
}
