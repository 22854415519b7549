//! The `replug` program.

use std::process::ExitCode;

use mimalloc::MiMalloc;

// A request allocates some twenty times in the host; hyper's buffers and header maps are most of it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    replug::cli::run().into()
}
