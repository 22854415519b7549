//! Reloads one app again and again while clients ask it, and looks at what that leaves behind.
//!
//! [`run()`] drives the host and takes a [`Sample`] now and then; a [`Verdict`] compares the last
//! sample with that after the first reloads, when caches are full and pools have their size, and
//! asks for more: no request failed, no answer was of two versions, and of each generation the host
//! has verified that it is unmapped. `plot` draws the samples, `report` prints them.
//!
//! All samples are taken at the same moment of the host's life, so that they can be compared: the
//! load pauses between two requests, one more reload brings a generation that nobody has asked
//! yet, and all generations before it have gone.

mod app;
mod client;
mod generations;
mod load;
mod measure;
mod options;
mod plot;
mod report;
mod run;
mod sampler;
mod verdict;

pub use app::App;
pub use generations::Generations;
pub use load::Tally;
pub use measure::Measure;
pub use options::{Options, Plan, command};
pub use run::{Record, run};
pub use sampler::Sample;
pub use verdict::{Check, Verdict};
