//! What a generation has answered, and how badly.

use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Instant,
};

use super::turned_away::TurnedAway;

/// HTTP threads that do not share a counter; further ones share.
const CELLS: usize = 16;

/// Counts a generation's requests.
pub struct Tally {
    // One for each thread: they would take a shared counter's cache line from each other.
    cells: [Cell; CELLS],
    failures: AtomicU64,
    panics: AtomicU64,
    /// Under way in workers, which count them.
    elsewhere: AtomicUsize,
    limit: Option<Limit>,
    turned_away: TurnedAway,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell {
    requests: AtomicU64,
    /// Of those whose end is told.
    ended: AtomicU64,
}

/// Something to be done once after so many requests.
struct Limit {
    taken: AtomicU64,
    at: u64,
    reached: Box<dyn Fn() + Send + Sync>,
}

/// What has been counted by some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were begun.
    pub requests: u64,
    /// Answers of 500 and above, the host's own in the app's place among them.
    pub failures: u64,
    /// Panics in handlers and bodies.
    pub panics: u64,
}

impl Counts {
    /// What came after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            failures: self.failures.saturating_sub(earlier.failures),
            panics: self.panics.saturating_sub(earlier.panics),
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tally").field(&self.counts()).finish()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            cells: std::array::from_fn(|_| Cell::default()),
            failures: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            elsewhere: AtomicUsize::new(0),
            limit: None,
            turned_away: TurnedAway::default(),
        }
    }
}

impl Tally {
    /// One that calls `reached` when request number `at` comes, on that request's thread.
    #[must_use]
    pub fn with_limit(at: u64, reached: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            limit: Some(Limit {
                taken: AtomicU64::new(0),
                at,
                reached: Box::new(reached),
            }),
            ..Self::default()
        }
    }

    /// A request has come.
    pub fn request(&self) {
        self.requests(1);
    }

    fn requests(&self, number: u64) {
        let requests = &self.cells[cell()].requests;
        requests.fetch_add(number, Ordering::Relaxed);
        if let Some(limit) = &self.limit {
            let before = limit.taken.fetch_add(number, Ordering::Relaxed);
            if before < limit.at && before + number >= limit.at {
                (limit.reached)();
            }
        }
    }

    /// A request has ended, with its body. Where this is told, it is told of each.
    pub fn ended(&self) {
        self.cells[cell()].ended.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests are under way, where their ends are told.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        // Ends first: of a request that ends meanwhile, the beginning is seen at least.
        let sum = |of: fn(&Cell) -> &AtomicU64| -> u64 {
            let cells = self.cells.iter();
            cells.map(|cell| of(cell).load(Ordering::Relaxed)).sum()
        };
        let ended = sum(|cell| &cell.ended);
        sum(|cell| &cell.requests).saturating_sub(ended)
    }

    /// So much more was counted elsewhere.
    pub fn add(&self, more: Counts) {
        if more.requests > 0 {
            self.requests(more.requests);
        }
        self.failures.fetch_add(more.failures, Ordering::Relaxed);
        self.panics.fetch_add(more.panics, Ordering::Relaxed);
    }

    /// So many requests are under way elsewhere.
    pub fn set_elsewhere(&self, under_way: usize) {
        self.elsewhere.store(under_way, Ordering::Relaxed);
    }

    /// How many were said to be.
    #[must_use]
    pub fn elsewhere(&self) -> usize {
        self.elsewhere.load(Ordering::Relaxed)
    }

    /// It was answered with 500 or above.
    pub fn failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was turned away: nobody was there to answer it. Returns how many were since that was
    /// last said, if it is to be said now.
    pub fn turned_away(&self) -> Option<u64> {
        self.turned_away.one_more(Instant::now())
    }

    /// Its code panicked.
    pub fn panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been counted by now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let cells = self.cells.iter();
        let requests = cells.map(|cell| cell.requests.load(Ordering::Relaxed));
        Counts {
            requests: requests.sum(),
            failures: self.failures.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
        }
    }
}

/// This thread's cell.
fn cell() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static CELL: usize = NEXT.fetch_add(1, Ordering::Relaxed) % CELLS;
    }
    CELL.with(|cell| *cell)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn requests_of_many_threads_are_all_counted_and_the_limit_is_told_once() {
        let told = Arc::new(AtomicU64::new(0));
        let tell = Arc::clone(&told);
        let tally = Tally::with_limit(1_500, move || {
            tell.fetch_add(1, Ordering::Relaxed);
        });
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..100).for_each(|_| tally.request()));
            }
        });
        tally.failure();
        tally.panic();
        let counts = tally.counts();
        assert_eq!(
            (counts.requests, counts.failures, counts.panics),
            (2_000, 1, 1)
        );
        assert_eq!(told.load(Ordering::Relaxed), 1);
        (0..1_990).for_each(|_| tally.ended());
        assert_eq!(tally.under_way(), 10);
        let later = Counts {
            requests: 2_010,
            ..counts
        };
        assert_eq!(later.since(counts).requests, 10);
    }

    #[test]
    fn what_was_counted_elsewhere_reaches_the_limit_too_and_once() {
        let told = Arc::new(AtomicU64::new(0));
        let tell = Arc::clone(&told);
        let tally = Tally::with_limit(10, move || {
            tell.fetch_add(1, Ordering::Relaxed);
        });
        let more = Counts {
            requests: 6,
            failures: 2,
            panics: 1,
        };
        tally.request();
        for expected in [0, 1, 1] {
            tally.add(more);
            assert_eq!(told.load(Ordering::Relaxed), expected);
        }
        let counts = tally.counts();
        assert_eq!(
            (counts.requests, counts.failures, counts.panics),
            (19, 6, 3)
        );
    }
}
