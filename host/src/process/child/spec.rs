//! What a child process is to be.

use std::{ffi::OsString, os::fd::OwnedFd, path::PathBuf};

use rustix::process::Signal;

use super::output::Sink;
use crate::config::Identity;

/// A child process to be started, with [`ChildSpec::spawn`](super::Child).
///
/// The default is a child of this same program, without arguments, as the same user, in the same
/// directory and environment, which is killed when this process dies.
#[derive(Debug)]
pub struct ChildSpec {
    /// What it executes.
    pub program: Program,
    /// Its `argv[0]`, which `ps` shows before the arguments; `None`: as this process was called,
    /// or the program's path. See also [`set_title`](super::super::set_title).
    pub name: Option<OsString>,
    /// The arguments behind the name.
    pub args: Vec<OsString>,
    /// The variables that it sees.
    pub environment: Environment,
    /// Where it starts, entered as the user that it runs as; `None`: where this process is.
    pub directory: Option<PathBuf>,
    /// What it finds open as 3, 4, 5 … Beside them and its standard streams it has nothing of this
    /// process's, whatever any library here has opened. Each is closed here once it is started.
    pub descriptors: Vec<OwnedFd>,
    /// The user that it runs as; `None`: as this process does.
    pub identity: Option<Identity>,
    /// Its file mode mask, such as `0o027`; `None`: this process's.
    pub umask: Option<u32>,
    /// Its nice value, from -20 (first) to 19 (last); `None`: this process's.
    pub nice: Option<i32>,
    /// Whether the scheduler treats it as batch work (`SCHED_BATCH`); `None`: as this process.
    pub batch: Option<Batch>,
    /// Whether it, and all that it starts, gain nothing by executing a set-user-id program.
    pub no_new_privs: bool,
    /// Whether it is in a process group of its own, so that Ctrl-C in this process's terminal does
    /// not reach it.
    pub own_group: bool,
    /// What it may use.
    pub limits: Limits,
    /// Where it is accounted for.
    pub cgroup: Option<Cgroup>,
    /// What the kernel sends it when this process dies. The second line: a child that holds one end
    /// of a channel sees the other end close. One that executes a set-user-id program loses it.
    ///
    /// A process that executes another program in its own place ends its other threads, among them
    /// the one that starts children, so they get the signal then, too.
    pub parent_death: Option<Signal>,
    /// Who gets the lines that it writes; `None`: only the last are kept.
    pub output: Option<Sink>,
}

impl Default for ChildSpec {
    fn default() -> Self {
        Self {
            program: Program::This,
            name: None,
            args: Vec::new(),
            environment: Environment::default(),
            directory: None,
            descriptors: Vec::new(),
            identity: None,
            umask: None,
            nice: None,
            batch: None,
            no_new_privs: false,
            own_group: false,
            limits: Limits::default(),
            cgroup: None,
            parent_death: Some(Signal::KILL),
            output: None,
        }
    }
}

/// How much it matters that a child is batch work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// It is if this process is scheduled as usual, and the system allows it.
    Wanted,
    /// It is not started otherwise.
    Required,
}

/// What a child executes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// The program that this process runs: the very file, by way of `/proc/self/exe`, which leads to
    /// it even when another stands at its path by now, or none. So a host and its workers are never
    /// of two versions. And it takes no path, which the child's user may not be allowed to walk.
    #[default]
    This,
    /// A file; a path that is not absolute is from this process's directory. It is not looked for
    /// in `PATH`.
    Path(PathBuf),
}

/// The variables that a child sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Whether it has those of this process.
    pub inherit: bool,
    /// Those that it has besides, or instead of an inherited one of that name. Of two with one name
    /// the later counts.
    pub set: Vec<(OsString, OsString)>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            inherit: true,
            set: Vec::new(),
        }
    }
}

/// What a child may use; `None`: as much as this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes of private, writable memory it may have mapped (`RLIMIT_DATA`); what goes
    /// beyond is refused, and Rust's allocator then aborts the process.
    ///
    /// Not `RLIMIT_AS`, which counts addresses that are only set aside: an allocator's reserve, the
    /// parts of glibc's arenas that are not in use, and each mapped file. What counts here, though
    /// it may never be touched, is each thread's stack, whole.
    pub memory: Option<u64>,
    /// How many seconds of a processor it may take in all, at least 1: then it gets SIGXCPU, which
    /// ends it and tells why, and a second later SIGKILL.
    pub cpu_time: Option<u64>,
    /// How many bytes a core dump may have; 0: there is none.
    pub core: Option<u64>,
}

/// A control group, version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its directory, for this child alone. Made if it is not there; its parent must be this user's
    /// to write to. When the child has died, whatever it has left running in there is killed, and
    /// the directory is removed.
    pub directory: PathBuf,
    /// How many bytes of memory all in there may use, swap not counted (`memory.max`). What goes
    /// beyond has all in there killed (`memory.oom.group`), and the child's death is
    /// [`OutOfMemory`](super::Death::OutOfMemory).
    pub memory_max: Option<u64>,
}
