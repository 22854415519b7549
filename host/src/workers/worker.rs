//! One worker process.

use std::{
    fmt,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    death::Death,
    held::{About, Books, Place},
};
use crate::process;

/// How long the news of a worker's death may take where the system does not say whether it is
/// dying.
const NEWS: Duration = Duration::from_millis(500);

/// A worker process, from when it is ready on.
pub struct Worker {
    /// Its number in its set: it is the one that follows it, too.
    pub number: u32,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub socket: PathBuf,
    /// How many trunks each thread may have to it; 0: it takes none.
    pub trunks: usize,
    /// When it was ready.
    pub since: Instant,
    /// The process's descriptor (`pidfd`); `None`: it cannot be asked about.
    process: Option<Arc<OwnedFd>>,
    serial: u64,
    /// How many requests it holds, with what else decides whether it gets another: see below.
    load: AtomicU64,
    /// How many it was ever given.
    taken: AtomicU64,
    /// Requests that it took itself, and those of them that are under way, as it says.
    own: (AtomicU64, AtomicUsize),
    books: Books,
    unheld: Notify,
    leaving: CancellationToken,
    gone: CancellationToken,
    death: OnceLock<Death>,
}

/// Where a worker is in its life. It moves forward only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It takes requests.
    Ready,
    /// It takes no new ones.
    Draining,
    /// Its process has ended, or counts as ended.
    Dead,
}

// In `load`, above the number of requests.
const DRAINING: u64 = 1 << 32;
const DEAD: u64 = 1 << 33;
/// Somebody waits until it holds nothing.
const AWAITED: u64 = 1 << 34;
const NUMBER: u64 = DRAINING - 1;

static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("number", &self.number)
            .field("pid", &self.pid)
            .field("phase", &self.phase())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker that has just become ready.
    #[must_use]
    pub fn new(
        number: u32,
        pid: u32,
        process: Option<OwnedFd>,
        socket: PathBuf,
        trunks: usize,
    ) -> Arc<Self> {
        Self::of(number, pid, process.map(Arc::new), socket, trunks)
    }

    fn of(
        number: u32,
        pid: u32,
        process: Option<Arc<OwnedFd>>,
        socket: PathBuf,
        trunks: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            trunks,
            number,
            pid,
            socket,
            process,
            since: Instant::now(),
            serial: NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            load: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            own: (AtomicU64::new(0), AtomicUsize::new(0)),
            books: Books::default(),
            unheld: Notify::new(),
            leaving: CancellationToken::new(),
            gone: CancellationToken::new(),
            death: OnceLock::new(),
        })
    }

    /// The same process once more: it takes requests again after [`Worker::drain`].
    #[must_use]
    pub fn again(&self) -> Arc<Self> {
        let process = self.process.clone();
        let again = Self::of(
            self.number,
            self.pid,
            process,
            self.socket.clone(),
            self.trunks,
        );
        let (taken, in_flight) = self.own();
        again.set_own(taken, in_flight);
        again
    }

    /// Tells workers of one run of the host apart, whatever their set.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let load = self.load.load(Ordering::Acquire);
        if load & DEAD != 0 {
            Phase::Dead
        } else if load & DRAINING != 0 {
            Phase::Draining
        } else {
            Phase::Ready
        }
    }

    /// How many requests it holds.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.load.load(Ordering::Acquire) & NUMBER).unwrap_or(usize::MAX)
    }

    /// How many requests it was ever given.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many requests it took itself, and how many of them are under way, as it said last.
    #[must_use]
    pub fn own(&self) -> (u64, usize) {
        let (taken, in_flight) = &self.own;
        (
            taken.load(Ordering::Relaxed),
            in_flight.load(Ordering::Relaxed),
        )
    }

    /// It says so.
    pub fn set_own(&self, taken: u64, in_flight: usize) {
        self.own.0.store(taken, Ordering::Relaxed);
        self.own.1.store(in_flight, Ordering::Relaxed);
    }

    /// What it holds, the oldest first. For a log or a status page: locks each of its books.
    #[must_use]
    pub fn held(&self) -> Vec<About> {
        self.books.list()
    }

    /// It gets no new requests from now on. Idle connections to it are closed.
    pub fn drain(&self) {
        self.load.fetch_or(DRAINING, Ordering::AcqRel);
        self.leaving.cancel();
    }

    /// Its process has ended: it gets no new requests, and those that it holds end with an error.
    /// Returns what it holds, the oldest first. Only the first death counts, and returns anything.
    pub fn died(&self, death: Death) -> Vec<About> {
        if self.death.set(death).is_err() {
            return Vec::new();
        }
        self.load.fetch_or(DRAINING | DEAD, Ordering::AcqRel);
        let held = self.held();
        self.leaving.cancel();
        self.gone.cancel();
        held
    }

    /// How it ended; `None`: it has not.
    #[must_use]
    pub fn death(&self) -> Option<&Death> {
        self.death.get()
    }

    /// For who sees that a connection to it has ended: how it died, as soon as that is known, or
    /// `None`, which comes at once: it lives.
    pub async fn fate(&self) -> Option<&Death> {
        let process = self.process.as_ref();
        let is_ending = process.and_then(|process| process::is_ending(process).ok());
        match is_ending {
            Some(false) => {}
            // Whoever watches over it tells, as of each that dies.
            Some(true) => self.gone.cancelled().await,
            None => drop(timeout(NEWS, self.gone.cancelled()).await),
        }
        self.death()
    }

    /// Whether its process has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.phase() == Phase::Dead
    }

    /// Comes when it takes no new requests any more.
    #[must_use]
    pub fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }

    /// Comes when its process has ended.
    #[must_use]
    pub fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Waits until it holds no request.
    pub async fn unheld(&self) {
        loop {
            // Registered before looking, so that no last request is missed in between.
            let mut notified = std::pin::pin!(self.unheld.notified());
            notified.as_mut().enable();
            if self.load.fetch_or(AWAITED, Ordering::AcqRel) & NUMBER == 0 {
                return;
            }
            notified.await;
        }
    }

    /// The same, but so long at most; zero: as long as it takes.
    pub async fn unheld_within(&self, time: Duration) {
        if time.is_zero() {
            self.unheld().await;
        } else {
            let _ = timeout(time, self.unheld()).await;
        }
    }

    /// Has it count as holding one request more, for other work that is not to be broken off.
    /// `None`: it takes none any more.
    pub(crate) fn engage(self: &Arc<Self>) -> Option<Engaged> {
        self.count().then(|| Engaged(Arc::clone(self)))
    }

    /// How many requests it holds; `None`: it takes none.
    pub(super) fn load_if_ready(&self) -> Option<u64> {
        let load = self.load.load(Ordering::Relaxed);
        (load & DRAINING == 0).then_some(load & NUMBER)
    }

    /// Counts a request, unless none is taken any more.
    pub(super) fn count(&self) -> bool {
        // Counted first: who drains it sees this request, or this request sees the draining.
        if self.load.fetch_add(1, Ordering::AcqRel) & DRAINING != 0 {
            self.uncount();
            return false;
        }
        true
    }

    /// Notes a request that was counted.
    pub(super) fn enter(&self, about: About) -> Place {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.books.enter(about)
    }

    /// Forgets a request, and counts it no longer.
    pub(super) fn release(&self, place: Place) -> About {
        let about = self.books.leave(place);
        self.uncount();
        about
    }

    /// What the request in that place is.
    pub(super) fn about(&self, place: Place) -> About {
        self.books.read(place)
    }

    fn uncount(&self) {
        let before = self.load.fetch_sub(1, Ordering::AcqRel);
        if before & NUMBER == 1 && before & AWAITED != 0 {
            self.unheld.notify_waiters();
        }
    }
}

/// Work of a worker's that is no request.
#[derive(Debug)]
pub(crate) struct Engaged(Arc<Worker>);

impl Drop for Engaged {
    fn drop(&mut self) {
        self.0.uncount();
    }
}
