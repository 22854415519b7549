//! Turns the raw [`abi`](crate::abi) into Rust types and back; both sides use it.
//!
//! Not part of the public interface: it changes with the host.

pub mod body;
pub mod bytes;
pub mod frames;
pub mod guard;
pub(crate) mod headers;
pub mod waker;
