//! The clients: each asks all the time, except when all are told to pause.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use replug_tests::{Host, deadline, load::Failure};
use tokio::{
    sync::{OwnedRwLockWriteGuard, RwLock},
    task::JoinSet,
    time::timeout,
};

use super::{App, client::Client};

/// More of a kind say nothing new.
const MOST_REASONS: usize = 5;

/// Clients under way.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

/// What clients have seen.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Good answers.
    pub answers: u64,
    /// Requests that got none, or not the right one.
    pub failed: u64,
    /// Answers of two versions, or of one that had been replaced when they were asked for.
    pub mixed: u64,
    /// The first reasons.
    pub reasons: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    answers: AtomicU64,
    failed: AtomicU64,
    mixed: AtomicU64,
    reasons: Mutex<Vec<String>>,
    /// The newest version that has answered.
    newest: AtomicU64,
    /// Held by each client while it asks, and by whoever wants nobody to.
    turn: Arc<RwLock<()>>,
}

/// While it lives, nobody asks.
#[derive(Debug)]
pub(super) struct Pause {
    _turn: OwnedRwLockWriteGuard<()>,
}

impl Load {
    /// Starts so many clients.
    ///
    /// # Errors
    /// When the host does not let them connect.
    pub(super) async fn start(host: &Host, app: App, clients: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut set = JoinSet::new();
        for number in 0..clients {
            let mut client = Client::new(app, &host.address, number);
            // Before the first sample, so that all samples have all connections.
            client.connect().await?;
            set.spawn(run(client, Arc::clone(&shared)));
        }
        Ok(Self {
            shared,
            clients: set,
        })
    }

    /// Good answers so far.
    pub(super) fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// Waits until all clients are between two requests, and keeps them there.
    pub(super) async fn pause(&self) -> Pause {
        let turn = Arc::clone(&self.shared.turn);
        Pause {
            _turn: turn.write_owned().await,
        }
    }

    /// What they have seen so far.
    pub(super) fn tally(&self) -> Tally {
        let reasons = self.shared.reasons.lock();
        Tally {
            answers: self.answers(),
            failed: self.shared.failed.load(Ordering::Relaxed),
            mixed: self.shared.mixed.load(Ordering::Relaxed),
            reasons: reasons.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Ends it.
    pub(super) async fn end(mut self) -> Tally {
        self.shared.ended.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            if let Err(panic) = client {
                self.shared.failed(Failure::Failed(panic.to_string()));
            }
        }
        self.tally()
    }
}

impl Shared {
    fn failed(&self, failure: Failure) {
        let (count, reason) = match failure {
            Failure::Failed(reason) => (&self.failed, reason),
            Failure::Mixed(reason) => (&self.mixed, reason),
        };
        count.fetch_add(1, Ordering::Relaxed);
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < MOST_REASONS {
            reasons.push(reason);
        }
    }
}

/// Asks until the end, and goes on after a failure: they are counted. A host that takes no
/// connection any more has failed once and for all.
async fn run(mut client: Client, shared: Arc<Shared>) {
    loop {
        let _turn = shared.turn.read().await;
        if shared.ended.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = client.connect().await {
            return shared.failed(Failure::Failed(format!("no connection: {error}")));
        }
        let asked = timeout(deadline(), client.ask(&shared.newest)).await;
        let failure = match asked {
            Ok(Ok(answers)) => {
                shared.answers.fetch_add(answers, Ordering::Relaxed);
                continue;
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Failed(format!("no answer within {:?}", deadline())),
        };
        client.disconnect();
        shared.failed(failure);
    }
}
