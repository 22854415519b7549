//! A set of worker processes, as requests see it.
//!
//! A request takes a [`Held`] on the ready worker with the fewest requests in flight, and drops it
//! when its response has ended; while no worker is ready, it waits for one in a bounded queue. All
//! HTTP threads do so at the same time, so the way of a request takes no lock that it shares with
//! another: the set is read through an atomic pointer, and each worker has one atomic number that
//! says how many requests it holds and whether it takes more.
//!
//! Who starts and ends workers tells the set: [`Set::add`], [`Set::replace`], [`Worker::drain`],
//! [`Worker::died`].

use std::{
    cell::Cell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use smallvec::SmallVec;

mod death;
mod held;
mod queue;
mod worker;

#[cfg(test)]
mod tests;

pub use death::Death;
pub use held::{About, Held};
pub use queue::{Patience, Refusal};
pub(crate) use worker::Engaged;
pub use worker::{Phase, Worker};

use crate::id::AppName;
use queue::Queue;

/// The serial numbers of workers that a request does not want.
pub(crate) type Tried = SmallVec<[u64; 4]>;

/// Worker processes that answer the same requests. A clone is the same set.
#[derive(Clone, Debug)]
pub struct Set(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    workers: ArcSwap<Vec<Arc<Worker>>>,
    /// Those that were replaced, until they hold nothing.
    replaced: Mutex<Vec<Arc<Worker>>>,
    queue: Queue,
}

impl Set {
    /// A set of those workers, which are ready.
    #[must_use]
    pub fn new(workers: Vec<Arc<Worker>>, patience: Patience) -> Self {
        Self(Arc::new(Inner {
            workers: ArcSwap::from_pointee(workers),
            replaced: Mutex::default(),
            queue: Queue::new(patience),
        }))
    }

    /// The workers, in the order in which they came: ready ones, and others that were not replaced
    /// yet.
    #[must_use]
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        self.0.workers.load().to_vec()
    }

    /// A worker has become ready. Requests that wait get it, in their order.
    pub fn add(&self, worker: Arc<Worker>) {
        self.change(|workers| workers.push(Arc::clone(&worker)));
        self.0.queue.admit(|tried| self.choose(tried));
    }

    /// A worker takes another's place. The old one gets no new requests from now on; what it holds
    /// goes on, and counts for [`Set::drained`]. If it is not in the set, the new one is added.
    pub fn replace(&self, old: &Arc<Worker>, new: Arc<Worker>) {
        self.leave(old);
        self.change(|workers| {
            match workers
                .iter_mut()
                .find(|worker| worker.serial() == old.serial())
            {
                Some(place) => *place = Arc::clone(&new),
                None => workers.push(Arc::clone(&new)),
            }
        });
        old.drain();
        self.0.queue.admit(|tried| self.choose(tried));
    }

    /// A worker leaves without another in its place, as [`Set::replace`] has it.
    pub fn remove(&self, old: &Arc<Worker>) {
        self.leave(old);
        self.change(|workers| workers.retain(|worker| worker.serial() != old.serial()));
        old.drain();
    }

    /// The ready worker with the fewest requests in flight; of several such, each in turn.
    /// `None`: none is ready.
    #[must_use]
    pub fn pick(&self, about: &About) -> Option<Held> {
        let worker = self.choose(&[])?;
        Some(Held::new(worker, about.clone()))
    }

    /// A worker as [`Set::pick`] gives it, or as soon as one is ready. Dropping the future gives up
    /// the place in the queue.
    ///
    /// # Errors
    /// When too many wait already, none gets ready in time, or the set is shut.
    pub async fn hold(&self, about: About) -> Result<Held, Refusal> {
        self.hold_other(about, Tried::new()).await
    }

    /// The same with any worker but those.
    pub(crate) async fn hold_other(&self, about: About, tried: Tried) -> Result<Held, Refusal> {
        match self.choose(&tried) {
            Some(worker) => Ok(Held::new(worker, about)),
            None => {
                let choose = |tried: &Tried| self.choose(tried);
                self.0.queue.wait(about, tried, choose).await
            }
        }
    }

    /// The same without waiting.
    pub(crate) fn pick_other(&self, about: About, tried: &Tried) -> Option<Held> {
        Some(Held::new(self.choose(tried)?, about))
    }

    /// From now on, requests for which no worker is ready do not wait, and those that wait are
    /// turned away: nobody is about to start one. `reason` is for the log and the client.
    pub fn shut(&self, reason: &str) {
        self.0.queue.shut(Some(reason.into()));
    }

    /// Requests wait again.
    pub fn open(&self) {
        self.0.queue.shut(None);
    }

    /// Other workers answer for that app from now on: its requests that wait for a worker here are
    /// turned back with [`Refusal::Replaced`], and so are further ones for which none is ready.
    pub fn turn_back(&self, app: &AppName) {
        self.0.queue.turn_back(app);
    }

    /// Comes when a request has begun to wait for a worker since the last of these. For one task.
    pub async fn asked(&self) {
        self.0.queue.came().await;
    }

    /// How many requests wait for a worker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.queue.len()
    }

    /// How many requests the workers hold, those that were replaced among them.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.all().iter().map(|worker| worker.in_flight()).sum()
    }

    /// Waits until no request is held, and none waits. For a set that gets no new ones: with new
    /// ones it may take for ever.
    pub async fn drained(&self) {
        loop {
            let changed = self.0.queue.changed();
            for worker in self.all() {
                worker.unheld().await;
            }
            if self.waiting() > 0 {
                changed.await;
            } else if self.in_flight() == 0 {
                return;
            }
        }
    }

    /// A ready worker, which counts one request more.
    fn choose(&self, tried: &[u64]) -> Option<Arc<Worker>> {
        let workers = self.0.workers.load();
        let turn = next_turn();
        loop {
            let number = workers.len();
            let best = (0..number)
                .map(|place| &workers[(place + turn) % number])
                .filter(|worker| !tried.contains(&worker.serial()))
                .filter_map(|worker| Some((worker.load_if_ready()?, worker)))
                .min_by_key(|(load, _)| *load);
            let (_, worker) = best?;
            // Else it has stopped to be ready in this moment, and is passed over the next time.
            if worker.count() {
                return Some(Arc::clone(worker));
            }
        }
    }

    fn all(&self) -> Vec<Arc<Worker>> {
        let mut all = self.workers();
        let mut replaced = self.0.replaced();
        replaced.retain(|worker| worker.in_flight() > 0);
        all.extend(replaced.iter().cloned());
        all
    }

    fn leave(&self, old: &Arc<Worker>) {
        self.0.replaced().push(Arc::clone(old));
    }

    fn change(&self, change: impl Fn(&mut Vec<Arc<Worker>>)) {
        self.0.workers.rcu(|workers| {
            let mut workers = Vec::clone(workers);
            change(&mut workers);
            workers
        });
    }
}

impl Inner {
    fn replaced(&self) -> MutexGuard<'_, Vec<Arc<Worker>>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where this thread begins to look for a worker: for each request one further, so that workers
/// with equally many requests take turns. Threads begin at different places.
fn next_turn() -> usize {
    thread_local! {
        static TURN: Cell<usize> = Cell::new(fastrand::usize(..1 << 16));
    }
    TURN.with(|turn| {
        turn.set(turn.get().wrapping_add(1));
        turn.get()
    })
}
