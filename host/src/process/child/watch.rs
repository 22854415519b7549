//! Watching a child until nothing of it is left.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use rustix::{
    io::Errno,
    process::{WaitId, WaitIdOptions, waitid},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
};

use super::{cgroup::Made, death::Death, fork::Known, output::Reader};

/// A child, and what belongs to it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) process: Arc<OwnedFd>,
    pub(super) known: Known,
    pub(super) readers: [Reader; 2],
    pub(super) cgroup: Option<Made>,
}

impl Watched {
    /// Starts the task that watches it. What comes back is told of its death.
    pub(super) fn watch(self) -> io::Result<watch::Receiver<Option<Death>>> {
        // SAFETY: the descriptor is open as long as it is registered, since that has a share in it,
        // and nothing replaces it.
        let process = unsafe {
            AsyncFd::register_with_interest(Arc::clone(&self.process), Interest::READABLE)?
        };
        let (tell, death) = watch::channel(None);
        tokio::spawn(self.until_gone(process, tell));
        Ok(death)
    }

    async fn until_gone(self, process: AsyncFd<Arc<OwnedFd>>, tell: watch::Sender<Option<Death>>) {
        let [mut output, mut error] = self.readers;
        let death = loop {
            tokio::select! {
                death = died(&process) => break death,
                () = output.more() => {}
                () = error.more() => {}
            }
        };
        drop((process, self.known));
        output.died();
        error.died();
        let killed = Death::Signalled {
            signal: libc::SIGKILL,
            core: false,
        };
        let ran_out = |cgroup: &Made| death == killed && cgroup.ran_out();
        let ran_out = self.cgroup.as_ref().is_some_and(ran_out);
        if let Some(cgroup) = self.cgroup {
            cgroup.remove().await;
        }
        tell.send_replace(Some(if ran_out { Death::OutOfMemory } else { death }));
        // Processes that it left behind may go on writing.
        tokio::join!(output.rest(), error.rest());
    }
}

/// Waits for its death, and takes its status, which makes its id free.
async fn died(process: &AsyncFd<Arc<OwnedFd>>) -> Death {
    loop {
        let Ok(mut ready) = process.readable().await else {
            // The runtime is ending.
            return Death::Unknown;
        };
        let id = WaitId::PidFd(process.get_ref().as_fd());
        match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => return Death::from_status(&status),
            // Not dead yet.
            Ok(None) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(_) => return Death::Unknown,
        }
    }
}
