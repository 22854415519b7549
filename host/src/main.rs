//! The `replug` program.

use std::process::ExitCode;

#[cfg(not(feature = "checked-heaps"))]
use mimalloc::MiMalloc;

// About 5% of the time of a tiny request went to the C library, mostly malloc, free and memmove.
#[cfg(not(feature = "checked-heaps"))]
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    replug::cli::run().into()
}
