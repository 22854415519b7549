//! What a process image leaves to the next: descriptors, and a variable that tells of them.

#![expect(unsafe_code, reason = "takes descriptors by their number")]

use std::{
    env,
    ffi::OsString,
    io,
    os::fd::{AsFd, FromRawFd as _, OwnedFd, RawFd},
};

use rustix::io::{FdFlags, fcntl_setfd};

/// Takes a descriptor that the image before left open under that number. Once for each number, and
/// before anything else is opened.
///
/// # Errors
/// When there is none of that number.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // No child of this image is to have it. Fails where there is none.
    // SAFETY: a number is all that it takes.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and this image's only by this call: the one before left it for us, and
    // nothing else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Leaves a descriptor open for the next image.
///
/// # Errors
/// As the system says.
pub(super) fn leave(descriptor: impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfd(descriptor, FdFlags::empty())?)
}

/// Takes a variable out of the environment, so that no plugin and no child process sees it. To be
/// called before there is another thread, which might be reading the environment: else it stays.
#[must_use]
pub fn take_variable(name: &str) -> Option<OsString> {
    let value = env::var_os(name)?;
    if is_alone() {
        // SAFETY: there is no other thread.
        unsafe { env::remove_var(name) };
    }
    Some(value)
}

/// Whether this is the only thread; where the system does not tell, it is believed to be.
pub(super) fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd as _, IntoRawFd as _};

    use rustix::io::fcntl_getfd;

    use super::*;

    #[test]
    fn what_was_left_is_taken_and_what_was_not_is_refused() {
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        leave(&file).unwrap();
        assert_eq!(fcntl_getfd(&file).unwrap(), FdFlags::empty());
        let number = file.into_raw_fd();
        let taken = adopt(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert_eq!(fcntl_getfd(&taken).unwrap(), FdFlags::CLOEXEC);
        assert!(adopt(1_000_000).is_err());
        assert!(adopt(1).is_err());
    }
}
