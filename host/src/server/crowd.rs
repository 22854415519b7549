//! Connections that can be counted, awaited and ended together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio_util::sync::CancellationToken;

/// Some connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    number: AtomicUsize,
    zero: tokio::sync::Notify,
    dispersed: CancellationToken,
}

/// One connection's share of a [`Crowd`].
#[derive(Debug)]
pub(super) struct Member(Arc<Inner>);

impl Crowd {
    pub(super) fn add(&self) -> Member {
        self.0.number.fetch_add(1, Ordering::AcqRel);
        Member(Arc::clone(&self.0))
    }

    /// How many there are.
    pub(super) fn number(&self) -> usize {
        self.0.number.load(Ordering::Acquire)
    }

    /// Waits until there is none.
    pub(super) async fn gone(&self) {
        loop {
            // Registered before looking, so that no last connection is missed in between.
            let notified = self.0.zero.notified();
            if self.number() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Has all of them cut.
    pub(super) fn disperse(&self) {
        self.0.dispersed.cancel();
    }
}

impl Member {
    /// Resolves when it is to be cut.
    pub(super) fn cut(&self) -> CancellationToken {
        self.0.dispersed.clone()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.0.number.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.zero.notify_waiters();
        }
    }
}
