//! What a plugin may ask of the host while it is set up and while it runs.

use std::{fmt, path::Path, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

/// What one generation may ask of the host; another's calls go to another of these.
///
/// All of it may be called from any thread. What is refused comes with a text that names the thing
/// and the remedy, for the plugin's author.
pub trait Services: fmt::Debug + Send + Sync + 'static {
    /// Makes the app reload when that file or directory changes. An absolute path. During setup
    /// only.
    ///
    /// # Errors
    /// When it is called after setup.
    fn track(&self, path: &Path) -> Result<(), String>;

    /// Registers `(kind, key) → value` for when this generation serves. During setup only.
    ///
    /// # Errors
    /// When another app owns that key with another value, or setup is over.
    fn register(&self, kind: &str, key: &str, value: &Value) -> Result<(), String>;

    /// What is registered under a kind, in the order of first registration: of all apps.
    fn registrations(&self, kind: &str) -> Vec<Registered>;

    /// The registry's version, which is another one after each change that can be seen.
    fn registry_changes(&self) -> watch::Receiver<u64>;

    /// Announces a call that is to be made of this generation each time `every` has passed, by
    /// that name. During setup only.
    ///
    /// # Errors
    /// When `every` is too short, the name is taken, or setup is over.
    fn schedule(&self, name: &str, every: Duration) -> Result<(), String>;

    /// The state that the generation before handed over. Blocks while that finishes its requests
    /// and saves; from then on requests wait until setup ends. During setup only.
    ///
    /// # Errors
    /// When the generation before could not save: then this one does not serve, whatever its setup
    /// comes to.
    fn previous_state(&self) -> Result<Option<Snapshot>, String>;

    /// Has the app reloaded, though its file be the same. Returns at once.
    fn request_reload(&self);

    /// Has the whole host replace itself, and keep its listeners. Returns at once.
    fn request_restart(&self);
}

/// An entry of the registry.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Registered {
    /// What sort of thing it is.
    pub kind: String,
    /// Its key, unique in its kind.
    pub key: String,
    /// What it stands for.
    pub value: Value,
    /// The apps that have registered it, the first one first.
    pub owners: Vec<String>,
}

/// An app's state, as one generation hands it to the next.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Snapshot {
    /// The version of its form, which is the app's own affair.
    pub schema: u32,
    /// The state.
    pub bytes: Bytes,
}
