//! What a group listens on itself.

use std::{io, os::fd::BorrowedFd};

use futures_util::{FutureExt as _, future::select_all};
use tokio::net::UnixStream;

use crate::server::{Lane, Listeners};

/// The sockets on which all workers of a group take connections, and the lane on which they pass
/// them on. They are there for the group's whole life: so nobody is refused while its workers
/// change.
#[derive(Debug)]
pub struct GroupSockets {
    listeners: Listeners,
    lane: Lane,
}

impl GroupSockets {
    /// Those of a group that listens on them.
    #[must_use]
    pub fn new(listeners: Listeners, lane: Lane) -> Self {
        Self { listeners, lane }
    }

    pub(super) fn listening(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.descriptors()
    }

    pub(super) fn lane(&self) -> [BorrowedFd<'_>; 2] {
        self.lane.ends()
    }

    /// Resolves when somebody has connected whom nobody has accepted.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(super) async fn knock(&self) -> io::Result<()> {
        let mut knocks = Vec::new();
        for listener in self.listening() {
            // Waited for as streams are, whatever the kind of socket.
            let socket = UnixStream::from_std(listener.try_clone_to_owned()?.into())?;
            knocks.push(async move { socket.readable().await }.boxed());
        }
        select_all(knocks).await.0
    }
}
