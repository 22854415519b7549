//! Why something cannot be registered.

use super::SCHEDULE;
use crate::{config::MountError, id::AppName};

/// So many bytes a kind or a key may have.
pub(super) const NAME_BYTES: usize = 256;
/// So many bytes a value may have, as JSON.
pub(super) const VALUE_BYTES: usize = 64 << 10;
/// So many entries a generation may stage.
pub(super) const ENTRIES: usize = 10_000;

/// Why something cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Another app has that key, with another value.
    #[error(
        "{kind} `{key}` is registered by app `{owner}` with another value; choose another key, or \
         let both register the same"
    )]
    Conflict {
        /// The kind.
        kind: String,
        /// The key.
        key: String,
        /// Who has it.
        owner: AppName,
    },
    /// The same generation has registered it before, with another value.
    #[error("{kind} `{key}` is registered twice, with two values; register it once")]
    Twice {
        /// The kind.
        kind: String,
        /// The key.
        key: String,
    },
    /// A kind, a key or a schedule's name cannot be one.
    #[error(
        "`{name}` cannot be {what}: give it 1 to {NAME_BYTES} bytes, without control characters"
    )]
    Name {
        /// What it was to be.
        what: &'static str,
        /// The name, or its beginning, with control characters spelled out.
        name: String,
    },
    /// A value is too long.
    #[error("the value of {kind} `{key}` has {bytes} bytes as JSON, and may have {VALUE_BYTES}")]
    Value {
        /// The kind.
        kind: String,
        /// The key.
        key: String,
        /// How many.
        bytes: usize,
    },
    /// There are too many.
    #[error("an app may register {ENTRIES} entries at the most")]
    TooMany,
    /// A route is no mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Only the host registers schedules.
    #[error("the kind `{SCHEDULE}` is the host's own; use `Setup::schedule`")]
    Schedule,
}
