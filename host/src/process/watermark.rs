//! A number that one process writes and another reads, also when the first has died.

#![expect(unsafe_code, reason = "maps memory that two processes share")]

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create},
    io::Errno,
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

/// The number is alone in its memory.
const LENGTH: usize = size_of::<AtomicU64>();

/// A number in memory that processes share. It begins with 0.
///
/// What the other process writes may be anything: it is only a number.
#[derive(Debug)]
pub struct Watermark(NonNull<AtomicU64>);

// SAFETY: what it points to is an atomic, which any thread may use.
unsafe impl Send for Watermark {}
// SAFETY: the same.
unsafe impl Sync for Watermark {}

impl Watermark {
    /// A new one, and what another process gets to share it.
    ///
    /// # Errors
    /// When the process has no descriptors or memory left.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let memory = memory()?;
        ftruncate(&memory, LENGTH as u64)?;
        // Else the other process could take the memory away, and reading it would be a fault.
        fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok((Self::map(&memory)?, memory))
    }

    /// The one that another process made.
    ///
    /// # Errors
    /// When it is not what [`Watermark::new`] makes, or cannot be mapped.
    pub fn shared(memory: impl AsFd) -> io::Result<Self> {
        let seals = fcntl_get_seals(&memory)?;
        let length = rustix::fs::fstat(&memory)?.st_size;
        if !seals.contains(SealFlags::SHRINK) || length != LENGTH as i64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Self::map(memory)
    }

    fn map(memory: impl AsFd) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place that the system chooses touches nothing else. The
        // memory is as long as that, and is sealed so.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                LENGTH,
                protection,
                MapFlags::SHARED,
                memory,
                0,
            )
        }?;
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self(address))
    }

    /// Says how far this process has come. All that it did before is done for who reads it.
    pub fn set(&self, to: u64) {
        self.number().store(to, Ordering::Release);
    }

    /// How far the other process has come.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.number().load(Ordering::Acquire)
    }

    fn number(&self) -> &AtomicU64 {
        // SAFETY: mapped, as long as a number and aligned to a page, until this is dropped; and
        // whoever else has it uses it as an atomic, too.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Watermark {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with that length, and nobody borrows from this any more. It
        // cannot fail for what is mapped.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), LENGTH) };
    }
}

fn memory() -> rustix::io::Result<OwnedFd> {
    const NAME: &str = "replug-watermark";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Some systems make no memory that might be executed (`vm.memfd_noexec`), and those before Linux
    // 6.3 do not know that any is not.
    match memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(NAME, flags),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_seen_by_who_shares_it_and_stays_when_its_writer_goes() {
        let (ours, memory) = Watermark::new().unwrap();
        let theirs = Watermark::shared(&memory).unwrap();
        drop(memory);
        assert_eq!(ours.get(), 0);
        theirs.set(7);
        assert_eq!(ours.get(), 7);
        theirs.set(u64::MAX);
        drop(theirs);
        assert_eq!(ours.get(), u64::MAX);
    }

    #[test]
    fn memory_that_could_be_taken_away_is_refused() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = memfd_create("other", flags).unwrap();
        ftruncate(&memory, LENGTH as u64).unwrap();
        assert!(Watermark::shared(&memory).is_err());
        let (_, memory) = Watermark::new().unwrap();
        assert!(ftruncate(&memory, 0).is_err());
        let file = tempfile::tempfile().unwrap();
        assert!(Watermark::shared(&file).is_err());
    }
}
