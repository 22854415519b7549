//! What has a generation's code loaded: this process, or the workers of a group.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::Seat;
use crate::loader::{Plugin, Running, StopReason};

/// What has a generation's code loaded, to the one who may end it.
#[derive(Debug)]
pub enum Body {
    /// This process.
    Here(Box<Running>),
    /// The workers of a group.
    Workers(Seat),
}

/// The same, shared by all who hold a lease. The last of them gives the [`Body`] back.
#[derive(Debug)]
pub(super) enum Shared {
    Here(Plugin),
    Workers(SharedSeat),
}

/// A seat that is sent back when nobody needs it any more.
pub(super) struct SharedSeat {
    // `None` only in the destructor.
    seat: Option<Seat>,
    // A mutex only to be `Sync`: it is taken out once, by the destructor.
    last: Mutex<Option<oneshot::Sender<Body>>>,
}

impl Body {
    /// Shares it. When nobody has a share any more, `last` gets it back; who owned the generation
    /// is gone only when the whole host is, and then the process's end does the rest.
    pub(super) fn share(self, last: oneshot::Sender<Self>) -> Shared {
        match self {
            Self::Here(running) => Shared::Here(running.share(move |running| {
                let _ = last.send(Self::Here(Box::new(running)));
            })),
            Self::Workers(seat) => Shared::Workers(SharedSeat {
                seat: Some(seat),
                last: Mutex::new(Some(last)),
            }),
        }
    }
}

impl Shared {
    pub(super) fn plugin(&self) -> Option<&Plugin> {
        match self {
            Self::Here(plugin) => Some(plugin),
            Self::Workers(_) => None,
        }
    }

    pub(super) fn seat(&self) -> Option<&Seat> {
        match self {
            Self::Here(_) => None,
            Self::Workers(shared) => shared.seat.as_ref(),
        }
    }

    /// Tells the code that draining has begun, and why.
    pub(super) fn shutdown(&self, reason: StopReason) {
        match self {
            Self::Here(plugin) => plugin.shutdown(reason),
            Self::Workers(_) => {
                if let Some(Seat { crew, app, .. }) = self.seat() {
                    crew.announce(app, reason);
                }
            }
        }
    }
}

impl Drop for SharedSeat {
    fn drop(&mut self) {
        let last = self.last.get_mut();
        let last = last.unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(seat), Some(last)) = (self.seat.take(), last) {
            let _ = last.send(Body::Workers(seat));
        }
    }
}

impl fmt::Debug for SharedSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedSeat").field(&self.seat).finish()
    }
}
