//! Borrowed and owned bytes across the boundary, without copying them.

#![expect(unsafe_code, reason = "ABI glue: raw pointers from the other side")]

use std::{ffi::c_void, ptr, slice};

use bytes::Bytes;

use crate::{abi, glue::guard};

impl abi::Slice {
    /// No bytes.
    pub const EMPTY: Self = Self {
        ptr: ptr::null(),
        len: 0,
    };

    /// Lends bytes for the length of a call.
    #[must_use]
    pub const fn lend(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// The bytes again.
    ///
    /// # Safety
    /// The maker's bytes must still be there, unchanged, for as long as `'a`.
    #[must_use]
    pub unsafe fn as_bytes<'a>(self) -> &'a [u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: not empty, so the maker's pointer is to `len` bytes, which the caller vouches for.
        unsafe { slice::from_raw_parts(self.ptr, self.len) }
    }

    /// The text again; what is not UTF-8 is replaced.
    ///
    /// # Safety
    /// As for [`Slice::as_bytes`](Self::as_bytes).
    #[must_use]
    pub unsafe fn to_text(self) -> String {
        // SAFETY: handed on to the caller.
        String::from_utf8_lossy(unsafe { self.as_bytes() }).into_owned()
    }
}

impl abi::Buf {
    /// No bytes, nothing to release.
    pub const EMPTY: Self = Self {
        ptr: ptr::null(),
        len: 0,
        owner: ptr::null_mut(),
        release: None,
    };
}

/// Hands bytes over; the other side gives them back by the release function.
#[must_use]
pub fn owned(bytes: Bytes) -> abi::Buf {
    unsafe extern "C" fn release(owner: *mut c_void) {
        // SAFETY: `owner` is the box made below, and is released once.
        let bytes = unsafe { Box::from_raw(owner.cast::<Bytes>()) };
        // Bytes made from an owner run that owner's destructor; nobody is left to tell of a panic.
        guard::contain(move || drop(bytes));
    }
    if bytes.is_empty() {
        return abi::Buf::EMPTY;
    }
    let (ptr, len) = (bytes.as_ptr(), bytes.len());
    abi::Buf {
        ptr,
        len,
        owner: Box::into_raw(Box::new(bytes)).cast(),
        release: Some(release),
    }
}

/// Takes over the other side's bytes, and keeps `keep` (a lease) until they have been released.
///
/// # Safety
/// `buf` must be owned by the caller and not be used again.
#[must_use]
pub unsafe fn adopt<K: Send + 'static>(buf: abi::Buf, keep: K) -> Bytes {
    let adopted = Adopted { buf, keep };
    if adopted.buf.len == 0 {
        Bytes::new()
    } else {
        Bytes::from_owner(adopted)
    }
}

/// Bytes up to so many are cheaper to copy than to give back.
pub const SHORT: usize = 1024;

/// As [`adopt`], but what is short is copied: that costs less than an allocation and two counters
/// to give it back by, and the other side has its bytes back at once.
///
/// # Safety
/// As for [`adopt`].
#[must_use]
pub unsafe fn adopt_or_copy<K: Clone + Send + 'static>(buf: abi::Buf, keep: &K) -> Bytes {
    if buf.len > SHORT {
        // SAFETY: handed on to the caller.
        return unsafe { adopt(buf, keep.clone()) };
    }
    let adopted = Adopted { buf, keep: () };
    Bytes::copy_from_slice(adopted.as_ref())
}

/// Takes over the other side's text.
///
/// # Safety
/// As for [`adopt`].
#[must_use]
pub unsafe fn adopt_text(buf: abi::Buf) -> String {
    // SAFETY: handed on to the caller.
    let bytes = unsafe { adopt(buf, ()) };
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Adopted<K> {
    buf: abi::Buf,
    #[expect(
        dead_code,
        reason = "held for its destructor, which runs after the release below"
    )]
    keep: K,
}

// SAFETY: the ABI lets a buffer be read and released from any thread.
unsafe impl<K: Send> Send for Adopted<K> {}

impl<K> AsRef<[u8]> for Adopted<K> {
    fn as_ref(&self) -> &[u8] {
        let bytes = abi::Slice {
            ptr: self.buf.ptr,
            len: self.buf.len,
        };
        // SAFETY: the bytes stay until `release`, which only our destructor calls.
        unsafe { bytes.as_bytes() }
    }
}

impl<K> Drop for Adopted<K> {
    fn drop(&mut self) {
        if let Some(release) = self.buf.release {
            // SAFETY: called once, with the owner it came with.
            unsafe { release(self.buf.owner) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn bytes_cross_without_a_copy_and_go_back_to_their_maker() {
        struct Owner {
            _alive: Arc<()>,
        }
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                b"zero copy"
            }
        }
        let (alive, lease) = (Arc::new(()), Arc::new(()));
        let bytes = Bytes::from_owner(Owner {
            _alive: Arc::clone(&alive),
        });
        let at = bytes.as_ptr();
        // SAFETY: the buffer was made for us, and is used once.
        let adopted = unsafe { adopt(owned(bytes), Arc::clone(&lease)) };
        assert_eq!((adopted.as_ptr(), &adopted[..]), (at, &b"zero copy"[..]));
        let part = adopted.slice(5..);
        drop(adopted);
        assert_eq!(
            (Arc::strong_count(&alive), Arc::strong_count(&lease)),
            (2, 2)
        );
        drop(part);
        assert_eq!(
            (Arc::strong_count(&alive), Arc::strong_count(&lease)),
            (1, 1)
        );
    }

    #[test]
    fn empty_bytes_own_nothing() {
        assert!(owned(Bytes::new()).release.is_none());
    }
}
