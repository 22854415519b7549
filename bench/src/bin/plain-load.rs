//! The least that a reload can cost: `plain-load FILE ROUNDS` copies the file and opens the copy,
//! and prints the microseconds of each round.
//!
//! A process of its own, so that libraries it opens are nobody else's; it declares `dlopen`
//! itself, since only the host may use libloading.

#![expect(unsafe_code, reason = "opens a library, and does nothing else with it")]

use std::{
    ffi::{CString, c_char, c_int, c_void},
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::Instant,
};

const RTLD_NOW: c_int = 2;

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlclose(library: *mut c_void) -> c_int;
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, file, rounds] = &args[..] else {
        return Err(io::Error::other("usage: plain-load FILE ROUNDS"));
    };
    let folder = tempfile::tempdir()?;
    for round in 0..rounds.parse().map_err(io::Error::other)? {
        let copy = folder.path().join(format!("{round}.so"));
        let began = Instant::now();
        fs::copy(file, &copy)?;
        let library = open(&copy)?;
        println!("{}", began.elapsed().as_micros());
        // SAFETY: just opened, and nothing of it is used.
        unsafe { dlclose(library) };
        fs::remove_file(copy)?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<*mut c_void> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a plugin of ours, whose constructors do nothing.
    let library = unsafe { dlopen(name.as_ptr(), RTLD_NOW) };
    if library.is_null() {
        Err(io::Error::other("dlopen failed"))
    } else {
        Ok(library)
    }
}
