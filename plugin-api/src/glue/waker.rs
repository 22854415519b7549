//! Wakers across the boundary.
//!
//! A waker that this side made goes out as its two words and `TABLE`. One that the other side
//! made is wrapped in a local [`Waker`] by [`with_context`]. Neither is wrapped twice: a wrapper
//! that goes back out is taken off, and a waker that comes back home is used as it is.

#![expect(unsafe_code, reason = "ABI glue: raw wakers")]

use std::{
    mem::ManuallyDrop,
    ptr,
    task::{Context, RawWaker, RawWakerVTable, Waker},
};

use crate::{abi, glue::guard};

/// Lends a local waker to the other side for the length of a call.
#[must_use]
pub fn lend(waker: &Waker) -> Lent<'_> {
    let raw = if is_wrapper(waker) {
        // SAFETY: our wrappers' data points to the foreign waker, which lives as long as `waker`.
        let foreign = unsafe { &*waker.data().cast::<abi::Waker>() };
        copy(foreign)
    } else {
        abi::Waker {
            data: waker.data().cast(),
            extra: ptr::from_ref(waker.vtable()).cast(),
            table: &raw const TABLE,
        }
    };
    Lent { raw, _waker: waker }
}

/// A waker lent to the other side.
#[derive(Debug)]
pub struct Lent<'a> {
    raw: abi::Waker,
    _waker: &'a Waker,
}

impl Lent<'_> {
    /// What to hand over.
    #[must_use]
    pub fn as_ptr(&self) -> *const abi::Waker {
        &raw const self.raw
    }

    /// The same as a reference.
    #[must_use]
    pub fn as_abi(&self) -> &abi::Waker {
        &self.raw
    }

    /// Clones it as the other side would.
    #[must_use]
    pub fn keep(&self) -> Foreign {
        keep(&self.raw)
    }
}

/// Clones a lent waker.
#[must_use]
pub fn keep(waker: &abi::Waker) -> Foreign {
    // SAFETY: a reference is valid during this call.
    unsafe { Foreign::keep(waker) }
}

/// Runs `f` with a context whose waker is the other side's.
///
/// # Safety
/// `waker` must point to a waker that is valid during this call.
pub unsafe fn with_context<R>(
    waker: *const abi::Waker,
    f: impl FnOnce(&mut Context<'_>) -> R,
) -> R {
    // SAFETY: vouched for by the caller.
    let raw = unsafe { &*waker };
    if is_own(raw) {
        // SAFETY: its table is ours, so these are the parts of a local waker, which the lender keeps.
        let waker = ManuallyDrop::new(unsafe { rebuild(raw) });
        return f(&mut Context::from_waker(&waker));
    }
    let borrowed = RawWaker::new(waker.cast(), &BORROWED);
    // SAFETY: `BORROWED` keeps the contract of a raw waker, and the pointer outlives `f`.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(borrowed) });
    f(&mut Context::from_waker(&waker))
}

/// Like [`with_context`], for a waker that is borrowed already.
pub fn with_lent<R>(waker: &abi::Waker, f: impl FnOnce(&mut Context<'_>) -> R) -> R {
    // SAFETY: a reference is valid during this call.
    unsafe { with_context(waker, f) }
}

/// Whether this side made it.
#[must_use]
pub fn is_own(waker: &abi::Waker) -> bool {
    ptr::eq(waker.table, &raw const TABLE)
}

/// A waker of the other side's, kept.
// Wrappers point to it as to the waker itself.
#[derive(Debug)]
#[repr(transparent)]
pub struct Foreign(abi::Waker);

impl Foreign {
    /// Clones a lent waker.
    ///
    /// # Safety
    /// `waker` must point to a waker that is valid during this call.
    #[must_use]
    pub unsafe fn keep(waker: *const abi::Waker) -> Self {
        // SAFETY: vouched for by the caller.
        let table = unsafe { table_of(waker) };
        // SAFETY: the table came with the waker.
        Self(unsafe { (table.clone)(waker) })
    }

    /// Wakes it.
    pub fn wake(&self) {
        // SAFETY: an owned waker's table is valid until it is dropped.
        let table = unsafe { table_of(&raw const self.0) };
        // SAFETY: the table came with the waker.
        unsafe { (table.wake_by_ref)(&raw const self.0) }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: an owned waker's table is valid until it is dropped.
        let table = unsafe { table_of(&raw const self.0) };
        // SAFETY: owned, and dropped once.
        unsafe { (table.drop)(&raw mut self.0) }
    }
}

// SAFETY: the ABI lets wakers be cloned, woken and dropped from any thread.
unsafe impl Send for Foreign {}
// SAFETY: as above; `wake` takes the maker's own locks.
unsafe impl Sync for Foreign {}

/// # Safety
/// `waker` must point to a waker that is valid for as long as `'a`.
unsafe fn table_of<'a>(waker: *const abi::Waker) -> &'a abi::WakerTable {
    // SAFETY: vouched for by the caller.
    let waker = unsafe { &*waker };
    // SAFETY: a waker's table is valid as long as the waker.
    unsafe { &*waker.table }
}

// What the other side calls on wakers that this side made.

static TABLE: abi::WakerTable = abi::WakerTable {
    size: size_of::<abi::WakerTable>(),
    clone: own_clone,
    wake_by_ref: own_wake,
    drop: own_drop,
};

/// # Safety
/// `raw` must have been made by [`lend`] or [`own_clone`] of this side, and still be alive.
unsafe fn rebuild(raw: &abi::Waker) -> Waker {
    // SAFETY: `extra` came from `Waker::vtable`, which is `'static`.
    let vtable: &'static RawWakerVTable = unsafe { &*raw.extra.cast() };
    // SAFETY: data and vtable are those of one local waker.
    unsafe { Waker::new(raw.data.cast(), vtable) }
}

unsafe extern "C" fn own_clone(waker: *const abi::Waker) -> abi::Waker {
    // SAFETY: the other side hands back what this side lent or cloned.
    let raw = unsafe { &*waker };
    // SAFETY: as above; not dropped, since it is only borrowed.
    let local = ManuallyDrop::new(unsafe { rebuild(raw) });
    // A waker whose clone panics is replaced by one that does nothing: the call must not unwind.
    let clone = guard::catch(|| (*local).clone()).unwrap_or_else(|_| Waker::noop().clone());
    let clone = ManuallyDrop::new(clone);
    abi::Waker {
        data: clone.data().cast(),
        extra: ptr::from_ref(clone.vtable()).cast(),
        table: &raw const TABLE,
    }
}

unsafe extern "C" fn own_wake(waker: *const abi::Waker) {
    // SAFETY: the other side hands back what this side lent or cloned.
    let raw = unsafe { &*waker };
    // SAFETY: as above; not dropped, since it is only borrowed.
    let local = ManuallyDrop::new(unsafe { rebuild(raw) });
    guard::contain(|| local.wake_by_ref());
}

unsafe extern "C" fn own_drop(waker: *mut abi::Waker) {
    // SAFETY: the other side hands back what this side cloned, once.
    let raw = unsafe { &*waker };
    // SAFETY: as above; owned by now.
    let local = unsafe { rebuild(raw) };
    guard::contain(move || drop(local));
}

// Local wakers around the other side's: `BORROWED` points to the lender's, `OWNED` to a box.

static BORROWED: RawWakerVTable = RawWakerVTable::new(
    wrapper_clone,
    wrapper_wake_by_ref,
    wrapper_wake_by_ref,
    |_| {},
);
static OWNED: RawWakerVTable =
    RawWakerVTable::new(wrapper_clone, owned_wake, wrapper_wake_by_ref, owned_drop);

fn is_wrapper(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), &raw const BORROWED) || ptr::eq(waker.vtable(), &raw const OWNED)
}

fn copy(waker: &abi::Waker) -> abi::Waker {
    abi::Waker {
        data: waker.data,
        extra: waker.extra,
        table: waker.table,
    }
}

unsafe fn wrapper_clone(data: *const ()) -> RawWaker {
    // SAFETY: a wrapper's data points to a live foreign waker.
    let owned = unsafe { Foreign::keep(data.cast()) };
    RawWaker::new(Box::into_raw(Box::new(owned)).cast_const().cast(), &OWNED)
}

unsafe fn wrapper_wake_by_ref(data: *const ()) {
    let waker: *const abi::Waker = data.cast();
    // SAFETY: a wrapper's data points to a live foreign waker.
    let table = unsafe { table_of(waker) };
    // SAFETY: the table came with the waker.
    unsafe { (table.wake_by_ref)(waker) }
}

unsafe fn owned_wake(data: *const ()) {
    // SAFETY: `data` is an owned wrapper's, used for the last time.
    let owned = unsafe { Box::from_raw(data.cast_mut().cast::<Foreign>()) };
    owned.wake();
}

unsafe fn owned_drop(data: *const ()) {
    // SAFETY: `data` is an owned wrapper's, used for the last time.
    drop(unsafe { Box::from_raw(data.cast_mut().cast::<Foreign>()) });
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The functions of a side that is not this one: the same, at another address.
    static OTHER_TABLE: abi::WakerTable = abi::WakerTable {
        size: size_of::<abi::WakerTable>(),
        clone: other_clone,
        wake_by_ref: own_wake,
        drop: own_drop,
    };

    unsafe extern "C" fn other_clone(waker: *const abi::Waker) -> abi::Waker {
        // SAFETY: handed on.
        let mut clone = unsafe { own_clone(waker) };
        clone.table = &raw const OTHER_TABLE;
        clone
    }

    fn lend_as_other(waker: &Waker) -> abi::Waker {
        abi::Waker {
            table: &raw const OTHER_TABLE,
            ..copy(&lend(waker).raw)
        }
    }

    #[test]
    fn a_foreign_waker_is_cloned_woken_and_dropped() {
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let foreign = lend_as_other(&waker);
        // SAFETY: `foreign` lives through the call.
        let kept = unsafe { with_context(&raw const foreign, |cx| cx.waker().clone()) };
        assert_eq!(Arc::strong_count(&counter), 3);
        kept.wake_by_ref();
        kept.wake();
        assert_eq!(counter.0.load(Ordering::SeqCst), 2);
        drop(waker);
        assert_eq!(Arc::strong_count(&counter), 1);
    }

    #[test]
    fn a_wrapper_is_taken_off_on_the_way_back() {
        let waker = Waker::from(Arc::new(Counter::default()));
        let foreign = lend_as_other(&waker);
        // SAFETY: `foreign` lives through the call.
        unsafe {
            with_context(&raw const foreign, |cx| {
                let back = lend(cx.waker());
                assert!(ptr::eq(back.raw.table, &raw const OTHER_TABLE));
                let owned = cx.waker().clone();
                assert!(ptr::eq(lend(&owned).raw.table, &raw const OTHER_TABLE));
            });
        }
    }

    #[test]
    fn a_waker_that_comes_home_is_used_as_it_is() {
        let waker = Waker::from(Arc::new(Counter::default()));
        let lent = lend(&waker);
        // SAFETY: `lent` lives through the call.
        unsafe { with_context(lent.as_ptr(), |cx| assert!(cx.waker().will_wake(&waker))) };
    }
}
