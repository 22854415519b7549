//! Wakers of a plugin's that the host keeps, and can take away.
//!
//! A plugin may poll a body or a stream that the host owns from a task of its own. Whatever is
//! behind it (hyper's channels, say) then keeps a waker, even after the body is gone, and a raw
//! plugin waker would be called into an unmapped library. So the host's machinery only ever gets
//! a waker of the host's, which looks in a [`Slot`] for the plugin's. Before a library is closed
//! all slots of its generation are emptied; waking through an emptied slot does nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Wake, Waker},
};

use replug_plugin::{
    abi,
    glue::waker::{self, Foreign},
};

/// All slots of a generation.
#[derive(Debug, Default)]
pub(super) struct Slots {
    table: Mutex<Table>,
    /// Calls to the plugin's wakers that are under way.
    busy: Mutex<usize>,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    revoked: bool,
    next: u64,
    slots: HashMap<u64, Weak<Slot>>,
}

impl Slots {
    /// Empties all slots for good. When it returns, no call to a waker of the plugin's is under
    /// way, and none will begin.
    pub(super) fn revoke(&self) {
        let slots = {
            let mut table = lock(&self.table);
            table.revoked = true;
            std::mem::take(&mut table.slots)
        };
        for slot in slots.into_values().filter_map(|slot| slot.upgrade()) {
            slot.revoke();
        }
        let busy = lock(&self.busy);
        drop(
            self.idle
                .wait_while(busy, |busy| *busy > 0)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn register(self: &Arc<Self>) -> Registered {
        let mut table = lock(&self.table);
        let state = State {
            waker: None,
            revoked: table.revoked,
        };
        let slot = Arc::new(Slot {
            slots: Arc::clone(self),
            state: Mutex::new(state),
        });
        let key = table.next;
        table.next += 1;
        table.slots.insert(key, Arc::downgrade(&slot));
        Registered {
            waker: Waker::from(Arc::clone(&slot)),
            slot,
            key,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these; and if it did, the data would still be whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where one pollable thing of the host's keeps the plugin's waker. Made when it is first needed.
#[derive(Debug)]
pub(super) struct LazySlot {
    slots: Arc<Slots>,
    registered: Option<Registered>,
}

impl LazySlot {
    pub(super) fn new(slots: &Arc<Slots>) -> Self {
        Self {
            slots: Arc::clone(slots),
            registered: None,
        }
    }

    /// Polls the host's machinery for a plugin that lent `waker`.
    pub(super) fn poll<R>(
        &mut self,
        waker: &abi::Waker,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        // The host's own waker, come back unwrapped: the handler polls it within the host's poll.
        if waker::is_own(waker) {
            return waker::with_lent(waker, poll);
        }
        self.poll_kept(waker, poll)
    }

    /// The same for machinery that keeps the waker beyond the host's own poll, if there is one.
    pub(super) fn poll_kept<R>(
        &mut self,
        waker: &abi::Waker,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        let registered = self.registered.get_or_insert_with(|| self.slots.register());
        registered.slot.put(waker::keep(waker));
        let polled = poll(&mut Context::from_waker(&registered.waker));
        if polled.is_ready() {
            registered.slot.clear();
        }
        polled
    }
}

/// A slot in its generation's table; leaves it when dropped.
#[derive(Debug)]
struct Registered {
    slot: Arc<Slot>,
    waker: Waker,
    key: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.slot.slots.table).slots.remove(&self.key);
        self.slot.revoke();
    }
}

#[derive(Debug)]
struct Slot {
    slots: Arc<Slots>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waker: Option<Foreign>,
    revoked: bool,
}

// No lock is held while the plugin's waker is called or dropped: dropping one may drop a task, and
// with it the very body that the slot belongs to.
impl Slot {
    fn put(&self, waker: Foreign) {
        let mut state = lock(&self.state);
        let unused = if state.revoked {
            Some(waker)
        } else {
            state.waker.replace(waker)
        };
        drop(state);
        drop(unused);
    }

    fn clear(&self) {
        let unused = lock(&self.state).waker.take();
        drop(unused);
    }

    fn revoke(&self) {
        let mut state = lock(&self.state);
        state.revoked = true;
        let unused = state.waker.take();
        drop(state);
        drop(unused);
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        let Some(waker) = state.waker.take() else {
            return;
        };
        // Counted before the slot's lock is let go, so that `Slots::revoke` cannot miss it.
        *lock(&self.slots.busy) += 1;
        drop(state);
        waker.wake();
        drop(waker);
        *lock(&self.slots.busy) -= 1;
        self.slots.idle.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use replug_plugin::glue::waker::{lend, with_lent};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Registers `count` as if a plugin had polled, and gives back the waker that the host's
    /// machinery kept.
    fn poll_as_plugin(slots: &Arc<Slots>, count: &Arc<Count>) -> (Registered, Waker) {
        let registered = slots.register();
        let waker = Waker::from(Arc::clone(count));
        let lent = lend(&waker);
        registered.slot.put(lent.keep());
        let kept = registered.waker.clone();
        (registered, kept)
    }

    #[test]
    fn waking_reaches_the_plugin_once_for_each_poll() {
        let (slots, count) = (Arc::new(Slots::default()), Arc::new(Count::default()));
        let (_registered, kept) = poll_as_plugin(&slots, &count);
        kept.wake_by_ref();
        kept.wake();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_revoked_slot_wakes_nobody_and_holds_nothing() {
        let (slots, count) = (Arc::new(Slots::default()), Arc::new(Count::default()));
        let (_registered, kept) = poll_as_plugin(&slots, &count);
        slots.revoke();
        kept.wake();
        assert_eq!(
            (count.0.load(Ordering::SeqCst), Arc::strong_count(&count)),
            (0, 1)
        );
        let (_late, kept) = poll_as_plugin(&slots, &count);
        kept.wake();
        assert_eq!(
            (count.0.load(Ordering::SeqCst), Arc::strong_count(&count)),
            (0, 1)
        );
    }

    #[test]
    fn a_body_that_is_gone_leaves_no_slot_behind() {
        let (slots, count) = (Arc::new(Slots::default()), Arc::new(Count::default()));
        let (registered, kept) = poll_as_plugin(&slots, &count);
        drop(registered);
        kept.wake();
        assert_eq!(
            (count.0.load(Ordering::SeqCst), Arc::strong_count(&count)),
            (0, 1)
        );
        assert!(lock(&slots.table).slots.is_empty());
    }

    #[test]
    fn the_hosts_own_waker_needs_no_slot() {
        let slots = Arc::new(Slots::default());
        let mut lazy = LazySlot::new(&slots);
        let waker = Waker::from(Arc::new(Count::default()));
        let lent = lend(&waker);
        with_lent(lent.as_abi(), |_| ());
        let polled = lazy.poll(lent.as_abi(), |cx| {
            assert!(cx.waker().will_wake(&waker));
            Poll::Ready(())
        });
        assert!(polled.is_ready() && lazy.registered.is_none());
    }
}
