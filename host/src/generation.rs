//! One loaded copy of an app, and the leases that keep it alive.
//!
//! A [`Lease`] is what a request holds while it can still run the generation's code. There is no
//! counter to forget: the last lease to go gives the generation's [`Body`] back, and only who has that
//! can stop it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

mod body;
mod crew;
mod pause;
mod tally;
mod turned_away;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use body::Body;
pub use crew::{Crew, Seat, States, Stops};
pub use pause::{Idle, Paused};
pub use tally::{Counts, Tally};

use crate::{
    config::Mount,
    id::{AppName, Digest, GenerationId},
    loader::{Footprint, Plugin, PluginOwner, StopReason},
    process::OpenedBy,
};
use body::Shared;

/// What is known of a generation, whether it takes requests or not.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The app's name.
    pub app: AppName,
    /// The number of its load: unique in one run of the host, and later ones have greater ones.
    pub load: u64,
    /// The app's main mount.
    pub mount: Mount,
    /// Its number.
    pub id: GenerationId,
    /// The digest of the bytes it was loaded from.
    pub digest: Digest,
    /// When it was ready to serve.
    pub since: Instant,
    /// What it has in this process; `None`: it is loaded in others.
    pub footprint: Option<Footprint>,
    /// What it has answered.
    pub tally: Arc<Tally>,
    /// In a worker, what it has answered of that to clients that came to the worker itself is counted
    /// here, and not there.
    pub direct: Arc<Tally>,
}

/// A generation that takes or has taken requests.
#[derive(Debug)]
pub struct Generation {
    facts: Facts,
    /// Tells generations of one run of the host apart, whatever their app.
    pub serial: u64,
    /// New requests are turned away for as long as it uses more memory than it may.
    turns_away: AtomicBool,
    cut: Arc<Cut>,
    body: Shared,
}

impl std::ops::Deref for Generation {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl Generation {
    /// Comes when the drain deadline has passed and what is left must end.
    #[must_use]
    pub fn cut(&self) -> &Arc<Cut> {
        &self.cut
    }

    /// The plugin, if this process has it loaded. A clone of it keeps the generation from being
    /// stopped.
    #[must_use]
    pub fn plugin(&self) -> Option<&Plugin> {
        self.body.plugin()
    }

    /// Its part in a crew, if workers have it loaded.
    #[must_use]
    pub fn seat(&self) -> Option<&Seat> {
        self.body.seat()
    }

    /// Tells its code that draining has begun, and why.
    pub fn shutdown(&self, reason: StopReason) {
        self.body.shutdown(reason);
    }

    /// From now on, no new request is taken while it uses more memory than it may.
    pub fn turn_away_when_exhausted(&self) {
        self.turns_away.store(true, Ordering::Relaxed);
    }

    /// Whether a new request is to be turned away.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        let exceeds = Footprint::exceeds_its_limit;
        self.turns_away.load(Ordering::Relaxed) && self.footprint.as_ref().is_some_and(exceeds)
    }
}

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

/// That what is left of a generation must end.
#[derive(Debug, Default)]
pub struct Cut {
    // Beside the token, whose look takes a lock: bodies ask for each piece of data.
    done: AtomicBool,
    token: CancellationToken,
}

impl Cut {
    /// Whether it has come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Resolves when it comes; at the latest when the last lease is gone.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    fn make(&self) {
        self.done.store(true, Ordering::Release);
        self.token.cancel();
    }
}

impl PluginOwner for Generation {
    fn plugin(&self) -> Option<&Plugin> {
        self.body.plugin()
    }
}

/// Keeps a generation alive: one for each request, response body (and piece of its data that is
/// not sent yet) and tunnel.
#[derive(Clone, Debug)]
pub struct Lease(pub(crate) Arc<Generation>);

impl Lease {
    /// How many leases there are, this one among them.
    #[must_use]
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl std::ops::Deref for Lease {
    type Target = Generation;

    fn deref(&self) -> &Generation {
        &self.0
    }
}

/// The owner's side of a generation: the lease that an app hands out copies of, and the word that
/// the last one is gone.
pub struct Live {
    /// What requests take copies of.
    pub lease: Lease,
    /// Descriptors that came up with it.
    pub opened: Option<OpenedBy>,
    last: oneshot::Receiver<Body>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// Makes code that has been set up ready for requests.
    #[must_use]
    pub fn new(body: Body, facts: Facts) -> Self {
        let (sender, last) = oneshot::channel();
        let body = body.share(sender);
        let cut = Arc::default();
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        Self {
            lease: Lease(Arc::new(Generation {
                facts,
                serial,
                turns_away: AtomicBool::new(false),
                cut,
                body,
            })),
            opened: None,
            last,
        }
    }

    /// Gives up the owner's own lease, and waits for the others.
    #[must_use]
    pub fn drain(self) -> Draining {
        let Self { lease, last, .. } = self;
        let cut = Arc::clone(lease.cut());
        let generation = Arc::downgrade(&lease.0);
        drop(lease);
        Draining {
            generation,
            cut,
            last,
        }
    }
}

/// A generation that takes no new requests.
#[derive(Debug)]
pub struct Draining {
    generation: std::sync::Weak<Generation>,
    cut: Arc<Cut>,
    last: oneshot::Receiver<Body>,
}

impl Draining {
    /// How many leases there still are.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.generation.strong_count()
    }

    /// Ends what still holds a lease, as far as it lets itself be ended.
    pub fn cut(&self) {
        self.cut.make();
    }

    /// Waits for the last lease. `None`: its code is gone without one, which is a bug.
    /// Cancel-safe.
    pub async fn last(&mut self) -> Option<Body> {
        let body = (&mut self.last).await.ok();
        // Nobody is left to be cut; this ends those who wait to hear of it.
        self.cut.make();
        body
    }
}
