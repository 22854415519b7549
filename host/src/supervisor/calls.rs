//! What workers have been told to do, and have not answered yet.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::{id::AppName, workers::Engaged};

/// A scheduled call that is to be made.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) app: AppName,
    pub(super) name: String,
    pub(super) reply: oneshot::Sender<Result<(), String>>,
}

/// Calls that a worker has been told to make.
#[derive(Debug, Default)]
pub(super) struct Calls {
    next: u64,
    open: HashMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    /// The serial number of the worker.
    worker: u64,
    reply: oneshot::Sender<Result<(), String>>,
    /// The worker is not ended meanwhile.
    _engaged: Engaged,
}

impl Calls {
    pub(super) fn open(
        &mut self,
        worker: u64,
        engaged: Engaged,
        reply: oneshot::Sender<Result<(), String>>,
    ) -> u64 {
        self.next += 1;
        let open = Open {
            worker,
            reply,
            _engaged: engaged,
        };
        self.open.insert(self.next, open);
        self.next
    }

    pub(super) fn close(&mut self, call: u64, error: Option<String>) {
        if let Some(Open { reply, .. }) = self.open.remove(&call) {
            let _ = reply.send(error.map_or(Ok(()), Err));
        }
    }

    /// That worker makes none any more.
    pub(super) fn died(&mut self, worker: u64, how: &str) {
        let its = self.open.extract_if(|_, open| open.worker == worker);
        for (_, Open { reply, .. }) in its {
            let _ = reply.send(Err(format!("its worker {how}")));
        }
    }
}
