//! Making the process, on a thread that lives as long as this one.
//!
//! The kernel sends a child the signal that it asked for when the *thread* that made it ends
//! (`PR_SET_PDEATHSIG`), so no thread that comes and goes makes one. It is made by a plain system
//! call, since the C library's `fork` gives no descriptor of the process (`pidfd`), and calls what
//! libraries have registered with `pthread_atfork`; `clone3` is not allowed in many containers.

use std::{
    collections::HashSet,
    ffi::c_int,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use tokio::sync::oneshot;

use super::{enter::enter, prepared::Prepared};

/// A process that nobody watches yet: killed when it is dropped.
#[derive(Debug)]
pub(super) struct Forked {
    pub(super) pid: Pid,
    pub(super) process: Arc<OwnedFd>,
    /// Taken by who watches it.
    known: Option<Known>,
    /// Where it reports what was refused; closed when it executes its program.
    pub(super) report: OwnedFd,
    pub(super) prepared: Prepared,
}

impl Forked {
    /// Goes on without being killed.
    pub(super) fn watched(mut self) -> (Pid, Arc<OwnedFd>, Known) {
        let known = self.known.take().unwrap_or_else(|| Known::new(self.pid));
        (self.pid, Arc::clone(&self.process), known)
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if self.known.is_none() {
            return;
        }
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
    }
}

/// Children whose status is for who started them by way of this module.
static KNOWN: Mutex<Option<HashSet<Pid>>> = Mutex::new(None);

fn known() -> MutexGuard<'static, Option<HashSet<Pid>>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether that is a child whose status is for who started it.
pub(super) fn is_known(pid: Pid) -> bool {
    known().as_ref().is_some_and(|known| known.contains(&pid))
}

/// Until it is dropped, the child is known.
#[derive(Debug)]
pub(super) struct Known(Pid);

impl Known {
    fn new(pid: Pid) -> Self {
        known().get_or_insert_default().insert(pid);
        Self(pid)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(known) = known().as_mut() {
            known.remove(&self.0);
        }
    }
}

type Job = (Prepared, oneshot::Sender<io::Result<Forked>>);

/// Makes the process. If nobody waits for it any more, it is killed.
pub(super) async fn fork(prepared: Prepared) -> io::Result<Forked> {
    let (answer, forked) = oneshot::channel();
    let gone = || io::Error::other("the thread that makes processes has ended");
    thread()?.send((prepared, answer)).map_err(|_| gone())?;
    forked.await.map_err(|_| gone())?
}

/// The thread that makes all children.
fn thread() -> io::Result<mpsc::Sender<Job>> {
    static THREAD: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(jobs) = &*thread {
        return Ok(jobs.clone());
    }
    let (jobs, queue) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("children".to_owned())
        .spawn(move || {
            block_signals();
            // The static keeps one sender: it never ends.
            for (prepared, answer) in queue {
                let _ = answer.send(make(prepared));
            }
        })?;
    *thread = Some(jobs.clone());
    Ok(jobs)
}

/// No handler is to run in a child before its actions are the defaults.
fn block_signals() {
    let mut all = MaybeUninit::uninit();
    // SAFETY: fills the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: filled.
    let all = unsafe { all.assume_init() };
    // SAFETY: a whole set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) };
}

fn make(mut prepared: Prepared) -> io::Result<Forked> {
    let (report, to_report) = io::pipe()?;
    let mut process: c_int = -1;
    // One that dies at once is known before anyone finds it dead.
    let mut known = known();
    // SAFETY: without CLONE_VM the child has memory of its own, and goes on here on a copy of this
    // stack. In it only `enter` runs, which keeps to what may be done there. The kernel writes the
    // descriptor's number where the third argument leads, on x86-64 and on AArch64.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::CLONE_PIDFD | libc::SIGCHLD,
            0usize,
            &raw mut process,
            0usize,
            0usize,
        )
    };
    if pid == 0 {
        enter(&mut prepared, to_report.as_raw_fd());
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    let process = unsafe { OwnedFd::from_raw_fd(process) };
    let pid = Pid::from_raw(pid as i32).ok_or_else(|| io::Error::other("not a process"))?;
    known.get_or_insert_default().insert(pid);
    Ok(Forked {
        pid,
        process: Arc::new(process),
        known: Some(Known(pid)),
        report: report.into(),
        prepared,
    })
}
