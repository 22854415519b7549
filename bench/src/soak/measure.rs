//! What of a sample may not grow.

use super::{Plan, Sample};

pub(super) const MIB: u64 = 1 << 20;

/// A number of the host's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Resident memory.
    Memory,
    /// All mappings.
    Mappings,
    /// Mappings of plugins' code.
    Code,
    /// Threads.
    Threads,
    /// Open descriptors.
    Descriptors,
    /// pthread keys.
    Keys,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Memory,
        Self::Mappings,
        Self::Code,
        Self::Threads,
        Self::Descriptors,
        Self::Keys,
    ];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "resident memory",
            Self::Mappings => "mappings",
            Self::Code => "mapped plugin code",
            Self::Threads => "threads",
            Self::Descriptors => "descriptors",
            Self::Keys => "pthread keys",
        }
    }

    /// In bytes, or a count.
    #[must_use]
    pub fn of(self, sample: &Sample) -> u64 {
        match self {
            Self::Memory => sample.memory,
            Self::Mappings => sample.mappings,
            Self::Code => sample.code,
            Self::Threads => sample.threads,
            Self::Descriptors => sample.descriptors,
            Self::Keys => sample.keys,
        }
    }

    /// By how much it may have grown at the end: a heap has pages that come and go, and with them
    /// mappings; a thread or descriptor may be on its way out. A leak of one a reload is hundreds
    /// of times as much.
    #[must_use]
    pub fn slack(self, plan: &Plan) -> u64 {
        match self {
            Self::Memory => plan.memory_slack,
            Self::Mappings => 8,
            Self::Threads | Self::Descriptors => 1,
            Self::Code | Self::Keys => 0,
        }
    }

    /// For people: MiB with one digit, or the count.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Memory => format!("{}.{} MiB", value / MIB, value % MIB * 10 / MIB),
            _ => value.to_string(),
        }
    }
}
