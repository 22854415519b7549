//! Environment variables whose text stands in a library, by `putenv`.

use std::ffi::{CStr, CString, c_char};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Sets those variables again, so that the C library has texts of its own. Whoever reads the
/// environment meanwhile is no worse off than with any `setenv`.
pub(super) fn copy_texts(is_its: impl Fn(usize) -> bool) {
    let mut texts = Vec::new();
    // SAFETY: the C library's, null or a list that ends with null.
    let mut at = unsafe { environ };
    while !at.is_null() {
        // SAFETY: in the list, see above.
        let text = unsafe { *at };
        if text.is_null() {
            break;
        }
        if is_its(text.addr()) {
            // SAFETY: the library is mapped, and the text ends with a NUL, as `putenv` has it.
            texts.push(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec());
        }
        at = at.wrapping_add(1);
    }
    for text in texts {
        let Some(equals) = text.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (Ok(name), Ok(value)) = (
            CString::new(&text[..equals]),
            CString::new(&text[equals + 1..]),
        ) else {
            continue;
        };
        // SAFETY: both end with a NUL, and are copied.
        unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) };
    }
}
