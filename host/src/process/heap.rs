//! A heap for each generation, destroyed whole when its library is gone.
//!
//! What a library's statics hold is never freed by the library (libloading#157): 26 KB a reload of
//! a small app, measured in the design's spike. So a plugin's global allocator takes its memory
//! from a heap of mimalloc's that belongs to its generation, and what is left in it when nothing
//! can use it any more is freed at once. mimalloc's heaps of version 3 can be used from any thread
//! (<https://github.com/microsoft/mimalloc>, `mi_heap_new`).

use std::{ffi::c_void, fmt, ptr::NonNull, sync::Arc};

use replug_plugin::abi;

#[cfg(feature = "checked-heaps")]
#[path = "heap/checked.rs"]
mod blocks;
#[cfg(not(feature = "checked-heaps"))]
#[path = "heap/mimalloc.rs"]
mod blocks;
mod usage;

use blocks::Blocks;
pub use usage::{Usage, count_alone};

/// A heap. Destroyed when dropped: then no code that could use its memory may be left.
pub(crate) struct Heap(NonNull<Inner>);

/// At an address that does not change, for the plugin's allocator.
struct Inner {
    table: abi::Heap,
    blocks: Blocks,
    usage: Arc<Usage>,
}

// SAFETY: the blocks and the count are for any thread, and the table does not change.
unsafe impl Send for Heap {}
// SAFETY: as above.
unsafe impl Sync for Heap {}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Heap").field(&self.usage().bytes()).finish()
    }
}

impl Heap {
    /// `None`: there is no memory for one.
    pub(crate) fn new(usage: Arc<Usage>) -> Option<Self> {
        let blocks = Blocks::new()?;
        let inner = Box::into_raw(Box::new(Inner {
            table: abi::Heap {
                size: size_of::<abi::Heap>(),
                heap: std::ptr::null_mut(),
                alloc,
                alloc_zeroed,
                realloc,
                free,
            },
            blocks,
            usage,
        }));
        // SAFETY: made above, and not shared yet.
        unsafe { (*inner).table.heap = inner.cast() };
        NonNull::new(inner).map(Self)
    }

    pub(crate) fn usage(&self) -> &Arc<Usage> {
        // SAFETY: ours until we are dropped.
        unsafe { &self.0.as_ref().usage }
    }

    /// Whether a block of its is at that address.
    pub(super) fn has(&self, address: usize) -> bool {
        // SAFETY: ours until we are dropped.
        unsafe { self.0.as_ref() }.blocks.has(address)
    }

    /// What the plugin's allocator is given.
    pub(super) fn table(&self) -> *const abi::Heap {
        // SAFETY: ours until we are dropped.
        unsafe { &raw const (*self.0.as_ptr()).table }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and given up here.
        let inner = unsafe { Box::from_raw(self.0.as_ptr()) };
        // SAFETY: the owner's promise: nothing uses its memory any more, on any thread.
        unsafe { inner.blocks.destroy() };
    }
}

/// # Safety
/// `heap` must be what the plugin's table says.
unsafe fn inner<'a>(heap: *mut c_void) -> &'a Inner {
    // SAFETY: the ABI: alive as long as the plugin's code is there to call.
    unsafe { &*heap.cast::<Inner>() }
}

fn signed(size: usize) -> i64 {
    // No object is larger than half of the address space.
    size.cast_signed() as i64
}

unsafe extern "C" fn alloc(heap: *mut c_void, size: usize, align: usize) -> *mut u8 {
    // SAFETY: as the plugin's table says.
    let inner = unsafe { inner(heap) };
    let block = inner.blocks.alloc(size, align);
    if !block.is_null() {
        inner.usage.change(signed(size));
    }
    block
}

unsafe extern "C" fn alloc_zeroed(heap: *mut c_void, size: usize, align: usize) -> *mut u8 {
    // SAFETY: as the plugin's table says.
    let inner = unsafe { inner(heap) };
    let block = inner.blocks.alloc_zeroed(size, align);
    if !block.is_null() {
        inner.usage.change(signed(size));
    }
    block
}

unsafe extern "C" fn realloc(
    heap: *mut c_void,
    block: *mut u8,
    old_size: usize,
    align: usize,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: as the plugin's table says.
    let inner = unsafe { inner(heap) };
    // SAFETY: the ABI: a block of this heap, of that size and alignment.
    let new = unsafe { inner.blocks.realloc(block, old_size, align, new_size) };
    if !new.is_null() {
        inner.usage.change(signed(new_size) - signed(old_size));
    }
    new
}

unsafe extern "C" fn free(heap: *mut c_void, block: *mut u8, size: usize, _: usize) {
    // SAFETY: as the plugin's table says.
    let inner = unsafe { inner(heap) };
    inner.usage.change(-signed(size));
    // SAFETY: the ABI: a block of this heap, given back once.
    unsafe { inner.blocks.free(block) }
}

#[cfg(test)]
mod tests;
