//! Blocks of a heap of mimalloc's, whose heaps of version 3 can be used from any thread.

use std::{ffi::c_void, ptr::NonNull};

use libmimalloc_sys as mi;

unsafe extern "C" {
    /// mimalloc 3's; the crate does not name it.
    fn mi_heap_contains(heap: *const mi::mi_heap_t, block: *const c_void) -> bool;
}

pub(super) struct Blocks(NonNull<mi::mi_heap_t>);

impl Blocks {
    pub(super) fn new() -> Option<Self> {
        // SAFETY: takes nothing.
        NonNull::new(unsafe { mi::mi_heap_new() }).map(Self)
    }

    pub(super) fn alloc(&self, size: usize, align: usize) -> *mut u8 {
        let block = if is_natural(size, align) {
            // SAFETY: a heap that is alive.
            unsafe { mi::mi_heap_malloc(self.0.as_ptr(), size) }
        } else {
            // SAFETY: as above; the alignment is a power of two.
            unsafe { mi::mi_heap_malloc_aligned(self.0.as_ptr(), size, align) }
        };
        block.cast()
    }

    pub(super) fn alloc_zeroed(&self, size: usize, align: usize) -> *mut u8 {
        let block = if is_natural(size, align) {
            // SAFETY: a heap that is alive.
            unsafe { mi::mi_heap_zalloc(self.0.as_ptr(), size) }
        } else {
            // SAFETY: as above; the alignment is a power of two.
            unsafe { mi::mi_heap_zalloc_aligned(self.0.as_ptr(), size, align) }
        };
        block.cast()
    }

    /// # Safety
    /// `block` must be of this heap, with that alignment.
    pub(super) unsafe fn realloc(
        &self,
        block: *mut u8,
        _: usize,
        align: usize,
        size: usize,
    ) -> *mut u8 {
        let new = if is_natural(size, align) {
            // SAFETY: a heap that is alive; the block is vouched for by the caller.
            unsafe { mi::mi_heap_realloc(self.0.as_ptr(), block.cast(), size) }
        } else {
            // SAFETY: as above; the alignment is a power of two.
            unsafe { mi::mi_heap_realloc_aligned(self.0.as_ptr(), block.cast(), size, align) }
        };
        new.cast()
    }

    /// # Safety
    /// `block` must be of this heap, and is freed once.
    #[expect(
        clippy::unused_self,
        reason = "mimalloc finds a block's heap by itself"
    )]
    pub(super) unsafe fn free(&self, block: *mut u8) {
        // SAFETY: vouched for by the caller.
        unsafe { mi::mi_free(block.cast()) }
    }

    pub(super) fn has(&self, address: usize) -> bool {
        // SAFETY: only asks; any address may be asked about.
        unsafe { mi_heap_contains(self.0.as_ptr(), address as *const c_void) }
    }

    /// Frees all blocks.
    ///
    /// # Safety
    /// None of them may be used any more.
    pub(super) unsafe fn destroy(self) {
        // SAFETY: vouched for by the caller.
        unsafe { mi::mi_heap_destroy(self.0.as_ptr()) };
        // Its pages would go back to the system at some later time, and resident memory look as if
        // it were still in use.
        // SAFETY: takes nothing of ours.
        unsafe { mi::mi_collect(true) };
    }
}

/// What mimalloc aligns to without being told: `MI_MAX_ALIGN_SIZE`, and blocks of up to 8 bytes to
/// 8.
fn is_natural(size: usize, align: usize) -> bool {
    align <= 8 || (align == 16 && size > 8)
}
