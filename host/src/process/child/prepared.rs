//! A child's description as the system takes it: all that allocates, or may fail for what was asked
//! for, happens here, before there is a second process.

use std::{
    env,
    ffi::{CString, OsStr, OsString},
    fs::File,
    io,
    num::NonZeroU64,
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::{self, PathBuf},
    ptr,
};

use libc::c_char;
use rustix::{
    fs::{Mode, OFlags},
    process::{Gid, Pid, Signal, Uid, getpid},
};

use super::{
    cgroup::Made,
    error::{SpawnError, Step},
    identity::is_this,
    spec::{Batch, ChildSpec, Environment, Limits, Program},
};
use crate::config::Identity;

/// A list of texts, ended by null.
#[derive(Debug)]
pub(super) struct Texts {
    /// What the pointers lead to.
    _texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers lead to the texts, which it owns and which nothing changes.
unsafe impl Send for Texts {}

impl Texts {
    fn new(texts: Vec<CString>) -> Self {
        let pointers = texts.iter().map(|text| text.as_ptr());
        let pointers = pointers.chain([ptr::null()]).collect();
        Self {
            _texts: texts,
            pointers,
        }
    }

    /// Lives as long as this does.
    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// What is executed.
#[derive(Debug)]
pub(super) enum Executable {
    Open(OwnedFd),
    At(CString),
}

/// Another user, in the system's types.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
}

/// All that the child needs from its first moment until it executes its program.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) executable: Executable,
    pub(super) args: Texts,
    pub(super) env: Texts,
    /// Open here, to be 0, 1, 2 … there.
    pub(super) descriptors: Vec<OwnedFd>,
    /// Their numbers, which the child changes as it moves them.
    pub(super) numbers: Vec<RawFd>,
    pub(super) directory: Option<CString>,
    pub(super) other: Option<Other>,
    pub(super) umask: Option<Mode>,
    pub(super) nice: Option<i32>,
    pub(super) batch: Option<Batch>,
    pub(super) no_new_privs: bool,
    pub(super) own_group: bool,
    pub(super) limits: Limits,
    /// The list of a control group's processes.
    pub(super) cgroup: Option<File>,
    pub(super) parent_death: Option<Signal>,
    pub(super) parent: Pid,
}

impl Prepared {
    /// `standard`: its input, output and error.
    pub(super) fn new(
        spec: ChildSpec,
        standard: [OwnedFd; 3],
        cgroup: Option<&mut Made>,
    ) -> Result<Self, SpawnError> {
        let (executable, called) = executable(spec.program)?;
        let args = [spec.name.unwrap_or(called)].into_iter().chain(spec.args);
        let args: Result<Vec<_>, _> = args.map(|arg| text("an argument", &arg)).collect();
        let directory = spec
            .directory
            .map(|dir| text("the directory", dir.as_os_str()));
        let mut descriptors = Vec::from(standard);
        descriptors.extend(spec.descriptors);
        let this = spec.identity.as_ref().map(is_this);
        let this = this.transpose().map_err(|source| SpawnError::Refused {
            step: Step::Open,
            action: "be started: which user this process runs as is not known".to_owned(),
            source,
        })?;
        let other = spec.identity.filter(|_| this == Some(false));
        let other = other.map(other_user).transpose()?;
        Ok(Self {
            executable,
            args: Texts::new(args?),
            env: Texts::new(variables(spec.environment)?),
            numbers: descriptors.iter().map(|it| it.as_raw_fd()).collect(),
            descriptors,
            directory: directory.transpose()?,
            other,
            umask: spec.umask.map(mode).transpose()?,
            nice: spec.nice.map(nice).transpose()?,
            batch: spec
                .batch
                .filter(|batch| *batch == Batch::Required || is_scheduled_as_usual()),
            no_new_privs: spec.no_new_privs,
            own_group: spec.own_group,
            limits: limits(spec.limits)?,
            cgroup: cgroup.and_then(Made::take_processes),
            parent_death: spec.parent_death,
            parent: getpid(),
        })
    }

    /// What a step does, for a message that says it was refused.
    pub(super) fn action(&self, step: Step) -> String {
        let number = |of: Option<u64>| of.unwrap_or_default();
        let Limits {
            memory,
            cpu_time,
            core,
        } = self.limits;
        match step {
            Step::Open | Step::Fork => "be started".to_owned(),
            Step::Descriptors => format!("take over {} descriptors", self.descriptors.len()),
            Step::Signals => "have the default actions for signals".to_owned(),
            Step::OwnGroup => "enter a process group of its own".to_owned(),
            Step::Cgroup | Step::Enter => "enter its control group".to_owned(),
            Step::Memory => format!("be limited to {} bytes of memory", number(memory)),
            Step::CpuTime => format!("be limited to {} s of processor time", number(cpu_time)),
            Step::Core => format!("be limited to core dumps of {} bytes", number(core)),
            Step::Nice => format!("have the nice value {}", self.nice.unwrap_or_default()),
            Step::Scheduling => "be scheduled as batch work".to_owned(),
            Step::Capabilities => "give up the capabilities of this process's user".to_owned(),
            Step::Groups => self.other.as_ref().map_or_else(String::new, |other| {
                let groups = other.groups.iter().map(|gid| gid.as_raw().to_string());
                let groups: Vec<_> = groups.collect();
                format!("have the supplementary groups [{}]", groups.join(", "))
            }),
            Step::Group => self.other.as_ref().map_or_else(String::new, |other| {
                format!("have the group {}", other.gid.as_raw())
            }),
            Step::User => self.other.as_ref().map_or_else(String::new, |other| {
                format!("run as the user {}", other.uid.as_raw())
            }),
            Step::ParentDeath => "be told of this process's death".to_owned(),
            Step::NoNewPrivs => "do without new privileges".to_owned(),
            Step::Directory => format!("enter {}", shown(self.directory.as_ref())),
            Step::Execute => match &self.executable {
                Executable::Open(_) => "execute this program".to_owned(),
                Executable::At(path) => format!("execute {}", shown(Some(path))),
            },
        }
    }
}

fn shown(path: Option<&CString>) -> String {
    path.map_or_else(String::new, |path| path.to_string_lossy().into_owned())
}

/// And how it is called if nothing else is said.
fn executable(program: Program) -> Result<(Executable, OsString), SpawnError> {
    let refused = |source: io::Error| SpawnError::Refused {
        step: Step::Open,
        action: "be started: the program cannot be opened".to_owned(),
        source,
    };
    match program {
        Program::This => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let open = rustix::fs::open("/proc/self/exe", flags, Mode::empty());
            let open = open.map_err(|error| refused(error.into()))?;
            let called = env::args_os().next().unwrap_or_else(|| "replug".into());
            Ok((Executable::Open(open), called))
        }
        Program::Path(path) => {
            // The child enters its directory before.
            let whole = path::absolute(&path).map_err(refused)?;
            let whole = text("the program's path", whole.as_os_str())?;
            Ok((Executable::At(whole), PathBuf::into_os_string(path)))
        }
    }
}

fn text(what: &str, value: &OsStr) -> Result<CString, SpawnError> {
    CString::new(value.as_bytes()).map_err(|_| {
        let shown = value.to_string_lossy().replace('\0', "\\0");
        SpawnError::Invalid(format!("{what} contains a NUL byte: \"{shown}\""))
    })
}

fn variables(environment: Environment) -> Result<Vec<CString>, SpawnError> {
    let inherited = environment.inherit.then(env::vars_os);
    let mut all: Vec<(OsString, OsString)> = inherited.into_iter().flatten().collect();
    for (name, value) in environment.set {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            let shown = name.to_string_lossy();
            let message = format!("\"{shown}\" is no name of a variable");
            return Err(SpawnError::Invalid(message));
        }
        all.retain(|(other, _)| *other != name);
        all.push((name, value));
    }
    let pairs = all.into_iter().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        text("a variable", &name)
    });
    pairs.collect()
}

fn other_user(identity: Identity) -> Result<Other, SpawnError> {
    let all = [identity.uid, identity.gid].into_iter();
    if all
        .chain(identity.groups.iter().copied())
        .any(|id| id == u32::MAX)
    {
        let message = format!("{} is no number of a user or a group", u32::MAX);
        return Err(SpawnError::Invalid(message));
    }
    Ok(Other {
        uid: Uid::from_raw(identity.uid),
        gid: Gid::from_raw(identity.gid),
        groups: identity.groups.into_iter().map(Gid::from_raw).collect(),
    })
}

fn mode(umask: u32) -> Result<Mode, SpawnError> {
    if umask > 0o777 {
        return Err(SpawnError::Invalid(format!(
            "0o{umask:o} is no file mode mask"
        )));
    }
    Ok(Mode::from_raw_mode(umask))
}

fn nice(value: i32) -> Result<i32, SpawnError> {
    if (-20..=19).contains(&value) {
        return Ok(value);
    }
    let message = format!("the nice value {value} is not within -20 to 19");
    Err(SpawnError::Invalid(message))
}

/// Whether nobody has said how the scheduler is to treat this thread.
fn is_scheduled_as_usual() -> bool {
    // SAFETY: a number is all that it takes; 0 is this thread.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
}

fn limits(limits: Limits) -> Result<Limits, SpawnError> {
    // The system would take 0 for 1, or for no limit, depending on its version.
    if limits
        .cpu_time
        .is_some_and(|limit| NonZeroU64::new(limit).is_none())
    {
        let message = "a limit of processor time is at least 1 s".to_owned();
        return Err(SpawnError::Invalid(message));
    }
    Ok(limits)
}
