//! Measures the allocator that `export_app!` installs, beside the C library's: in one process, in
//! turn, so that the numbers are comparable.

#![expect(unsafe_code, reason = "calls allocators")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt::Write as _,
    hint::black_box,
    time::Instant,
};

use axum::{Router, routing::get};
use replug_plugin::{Setup, export_app};

export_app!(app);

fn app(_: &mut Setup) -> Router {
    Router::new().route(
        "/",
        get(async || {
            tokio::task::spawn_blocking(report)
                .await
                .unwrap_or_default()
        }),
    )
}

/// What this library's `Vec` and `Box` use.
struct Installed;

// SAFETY: handed on as it came.
unsafe impl GlobalAlloc for Installed {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { std::alloc::alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { std::alloc::dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { std::alloc::realloc(block, layout, size) }
    }
}

/// A way to use an allocator; returns how many operations that was.
type Work = fn(&dyn GlobalAlloc) -> u32;

const WORKS: [(&str, Work); 4] = [
    ("64 bytes, freed at once", one_by_one),
    (
        "1,000 blocks of 16 to 1,024 bytes, freed together",
        together,
    ),
    ("a vector that grows from 64 bytes to 64 KiB", growing),
    ("256 KiB, freed at once", large),
];
const ROUNDS: usize = 15;

/// Lines of `WORK⇥NANOSECONDS INSTALLED⇥NANOSECONDS MALLOC`, each the median of a call's time.
fn report() -> String {
    let mut out = String::new();
    for (name, work) in WORKS {
        let (mut installed, mut malloc) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            installed.push(time(work, &Installed));
            malloc.push(time(work, &System));
        }
        let _ = writeln!(
            out,
            "{name}\t{:.2}\t{:.2}",
            median(installed),
            median(malloc)
        );
    }
    out
}

fn time(work: Work, allocator: &dyn GlobalAlloc) -> f64 {
    let began = Instant::now();
    let operations = work(allocator);
    began.elapsed().as_secs_f64() * 1e9 / f64::from(operations)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap_or(Layout::new::<u64>())
}

fn allocate(allocator: &dyn GlobalAlloc, size: usize) -> *mut u8 {
    // SAFETY: no size here is 0.
    let block = black_box(unsafe { allocator.alloc(layout(size)) });
    // SAFETY: at least a byte; without memory this ends here, as it should.
    unsafe { block.write(1) };
    block
}

fn free(allocator: &dyn GlobalAlloc, block: *mut u8, size: usize) {
    // SAFETY: allocated by `allocate` with that size, and freed once.
    unsafe { allocator.dealloc(block, layout(size)) }
}

fn one_by_one(allocator: &dyn GlobalAlloc) -> u32 {
    const COUNT: u32 = 100_000;
    for _ in 0..COUNT {
        let block = allocate(allocator, 64);
        free(allocator, block, 64);
    }
    COUNT * 2
}

fn together(allocator: &dyn GlobalAlloc) -> u32 {
    const SIZES: [usize; 6] = [16, 32, 48, 100, 256, 1_024];
    const BLOCKS: usize = 1_000;
    const TIMES: u32 = 50;
    let mut blocks = Vec::with_capacity(BLOCKS);
    for _ in 0..TIMES {
        let sizes = SIZES.iter().cycle().take(BLOCKS);
        blocks.extend(sizes.map(|size| (allocate(allocator, *size), *size)));
        for (block, size) in blocks.drain(..) {
            free(allocator, block, size);
        }
    }
    TIMES * BLOCKS as u32 * 2
}

fn growing(allocator: &dyn GlobalAlloc) -> u32 {
    const TIMES: u32 = 2_000;
    const DOUBLINGS: u32 = 10;
    for _ in 0..TIMES {
        let mut size = 64;
        let mut block = allocate(allocator, size);
        for _ in 0..DOUBLINGS {
            // SAFETY: allocated with that size.
            block = black_box(unsafe { allocator.realloc(block, layout(size), size * 2) });
            size *= 2;
        }
        free(allocator, block, size);
    }
    TIMES * (DOUBLINGS + 2)
}

fn large(allocator: &dyn GlobalAlloc) -> u32 {
    const COUNT: u32 = 5_000;
    for _ in 0..COUNT {
        let block = allocate(allocator, 256 << 10);
        free(allocator, block, 256 << 10);
    }
    COUNT * 2
}
