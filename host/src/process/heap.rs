//! A heap for each generation, destroyed whole when its library is gone.
//!
//! What a library's statics hold is never freed by the library (libloading#157): 26 KB a reload of
//! a small app, measured in the design's spike. So a plugin's global allocator takes its memory
//! from a heap of mimalloc's that belongs to its generation, and what is left in it when nothing
//! can use it any more is freed at once. mimalloc's heaps of version 3 can be used from any thread
//! (<https://github.com/microsoft/mimalloc>, `mi_heap_new`).

use std::{
    cell::Cell,
    ffi::c_void,
    fmt,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
};

use libmimalloc_sys as mi;
use replug_plugin::abi;

/// A heap. Destroyed when dropped: then no code that could use its memory may be left.
pub(crate) struct Heap(NonNull<Inner>);

/// At an address that does not change, for the plugin's allocator.
struct Inner {
    table: abi::Heap,
    heap: NonNull<mi::mi_heap_t>,
    usage: Arc<Usage>,
}

// SAFETY: mimalloc's heaps of version 3 are for any thread, and the rest is atomic.
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
        // SAFETY: takes nothing.
        let heap = NonNull::new(unsafe { mi::mi_heap_new() })?;
        let inner = Box::into_raw(Box::new(Inner {
            table: abi::Heap {
                size: size_of::<abi::Heap>(),
                heap: std::ptr::null_mut(),
                alloc,
                alloc_zeroed,
                realloc,
                free,
            },
            heap,
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
        unsafe { mi::mi_heap_destroy(inner.heap.as_ptr()) };
        // Its pages would go back to the system at some later time, and resident memory look as if
        // it were still in use.
        // SAFETY: takes nothing of ours.
        unsafe { mi::mi_collect(true) };
    }
}

/// Threads count in one of so many places, so that they do not wait for each other's.
const SHARDS: usize = 16;
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
    exceeded: AtomicBool,
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

    /// Calls `tell` each time the bytes in use come to be more than `bytes`, give or take 1 MiB.
    /// It is called in the middle of an allocation of the plugin's, and must neither block nor run
    /// the plugin's code.
    #[must_use]
    pub fn limited(bytes: u64, tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            shards: Default::default(),
            limit: Some(Limit {
                bytes,
                exceeded: AtomicBool::new(false),
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
            .is_some_and(|limit| limit.exceeded.load(Ordering::Relaxed))
    }

    #[inline]
    fn change(&self, bytes: i64) {
        let shard = &self.shards[shard_of_this_thread()].0;
        let before = shard.fetch_add(bytes, Ordering::Relaxed);
        if (before >> STEP_BITS) != (before.wrapping_add(bytes) >> STEP_BITS) {
            self.look();
        }
    }

    #[cold]
    fn look(&self) {
        let Some(limit) = &self.limit else { return };
        let now = self.bytes() > limit.bytes;
        if limit.exceeded.swap(now, Ordering::Relaxed) != now && now {
            (limit.tell)();
        }
    }
}

thread_local! {
    /// This thread's shard and one, or 0. Plain, so that it can be used at the thread's very end.
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

#[inline]
fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|shard| {
        if shard.get() == 0 {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS + 1);
        }
        shard.get() - 1
    })
}

/// # Safety
/// `heap` must be what the plugin's table says.
unsafe fn inner<'a>(heap: *mut c_void) -> &'a Inner {
    // SAFETY: the ABI: alive as long as the plugin's code is there to call.
    unsafe { &*heap.cast::<Inner>() }
}

/// What mimalloc aligns to without being told: `MI_MAX_ALIGN_SIZE`, and blocks of up to 8 bytes to
/// 8.
fn is_natural(size: usize, align: usize) -> bool {
    align <= 8 || (align == 16 && size > 8)
}

fn signed(size: usize) -> i64 {
    // No object is larger than half of the address space.
    size.cast_signed() as i64
}

unsafe extern "C" fn alloc(heap: *mut c_void, size: usize, align: usize) -> *mut u8 {
    // SAFETY: as the plugin's table says.
    let inner = unsafe { inner(heap) };
    let heap = inner.heap.as_ptr();
    let block = if is_natural(size, align) {
        // SAFETY: a heap that is alive.
        unsafe { mi::mi_heap_malloc(heap, size) }
    } else {
        // SAFETY: as above; the alignment is a power of two.
        unsafe { mi::mi_heap_malloc_aligned(heap, size, align) }
    };
    if !block.is_null() {
        inner.usage.change(signed(size));
    }
    block.cast()
}

unsafe extern "C" fn alloc_zeroed(heap: *mut c_void, size: usize, align: usize) -> *mut u8 {
    // SAFETY: as the plugin's table says.
    let inner = unsafe { inner(heap) };
    let heap = inner.heap.as_ptr();
    let block = if is_natural(size, align) {
        // SAFETY: a heap that is alive.
        unsafe { mi::mi_heap_zalloc(heap, size) }
    } else {
        // SAFETY: as above; the alignment is a power of two.
        unsafe { mi::mi_heap_zalloc_aligned(heap, size, align) }
    };
    if !block.is_null() {
        inner.usage.change(signed(size));
    }
    block.cast()
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
    let heap = inner.heap.as_ptr();
    let new = if is_natural(new_size, align) {
        // SAFETY: a heap that is alive, and a block of mimalloc's.
        unsafe { mi::mi_heap_realloc(heap, block.cast(), new_size) }
    } else {
        // SAFETY: as above; the alignment is a power of two.
        unsafe { mi::mi_heap_realloc_aligned(heap, block.cast(), new_size, align) }
    };
    if !new.is_null() {
        inner.usage.change(signed(new_size) - signed(old_size));
    }
    new.cast()
}

unsafe extern "C" fn free(heap: *mut c_void, block: *mut u8, size: usize, _: usize) {
    // SAFETY: as the plugin's table says.
    let inner = unsafe { inner(heap) };
    inner.usage.change(-signed(size));
    // SAFETY: a block of mimalloc's, given back once.
    unsafe { mi::mi_free(block.cast()) }
}

#[cfg(test)]
mod tests;
