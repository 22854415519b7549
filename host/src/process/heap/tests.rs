use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::*;

/// Allocates as a plugin does.
struct Plugin<'a>(&'a Heap);

impl Plugin<'_> {
    fn table(&self) -> &abi::Heap {
        // SAFETY: the heap's own.
        unsafe { &*self.0.table() }
    }

    fn alloc(&self, size: usize, align: usize) -> *mut u8 {
        let table = self.table();
        // SAFETY: a heap that is alive.
        let block = unsafe { (table.alloc)(table.heap, size, align) };
        assert!(!block.is_null() && block.addr().is_multiple_of(align));
        // SAFETY: just allocated, so many bytes long.
        unsafe { block.write_bytes(0xa5, size) };
        block
    }

    fn free(&self, block: *mut u8, size: usize, align: usize) {
        let table = self.table();
        // SAFETY: allocated above with that size and alignment.
        unsafe { (table.free)(table.heap, block, size, align) }
    }
}

fn heap() -> Heap {
    Heap::new(Arc::new(Usage::unlimited())).unwrap()
}

#[test]
fn all_sizes_and_alignments_are_kept_and_counted() {
    let heap = heap();
    let plugin = Plugin(&heap);
    let mut blocks = Vec::new();
    for size in [1, 7, 8, 9, 16, 24, 100, 1_000, 70_000, 5 << 20] {
        for align in [1, 8, 16, 64, 4096] {
            blocks.push((plugin.alloc(size, align), size, align));
        }
    }
    let total: usize = blocks.iter().map(|(_, size, _)| size).sum();
    assert_eq!(heap.usage().bytes(), total as u64);
    for (block, size, align) in blocks {
        plugin.free(block, size, align);
    }
    assert_eq!(heap.usage().bytes(), 0);
}

#[test]
fn a_block_grows_with_what_is_in_it() {
    let heap = heap();
    let plugin = Plugin(&heap);
    let table = plugin.table();
    for align in [8, 16, 256] {
        let block = plugin.alloc(100, align);
        // SAFETY: allocated above with that size and alignment.
        let grown = unsafe { (table.realloc)(table.heap, block, 100, align, 1 << 20) };
        assert!(grown.addr().is_multiple_of(align));
        // SAFETY: its first 100 bytes were written by `alloc`.
        let bytes = unsafe { std::slice::from_raw_parts(grown, 100) };
        assert_eq!(bytes, [0xa5; 100]);
        plugin.free(grown, 1 << 20, align);
    }
    // SAFETY: a heap that is alive.
    let zeroed = unsafe { (table.alloc_zeroed)(table.heap, 4_000, 8) };
    // SAFETY: so many bytes, initialized.
    let bytes = unsafe { std::slice::from_raw_parts(zeroed, 4_000) };
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn blocks_of_all_threads_are_counted_and_go_with_the_heap() {
    let heap = heap();
    thread::scope(|scope| {
        for number in 0..40 {
            let heap = &heap;
            scope.spawn(move || {
                // Some count alone, more want to than can.
                if number % 2 == 0 {
                    count_alone();
                }
                for _ in 0..100 {
                    Plugin(heap).alloc(1_000, 8);
                }
            });
        }
    });
    assert_eq!(heap.usage().bytes(), 4_000_000);
    let usage = Arc::clone(heap.usage());
    drop(heap);
    assert_eq!(Arc::strong_count(&usage), 1);
}

#[test]
fn the_limit_is_told_once_until_that_is_known() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let usage = Usage::limited(10 << 20, move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let heap = Heap::new(Arc::new(usage)).unwrap();
    let plugin = Plugin(&heap);
    let half = plugin.alloc(6 << 20, 8);
    assert!(!heap.usage().is_exceeded());
    for times in 1..=2 {
        for _ in 0..3 {
            let other = plugin.alloc(6 << 20, 8);
            assert!(heap.usage().is_exceeded());
            plugin.free(other, 6 << 20, 8);
            assert!(!heap.usage().is_exceeded());
        }
        assert_eq!(told.load(Ordering::SeqCst), times);
        heap.usage().tell_again();
    }
    plugin.free(half, 6 << 20, 8);
}

#[test]
fn a_heap_knows_its_blocks() {
    let (heap, other) = (heap(), heap());
    let block = Plugin(&heap).alloc(100, 8);
    assert!(heap.has(block.addr() + 50) && !other.has(block.addr()));
    assert!(!heap.has((&raw const heap).addr()));
}
