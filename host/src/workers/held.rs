//! A request's hold on the worker that answers it, and the worker's books of them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Method, Uri};
use slab::Slab;
use tokio::time::Instant;

use super::Worker;
use crate::id::AppName;

/// What a request is, for the log line of the worker that dies with it.
#[derive(Clone, Debug)]
pub struct About {
    /// The app that is asked.
    pub app: AppName,
    /// The host's number for the request.
    pub id: u64,
    /// Its method.
    pub method: Method,
    /// Its target, as it came. Cheap to clone.
    pub uri: Uri,
    /// When it was taken.
    pub since: Instant,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path only: what is asked for may be nobody's business who reads logs.
        let Self {
            app, id, method, ..
        } = self;
        let path = self.uri.path();
        write!(f, "request {id} of {}: {method} {path}", app.as_str())
    }
}

/// One request in flight at a worker: from when the worker was chosen until the response's body has
/// ended.
pub struct Held {
    worker: Arc<Worker>,
    since: Instant,
    /// `None` only while it is dropped.
    place: Option<Place>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.worker).finish()
    }
}

impl Held {
    /// Of a worker that has counted it.
    pub(super) fn new(worker: Arc<Worker>, about: About) -> Self {
        Self {
            since: about.since,
            place: Some(worker.enter(about)),
            worker,
        }
    }

    /// The worker that holds the request.
    #[must_use]
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// When the request was taken.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What the request is.
    #[must_use]
    pub fn about(&self) -> About {
        let Some(place) = self.place else {
            unreachable!("gone only when dropped");
        };
        self.worker.about(place)
    }

    /// Gives this worker up, for another one.
    pub(crate) fn give_up(mut self) -> About {
        let Some(place) = self.place.take() else {
            unreachable!("gone only when dropped");
        };
        self.worker.release(place)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.worker.release(place);
        }
    }
}

/// HTTP threads that do not share a book; further ones share.
const BOOKS: usize = 16;

/// The requests that a worker holds. A book for each thread, so that the lock on it is free unless
/// somebody lists them, or the response ends on another thread, which none does today.
#[derive(Debug)]
pub(super) struct Books([Book; BOOKS]);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Book(Mutex<Slab<About>>);

/// Where a request is in the books.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    book: usize,
    key: usize,
}

impl Default for Books {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Book::default()))
    }
}

impl Books {
    pub(super) fn enter(&self, about: About) -> Place {
        let book = this_threads();
        let key = self.0[book].lock().insert(about);
        Place { book, key }
    }

    pub(super) fn leave(&self, place: Place) -> About {
        self.0[place.book].lock().remove(place.key)
    }

    pub(super) fn read(&self, place: Place) -> About {
        self.0[place.book].lock()[place.key].clone()
    }

    pub(super) fn list(&self) -> Vec<About> {
        let mut all = Vec::new();
        for book in &self.0 {
            all.extend(book.lock().iter().map(|(_, about)| about.clone()));
        }
        all.sort_by_key(|about| about.since);
        all
    }
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Slab<About>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn this_threads() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static BOOK: usize = NEXT.fetch_add(1, Ordering::Relaxed) % BOOKS;
    }
    BOOK.with(|book| *book)
}
