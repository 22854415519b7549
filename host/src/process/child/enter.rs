//! What happens in the child until it executes its program.
//!
//! It is a copy of a process with many threads, of which it has one: whatever lock another held is
//! held for ever. So nothing here allocates, locks or panics, and nothing calls what may be hooked
//! or keeps books about threads, as the C library's own `setuid` does, which would wait for threads
//! that are not there: all are system calls, by way of `rustix` or plain.

use std::{
    convert::Infallible,
    os::fd::{AsRawFd as _, BorrowedFd, IntoRawFd as _, RawFd},
    ptr,
};

use rustix::{
    io::{Errno, Result, fcntl_dupfd_cloexec, write},
    process::{
        Resource, Rlimit, chdir, getppid, set_parent_process_death_signal, setpgid,
        setpriority_process, setrlimit, umask,
    },
    thread::{
        clear_ambient_capability_set, set_no_new_privs, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};

use super::{
    error::Step,
    prepared::{Executable, Other, Prepared},
    spec::Batch,
};

/// How long a report is: the step, and the system's error.
pub(super) const REPORT: usize = 5;

/// Becomes the program. If that fails, reports through `report` which step was refused, and ends.
///
/// In an `extern "C"` function a panic ends the process, rather than running the rest of this one's
/// code a second time.
pub(super) extern "C" fn enter(prepared: &mut Prepared, report: RawFd) -> ! {
    let mut report = report;
    let Err((step, error)) = become_program(prepared, &mut report);
    let errno = error.raw_os_error().to_ne_bytes();
    let bytes: [u8; REPORT] = [step as u8, errno[0], errno[1], errno[2], errno[3]];
    // SAFETY: open until the program is executed.
    let report = unsafe { BorrowedFd::borrow_raw(report) };
    let _ = write(report, &bytes);
    // SAFETY: ends this process and runs nothing before.
    unsafe { libc::_exit(127) }
}

type Refused = (Step, Errno);

fn at(step: Step) -> impl FnOnce(Errno) -> Refused {
    move |errno| (step, errno)
}

/// The order counts: what takes privileges comes before they are given up, and all that is looked
/// up by name after, with the rights of the child's user.
fn become_program(
    prepared: &mut Prepared,
    report: &mut RawFd,
) -> std::result::Result<Infallible, Refused> {
    if let Some(list) = &prepared.cgroup {
        // 0 is whoever writes it. Before the descriptors: it may be in one's way.
        write(list, b"0").map_err(at(Step::Enter))?;
    }
    let executable = place(prepared, report).map_err(at(Step::Descriptors))?;
    reset_signals().map_err(at(Step::Signals))?;
    if prepared.own_group {
        setpgid(None, None).map_err(at(Step::OwnGroup))?;
    }
    limit(prepared)?;
    if let Some(other) = &prepared.other {
        become_other(other)?;
    }
    if let Some(signal) = prepared.parent_death {
        // Becoming another user clears it.
        set_parent_process_death_signal(Some(signal)).map_err(at(Step::ParentDeath))?;
        if getppid() != Some(prepared.parent) {
            // It died before.
            return Err((Step::ParentDeath, Errno::SRCH));
        }
    }
    if let Some(mask) = prepared.umask {
        umask(mask);
    }
    if prepared.no_new_privs {
        set_no_new_privs(true).map_err(at(Step::NoNewPrivs))?;
    }
    if let Some(directory) = &prepared.directory {
        chdir(directory.as_c_str()).map_err(at(Step::Directory))?;
    }
    unblock_signals().map_err(at(Step::Signals))?;
    Err((Step::Execute, execute(prepared, executable)))
}

/// Puts the descriptors to 0, 1, 2 … and has all others closed when the program is executed. Returns
/// where the program to be executed is open now, if it is.
fn place(prepared: &mut Prepared, report: &mut RawFd) -> Result<RawFd> {
    let count = prepared.numbers.len() as RawFd;
    // First all out of the way, so that no copy overwrites what is still to be copied.
    for number in &mut prepared.numbers {
        lift(number, count)?;
    }
    lift(report, count)?;
    let mut executable = match &prepared.executable {
        Executable::Open(open) => open.as_raw_fd(),
        Executable::At(_) => -1,
    };
    if executable >= 0 {
        lift(&mut executable, count)?;
    }
    for (target, number) in prepared.numbers.iter().enumerate() {
        // SAFETY: numbers are all that it takes, and whatever was open as `target` is not used again
        // in this process.
        if unsafe { libc::dup2(*number, target as RawFd) } < 0 {
            return Err(last_error());
        }
    }
    // SAFETY: the same.
    let status = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            count,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if status < 0 {
        return Err(last_error());
    }
    Ok(executable)
}

/// Has it be at least `least`.
fn lift(number: &mut RawFd, least: RawFd) -> Result<()> {
    if *number < least {
        // SAFETY: open, as the whole `Prepared` is.
        let open = unsafe { BorrowedFd::borrow_raw(*number) };
        *number = fcntl_dupfd_cloexec(open, least)?.into_raw_fd();
    }
    Ok(())
}

fn limit(prepared: &Prepared) -> std::result::Result<(), Refused> {
    let both = |limit: u64| Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    let limits = prepared.limits;
    if let Some(bytes) = limits.memory {
        setrlimit(Resource::Data, both(bytes)).map_err(at(Step::Memory))?;
    }
    if let Some(seconds) = limits.cpu_time {
        let limit = Rlimit {
            current: Some(seconds),
            maximum: Some(seconds.saturating_add(1)),
        };
        setrlimit(Resource::Cpu, limit).map_err(at(Step::CpuTime))?;
    }
    if let Some(bytes) = limits.core {
        setrlimit(Resource::Core, both(bytes)).map_err(at(Step::Core))?;
    }
    if let Some(nice) = prepared.nice {
        setpriority_process(None, nice).map_err(at(Step::Nice))?;
    }
    if let Some(batch) = prepared.batch
        && let Err(errno) = schedule_as_batch()
        && batch == Batch::Required
    {
        return Err((Step::Scheduling, errno));
    }
    Ok(())
}

/// Keeps the nice value.
fn schedule_as_batch() -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: a whole `sched_param`, which is only read; 0 is this thread, the only one.
    let status = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_BATCH,
            &raw const parameters,
        )
    };
    if status < 0 {
        return Err(last_error());
    }
    Ok(())
}

fn become_other(other: &Other) -> std::result::Result<(), Refused> {
    // A user who is not root keeps them else, and the next one with them the way back.
    match clear_ambient_capability_set() {
        // Older systems have none.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err((Step::Capabilities, errno)),
    }
    set_thread_groups(&other.groups).map_err(at(Step::Groups))?;
    let (gid, uid) = (other.gid, other.uid);
    set_thread_res_gid(gid, gid, gid).map_err(at(Step::Group))?;
    set_thread_res_uid(uid, uid, uid).map_err(at(Step::User))
}

/// As the kernel has it: a handler, flags, a restorer, a mask. Zeros are the default action.
#[repr(C, align(8))]
struct Action([u8; 32]);

/// Ignored signals stay ignored in a new program, and the standard library ignores SIGPIPE.
fn reset_signals() -> Result<()> {
    const KILL: i32 = libc::SIGKILL;
    const STOP: i32 = libc::SIGSTOP;
    let default = Action([0; 32]);
    for signal in (1..=64).filter(|signal| ![KILL, STOP].contains(signal)) {
        // Not the C library's `sigaction`, which is hooked, and which refuses its own signals.
        // SAFETY: a whole action, in the kernel's form, whose mask has 8 bytes.
        let status = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                ptr::null_mut::<Action>(),
                8,
            )
        };
        if status < 0 {
            return Err(last_error());
        }
    }
    Ok(())
}

/// The thread that makes children blocks all.
fn unblock_signals() -> Result<()> {
    let none: u64 = 0;
    // SAFETY: a whole mask, in the kernel's form, of 8 bytes.
    let status = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<u64>(),
            8,
        )
    };
    if status < 0 {
        Err(last_error())
    } else {
        Ok(())
    }
}

/// Comes back only when that fails.
fn execute(prepared: &Prepared, executable: RawFd) -> Errno {
    let (args, env) = (prepared.args.as_ptr(), prepared.env.as_ptr());
    match &prepared.executable {
        Executable::Open(_) => {
            // SAFETY: both lists end with null, and their texts with NUL, as the path does, which
            // is empty: the descriptor is the file.
            unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    executable,
                    c"".as_ptr(),
                    args,
                    env,
                    libc::AT_EMPTY_PATH,
                )
            };
        }
        Executable::At(path) => {
            // SAFETY: the same.
            unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), args, env) };
        }
    }
    last_error()
}

/// Of this thread's last system call that was made plainly.
fn last_error() -> Errno {
    // SAFETY: this thread's own number.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: it is this thread's own, and there for as long as the thread is.
    let errno = unsafe { *place };
    Errno::from_raw_os_error(errno)
}
