//! How much of a heap is in use, counted as it is taken and given back.

use std::{
    cell::Cell,
    fmt,
    sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
};

/// So many threads can each count in a place of their own.
const OWN: usize = 16;
/// The others share so many places, so that they seldom wait for each other's.
const SHARED: usize = 8;
const SHARDS: usize = OWN + SHARED;
/// A limit is looked at whenever a shard has grown or shrunk by so many bytes.
const STEP_BITS: u32 = 16;

/// How much of a heap is in use: bytes that were asked for and not given back.
pub struct Usage {
    shards: [Shard; SHARDS],
    limit: Option<Limit>,
}

/// Alone in its cache line.
#[repr(align(128))]
#[derive(Default)]
struct Shard(AtomicI64);

struct Limit {
    bytes: u64,
    /// An allocation back and forth across the limit is not told again and again.
    told: AtomicBool,
    tell: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Usage").field(&self.bytes()).finish()
    }
}

impl Usage {
    /// Counts without a limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            shards: Default::default(),
            limit: None,
        }
    }

    /// Calls `tell` when the bytes in use are more than `bytes`, give or take 1 MiB; once, until
    /// [`tell_again`](Self::tell_again). It is called in the middle of an allocation of the plugin's, and must neither block nor run
    /// the plugin's code.
    #[must_use]
    pub fn limited(bytes: u64, tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            shards: Default::default(),
            limit: Some(Limit {
                bytes,
                told: AtomicBool::new(false),
                tell: Box::new(tell),
            }),
        }
    }

    /// Bytes in use.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sum: i64 = self
            .shards
            .iter()
            .map(|shard| shard.0.load(Ordering::Relaxed))
            .sum();
        // A block may have been given back on another thread before it was counted here.
        u64::try_from(sum).unwrap_or(0)
    }

    /// Whether more is in use than the limit allows.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.limit
            .as_ref()
            .is_some_and(|limit| self.bytes() > limit.bytes)
    }

    /// What was told is known: the next time is told, too.
    pub fn tell_again(&self) {
        if let Some(limit) = &self.limit {
            limit.told.store(false, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn change(&self, bytes: i64) {
        let at = shard_of_this_thread();
        let shard = &self.shards[at].0;
        let before = if at < OWN {
            // Nobody else writes to it, and an atomic addition costs as much as the allocation.
            let before = shard.load(Ordering::Relaxed);
            shard.store(before.wrapping_add(bytes), Ordering::Relaxed);
            before
        } else {
            shard.fetch_add(bytes, Ordering::Relaxed)
        };
        if (before >> STEP_BITS) != (before.wrapping_add(bytes) >> STEP_BITS) {
            self.look();
        }
    }

    #[cold]
    fn look(&self) {
        let Some(limit) = &self.limit else { return };
        if self.bytes() > limit.bytes && !limit.told.swap(true, Ordering::Relaxed) {
            (limit.tell)();
        }
    }
}

thread_local! {
    /// This thread's shard and one, or 0. Plain, so that it can be used at the thread's very end.
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// From now on this thread counts in a place of its own, if there is one left. For threads that
/// allocate much and live as long as the process: the place is not given back.
pub fn count_alone() {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let own = NEXT.fetch_add(1, Ordering::Relaxed);
    if own < OWN {
        SHARD.set(own + 1);
    }
}

#[inline]
fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|shard| {
        if shard.get() == 0 {
            shard.set(OWN + NEXT.fetch_add(1, Ordering::Relaxed) % SHARED + 1);
        }
        shard.get() - 1
    })
}
