//! The global allocator that `export_app!` installs: memory of the generation's own heap.
//!
//! What a library's statics hold is never freed by the library, and would be lost at each reload.
//! The host therefore keeps a heap for each generation, and destroys it whole once the library is
//! unmapped. It also tells how much memory an app uses. Where no host is (unit tests, say), the
//! system's allocator serves.

#![expect(unsafe_code, reason = "an allocator, and a function of the host's")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::abi::Heap;

/// The allocator; one for each library, since a library is one generation.
#[derive(Debug)]
#[doc(hidden)]
pub struct GenerationHeap;

/// Where this library's memory comes from; null: nobody has asked yet. Once it is said it stays:
/// a block goes back to where it came from.
static HEAP: AtomicPtr<Heap> = AtomicPtr::new(ptr::null_mut());

#[inline]
fn heap() -> &'static Heap {
    let known = HEAP.load(Ordering::Acquire);
    let heap = if known.is_null() { find() } else { known };
    // SAFETY: `SYSTEM`, or the host's, which lives until this library is unmapped.
    unsafe { &*heap }
}

#[cold]
fn find() -> *const Heap {
    let found = of_host().unwrap_or(&raw const SYSTEM.0);
    // Two threads may ask at once; both go by the answer that is in place first.
    match HEAP.compare_exchange(
        ptr::null_mut(),
        found.cast_mut(),
        Ordering::AcqRel,
        Ordering::Acquire,
    ) {
        Ok(_) => found,
        Err(first) => first,
    }
}

/// Looked up by name: the first allocation may come from a constructor, when the host has not
/// handed over anything yet.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn of_host() -> Option<*const Heap> {
    use std::ffi::c_char;

    use crate::abi::{FindHeap, HEAP_SYMBOL};

    // Of glibc: all that the program exports and its own libraries do.
    const EVERYWHERE: *mut c_void = ptr::null_mut();

    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    // SAFETY: the name ends with a NUL.
    let found = unsafe { dlsym(EVERYWHERE, HEAP_SYMBOL.as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: the symbol's type is fixed by its name, which has the ABI's major version in it.
    let find = unsafe { std::mem::transmute::<*mut c_void, FindHeap>(found) };
    // SAFETY: an address of this library's.
    let heap = unsafe { find((&raw const HEAP).cast()) };
    (!heap.is_null()).then_some(heap)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn of_host() -> Option<*const Heap> {
    None
}

// SAFETY: the host's heap and the system's keep what a global allocator promises, and a block is
// freed where it came from, since `HEAP` does not change once it is set.
unsafe impl GlobalAlloc for GenerationHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let heap = heap();
        // SAFETY: the ABI.
        unsafe { (heap.alloc)(heap.heap, layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let heap = heap();
        // SAFETY: the ABI.
        unsafe { (heap.alloc_zeroed)(heap.heap, layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let heap = heap();
        // SAFETY: the ABI; the caller vouches for the block.
        unsafe { (heap.free)(heap.heap, block, layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let heap = heap();
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: the ABI; the caller vouches for the block and for the new size.
        unsafe { (heap.realloc)(heap.heap, block, size, align, new_size) }
    }
}

/// The system's allocator, in the shape of a host's heap.
static SYSTEM: Shared = Shared(Heap {
    size: size_of::<Heap>(),
    heap: ptr::null_mut(),
    alloc: system_alloc,
    alloc_zeroed: system_alloc_zeroed,
    realloc: system_realloc,
    free: system_free,
});

struct Shared(Heap);

// SAFETY: it has no state, and its functions are for any thread.
unsafe impl Sync for Shared {}

/// # Safety
/// The parts must be those of a [`Layout`].
unsafe fn layout(size: usize, align: usize) -> Layout {
    // SAFETY: vouched for by the caller.
    unsafe { Layout::from_size_align_unchecked(size, align) }
}

unsafe extern "C" fn system_alloc(_: *mut c_void, size: usize, align: usize) -> *mut u8 {
    // SAFETY: from the allocator above.
    let layout = unsafe { layout(size, align) };
    // SAFETY: handed on as it came.
    unsafe { System.alloc(layout) }
}

unsafe extern "C" fn system_alloc_zeroed(_: *mut c_void, size: usize, align: usize) -> *mut u8 {
    // SAFETY: from the allocator above.
    let layout = unsafe { layout(size, align) };
    // SAFETY: handed on as it came.
    unsafe { System.alloc_zeroed(layout) }
}

unsafe extern "C" fn system_realloc(
    _: *mut c_void,
    block: *mut u8,
    old_size: usize,
    align: usize,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: from the allocator above.
    let layout = unsafe { layout(old_size, align) };
    // SAFETY: handed on as it came.
    unsafe { System.realloc(block, layout, new_size) }
}

unsafe extern "C" fn system_free(_: *mut c_void, block: *mut u8, size: usize, align: usize) {
    // SAFETY: from the allocator above.
    let layout = unsafe { layout(size, align) };
    // SAFETY: handed on as it came.
    unsafe { System.dealloc(block, layout) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_host_memory_is_the_systems() {
        let layout = Layout::from_size_align(100, 64).expect("a layout");
        // SAFETY: of that layout, and written to within it.
        let block = unsafe { GenerationHeap.alloc_zeroed(layout) };
        assert!(!block.is_null() && block.addr().is_multiple_of(64));
        // SAFETY: allocated above, and zeroed.
        let bytes = unsafe { std::slice::from_raw_parts(block, 100) };
        assert_eq!(bytes, [0; 100]);
        // SAFETY: allocated above with that layout.
        let block = unsafe { GenerationHeap.realloc(block, layout, 10_000) };
        assert!(!block.is_null() && block.addr().is_multiple_of(64));
        let layout = Layout::from_size_align(10_000, 64).expect("a layout");
        // SAFETY: grown above to that layout.
        unsafe { GenerationHeap.dealloc(block, layout) };
        assert!(ptr::eq(heap(), &raw const SYSTEM.0));
    }
}
