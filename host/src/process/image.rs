//! Going on in a fresh process image.
//!
//! Most of what a process has survives `execve`, and the code that ran in it (plugins' above all)
//! may have changed any of it. So what the process was started with is remembered, and put back
//! before the next image begins: that one is to find what a fresh start would.

#![expect(unsafe_code, reason = "executes a program in the place of this one")]

use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsString},
    fs, io, mem,
    os::{
        fd::{BorrowedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    ptr,
};

use libc::{c_char, c_int};
use rustix::{
    fs::Mode,
    io::{FdFlags, fcntl_getfd, fcntl_setfd},
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};

use super::{clocks, inherited, signals};

/// What a process was started with.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// The current directory, if there was one.
    pub dir: Option<PathBuf>,
    umask: Mode,
    limits: Vec<(Resource, Rlimit)>,
    /// Signals that were ignored.
    ignored: Vec<c_int>,
    blocked: Blocked,
    /// Descriptors that who started it left open for it: number and what it leads to.
    open: HashMap<RawFd, PathBuf>,
}

/// Signals that the process keeps waiting.
#[derive(Clone, Copy)]
struct Blocked(libc::sigset_t);

impl std::fmt::Debug for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blocked")
    }
}

/// A program, and what it is to be told.
#[derive(Clone, Copy, Debug)]
pub struct Execution<'a> {
    /// The file.
    pub path: &'a Path,
    /// The arguments, the program's name first.
    pub args: &'a [OsString],
    /// Set beside the environment that this process was started with.
    pub variable: (&'a str, &'a str),
    /// Descriptors that the program finds open, under the same numbers.
    pub keep: &'a [BorrowedFd<'a>],
}

impl Origin {
    /// To be called first of all, on the only thread, and once what an image before left
    /// ([`inherited::adopt`](super::adopt)) has been taken.
    #[must_use]
    pub fn remember() -> Self {
        let mask = umask(Mode::empty());
        umask(mask);
        Self {
            env: std::env::vars_os().collect(),
            dir: std::env::current_dir().ok(),
            umask: mask,
            limits: RESOURCES.iter().map(|of| (*of, getrlimit(*of))).collect(),
            ignored: signals::ignored()
                .into_iter()
                // The first is the standard library's doing, the others are this module's.
                .filter(|signal| *signal != libc::SIGPIPE)
                .filter(|signal| !signals::MEANT_FOR_HOSTS.contains(signal))
                .collect(),
            blocked: block(None),
            open: left_open(),
        }
    }

    /// Goes on in a fresh image of that program. Comes back only when that fails; the process is
    /// then as it was, but for its directory, its file mode mask and its limits.
    #[must_use = "it is why it failed"]
    pub fn execute(&self, program: Execution<'_>) -> io::Error {
        self.try_execute(program).unwrap_or_else(|error| error)
    }

    /// `Ok` is the error of `execve`, the last step.
    fn try_execute(&self, program: Execution<'_>) -> io::Result<io::Error> {
        let Execution {
            path,
            args,
            variable: (name, value),
            keep,
        } = program;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let args = args.iter().map(|arg| CString::new(arg.as_bytes()));
        let args: Vec<CString> = args.collect::<Result<_, _>>()?;
        let mut env = vec![CString::new(format!("{name}={value}"))?];
        for (name, value) in &self.env {
            let text = [name.as_bytes(), b"=", value.as_bytes()].concat();
            env.push(CString::new(text)?);
        }
        if let Some(dir) = &self.dir {
            std::env::set_current_dir(dir)?;
        }
        umask(self.umask);
        for (resource, limit) in &self.limits {
            let now = getrlimit(*resource);
            if now.current != limit.current {
                // One that was lowered for good stays.
                let _ = setrlimit(
                    *resource,
                    Rlimit {
                        current: limit.current,
                        maximum: now.maximum,
                    },
                );
            }
        }
        close_others_at_exec();
        let result = self.leave_open(keep);
        let failed = result.map(|()| {
            let undo = signals::prepare_for_exec(&self.ignored);
            let running = clocks::stop();
            let blocked = block(Some(self.blocked));
            let error = execve(&path, &args, &env);
            block(Some(blocked));
            undo.put_back();
            clocks::go_on(running);
            error
        });
        for kept in keep {
            let _ = fcntl_setfd(kept, FdFlags::CLOEXEC);
        }
        failed
    }

    /// What is to be open in the next image, and what was so from the start.
    fn leave_open(&self, keep: &[BorrowedFd<'_>]) -> io::Result<()> {
        for kept in keep {
            inherited::leave(kept)?;
        }
        for (number, target) in &self.open {
            // Somebody may have closed it, and its number be another's.
            if fs::read_link(link(*number)).is_ok_and(|now| now == *target) {
                // SAFETY: open a moment ago; of one that is not, it is an error.
                let open = unsafe { BorrowedFd::borrow_raw(*number) };
                let _ = inherited::leave(open);
            }
        }
        Ok(())
    }
}

/// What has a limit.
const RESOURCES: [Resource; 8] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Nofile,
    Resource::As,
    Resource::Memlock,
];

fn link(number: RawFd) -> String {
    format!("/proc/self/fd/{number}")
}

/// All numbers of descriptors from 3 on; none where the system does not tell.
fn numbers() -> Vec<RawFd> {
    let entries = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number > 2).collect()
}

fn left_open() -> HashMap<RawFd, PathBuf> {
    let left = numbers().into_iter().filter_map(|number| {
        // SAFETY: of one that is not open (the listing's own, by now), it is an error.
        let open = unsafe { BorrowedFd::borrow_raw(number) };
        let flags = fcntl_getfd(open).ok()?;
        let target = fs::read_link(link(number)).ok()?;
        (!flags.contains(FdFlags::CLOEXEC)).then_some((number, target))
    });
    left.collect()
}

/// What plugins opened without asking for that themselves, too.
fn close_others_at_exec() {
    for number in numbers() {
        // SAFETY: of one that is not open any more, it is an error.
        let open = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl_setfd(open, FdFlags::CLOEXEC);
    }
}

/// Has this thread keep those signals waiting; `None`: as it is. Returns which it did before.
fn block(signals: Option<Blocked>) -> Blocked {
    // SAFETY: a set of signals is plain data, for which zeros are a value.
    let mut before = Blocked(unsafe { mem::zeroed() });
    let new = signals.as_ref().map_or(ptr::null(), |set| &raw const set.0);
    // SAFETY: `new` is null or whole, and `before` has room.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, new, &raw mut before.0) };
    before
}

fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let list = |texts: &[CString]| -> Vec<*const c_char> {
        let all = texts.iter().map(|text| text.as_ptr());
        all.chain([ptr::null()]).collect()
    };
    let (args, env) = (list(args), list(env));
    // SAFETY: both lists end with null, and their texts with NUL; all live until it comes back.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, OwnedFd};

    use super::*;

    #[test]
    fn what_cannot_be_executed_leaves_the_process_as_it_was() {
        let origin = Origin::remember();
        let kept: OwnedFd = fs::File::open("/dev/null").unwrap().into();
        let ignored = signals::ignored();
        assert!(ignored.contains(&libc::SIGPIPE), "the standard library's");
        let error = origin.execute(Execution {
            path: Path::new("/dev/null"),
            args: &["null".into()],
            variable: ("A", "b"),
            keep: &[kept.as_fd()],
        });
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(signals::ignored(), ignored);
        assert_eq!(fcntl_getfd(&kept).unwrap(), FdFlags::CLOEXEC);
        let error = origin.execute(Execution {
            path: Path::new("/dev/null"),
            args: &["nu\0ll".into()],
            variable: ("A", "b"),
            keep: &[],
        });
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
