//! What all connections are told.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::unheard::Unheard;

/// Orders to all connections of a server. Each stays in force, for new connections too.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// Answer one more request at the most, and tell the client that it is the last.
    pub(super) last: CancellationToken,
    /// Give up connections on which nothing was heard, so that somebody else goes on with them.
    pub(super) give_up: CancellationToken,
    /// Let each connection finish what it has begun.
    pub(super) drain: CancellationToken,
    given_up: Arc<Mutex<Vec<Unheard>>>,
}

impl Orders {
    /// The same, of which some connections can be drained before the others.
    pub(super) fn apart(&self) -> Self {
        Self {
            drain: self.drain.child_token(),
            ..self.clone()
        }
    }

    /// Somebody else may go on with that connection.
    pub(super) fn give(&self, connection: Unheard) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.push(connection);
    }

    /// All that were given up so far.
    pub(super) fn given_up(&self) -> Vec<Unheard> {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut given_up)
    }
}
