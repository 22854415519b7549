//! The stack of the thread that is running, as plain addresses.
//!
//! The standard library's own backtraces read and keep the symbols of every library of the
//! process, once for each copy of the standard library: 35 MB for each reload. So a plugin only
//! says where it was, and the host, which has the file, finds the names.

#![expect(unsafe_code, reason = "asks the unwinder")]

/// More frames than this are of a recursion, and tell nothing more.
const MOST: usize = 128;

/// The addresses that calls on this thread will return to, the innermost first; empty where it
/// cannot be told.
#[must_use]
pub fn capture() -> Vec<usize> {
    let mut frames = Vec::with_capacity(MOST);
    walk(&mut frames);
    frames
}

/// By the unwinder that carries panics, which is therefore linked in (the Itanium C++ ABI's
/// `_Unwind_Backtrace`).
#[cfg(all(unix, panic = "unwind"))]
fn walk(frames: &mut Vec<usize>) {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        fn _Unwind_Backtrace(
            each: unsafe extern "C" fn(context: *mut c_void, to: *mut c_void) -> c_int,
            to: *mut c_void,
        ) -> c_int;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
    }
    const GO_ON: c_int = 0;
    const STOP: c_int = 5;

    unsafe extern "C" fn each(context: *mut c_void, to: *mut c_void) -> c_int {
        // SAFETY: the vector below, which nobody else touches during the walk.
        let frames = unsafe { &mut *to.cast::<Vec<usize>>() };
        if frames.len() == MOST {
            return STOP;
        }
        // SAFETY: the unwinder's own context, for this call.
        frames.push(unsafe { _Unwind_GetIP(context) });
        GO_ON
    }
    // SAFETY: the callback does not unwind: there is room for what it pushes.
    unsafe { _Unwind_Backtrace(each, (&raw mut *frames).cast()) };
}

#[cfg(not(all(unix, panic = "unwind")))]
fn walk(_: &mut Vec<usize>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn deep(levels: usize) -> Vec<usize> {
        let frames = if levels == 0 {
            capture()
        } else {
            deep(levels - 1)
        };
        std::hint::black_box(frames)
    }

    #[test]
    fn each_call_has_a_frame_up_to_a_bound() {
        let (shallow, deeper) = (deep(0).len(), deep(7).len());
        assert!(shallow > 0);
        assert_eq!(deeper, shallow + 7);
        assert_eq!(deep(1_000).len(), MOST);
    }
}
