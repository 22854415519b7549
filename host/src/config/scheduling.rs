//! How the system's scheduler treats the workers of a process group.

use serde_json::Value;

use super::OptionError;

/// How the system's scheduler treats workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// As batch work, if their requests come by way of the host, which is scheduled as usual, and the
    /// system allows it; else as the host.
    #[default]
    Auto,
    /// As batch work (`SCHED_BATCH`): a worker that gets something to do waits until whoever is at it
    /// has done with the processor, or others are due, and does not interrupt.
    Batch,
    /// As the host.
    Host,
}

impl Scheduling {
    pub(super) fn read(key: &str, value: &Value) -> Result<Self, OptionError> {
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("batch") => Ok(Self::Batch),
            Some("host") => Ok(Self::Host),
            _ => Err(OptionError::wrong(
                key,
                value,
                "\"auto\", \"batch\" or \"host\"",
            )),
        }
    }
}
