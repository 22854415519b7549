//! Plugins in this process, called as a host calls them: through their raw tables alone.
//!
//! The panic hook and the loggers that a plugin installs are the process's here, since all
//! plugins of these tests are one library; the first to start installs them for all.

#![expect(unsafe_code, reason = "calls through the ABI")]
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod asked;
mod asking;
mod bell;
mod bodies;
mod calls;
mod host;
mod logs;
mod message;
mod setup;
mod stop;
mod tunnel;
