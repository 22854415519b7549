//! Passing a descriptor to another process, over a Unix socket with bytes that go along.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sends bytes and a descriptor (`SCM_RIGHTS`). Returns how many bytes; the descriptor goes with the
/// first.
///
/// # Errors
/// As the system says, `WouldBlock` among others.
pub(crate) fn send_with(
    socket: impl AsFd,
    bytes: &[IoSlice<'_>],
    descriptor: impl AsFd,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    Ok(sendmsg(socket, bytes, &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives bytes, and the descriptor that goes with them, if any does. Returns how many bytes.
///
/// # Errors
/// As the system says, `WouldBlock` among others.
pub(crate) fn receive_with(
    socket: impl AsFd,
    bytes: &mut [IoSliceMut<'_>],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received.bytes, descriptor))
}
