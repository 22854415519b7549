//! Exports the process hooks from the program to the dynamic linker, so that plugins find them
//! before the C library's functions of the same names (see `src/process.rs`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    let glibc = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    if linux && glibc {
        for symbol in [
            "__cxa_thread_atexit_impl",
            "abort",
            "on_exit",
            "pthread_create",
            "pthread_key_create",
            "pthread_key_delete",
            "replug_heap_1",
            "sigaction",
            "signal",
            "thrd_create",
            "timer_create",
            "timer_delete",
            "tss_create",
            "tss_delete",
        ] {
            println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbol}");
        }
    }
}
