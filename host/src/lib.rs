//! Replug hosts HTTP applications that are built as Rust dynamic libraries.
//!
//! `ARCHITECTURE.md` at the top of the repository is the map of this crate. Its modules are
//! listed lowest first: each uses only what stands above it here.

pub mod exit_code;
pub mod id;

pub mod config;
pub mod process;
pub mod telemetry;

pub mod artifact;

pub mod loader;
pub mod watcher;

pub mod workers;

pub mod generation;

pub mod registry;
pub mod state;

pub mod app;
pub mod router;

pub mod proxy;
pub mod trunk;

pub mod dispatch;
pub mod reload;

pub mod server;

pub mod admin;

pub mod channel;

pub mod supervisor;
pub mod worker;

pub mod cli;
