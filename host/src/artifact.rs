//! From a file that changed to one that may be loaded: [`Staged`] → [`Inspected`].
//!
//! The file an operator writes to is only ever read. Its bytes are copied to a private directory
//! ([`StagingArea::stage`]), and what stands in the copy is judged ([`inspect`]), without any of
//! its code being run. Only what comes out of that can be opened by the loader.

mod elf;
mod fingerprint;
mod inspect;
mod kind;
mod linked;
mod manifest;
mod open;
mod refusal;
mod report;
mod staging;
mod warning;

#[cfg(test)]
mod sample;

pub use fingerprint::Fingerprint;
pub use inspect::{InspectPolicy, Inspected, inspect};
pub use kind::FileKind;
pub use linked::{Linked, Links, all_linked};
pub use manifest::{ManifestReport, host_target};
pub use open::OpenError;
pub use refusal::{InspectError, Refusal};
pub use report::{Report, ReportError, Verdict, inspect_file, inspect_file_by};
pub use staging::{StageError, Staged, StagingArea, StagingAreaError};
pub use warning::Warning;
