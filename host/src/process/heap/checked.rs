//! Blocks of the C library's, each on its own: for valgrind and sanitizers, which see then if any is
//! used after its heap was destroyed. Slow: the feature `checked-heaps` is for `scripts/memcheck`.

use std::{
    alloc::{GlobalAlloc as _, Layout, System},
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The blocks that there are, by address.
#[derive(Default)]
pub(super) struct Blocks(Mutex<HashMap<usize, Layout>>);

impl Blocks {
    #[expect(clippy::unnecessary_wraps, reason = "as for other kinds of blocks")]
    pub(super) fn new() -> Option<Self> {
        Some(Self::default())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<usize, Layout>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, block: *mut u8, layout: Layout) -> *mut u8 {
        if !block.is_null() {
            self.known().insert(block.expose_provenance(), layout);
        }
        block
    }

    pub(super) fn alloc(&self, size: usize, align: usize) -> *mut u8 {
        let Ok(layout) = Layout::from_size_align(size, align) else {
            return std::ptr::null_mut();
        };
        // SAFETY: a global allocator is not asked for nothing.
        self.keep(unsafe { System.alloc(layout) }, layout)
    }

    pub(super) fn alloc_zeroed(&self, size: usize, align: usize) -> *mut u8 {
        let Ok(layout) = Layout::from_size_align(size, align) else {
            return std::ptr::null_mut();
        };
        // SAFETY: a global allocator is not asked for nothing.
        self.keep(unsafe { System.alloc_zeroed(layout) }, layout)
    }

    /// # Safety
    /// `block` must be of this heap, with that size and alignment.
    pub(super) unsafe fn realloc(
        &self,
        block: *mut u8,
        old_size: usize,
        align: usize,
        size: usize,
    ) -> *mut u8 {
        let new = self.alloc(size, align);
        if !new.is_null() {
            // SAFETY: both are at least so long, and a new block is no other's.
            unsafe { new.copy_from_nonoverlapping(block, old_size.min(size)) };
            // SAFETY: handed on to the caller.
            unsafe { self.free(block) };
        }
        new
    }

    /// # Safety
    /// `block` must be of this heap, and is freed once.
    pub(super) unsafe fn free(&self, block: *mut u8) {
        let layout = self.known().remove(&block.addr());
        let layout = layout.expect("a block is freed where it was allocated, and once");
        // SAFETY: allocated with that layout.
        unsafe { System.dealloc(block, layout) }
    }

    pub(super) fn has(&self, address: usize) -> bool {
        self.known()
            .iter()
            .any(|(block, layout)| (*block..block + layout.size()).contains(&address))
    }

    /// Frees all blocks.
    ///
    /// # Safety
    /// None of them may be used any more.
    pub(super) unsafe fn destroy(self) {
        for (address, layout) in self.known().drain() {
            // SAFETY: allocated with that layout.
            unsafe { System.dealloc(std::ptr::with_exposed_provenance_mut(address), layout) }
        }
    }
}
