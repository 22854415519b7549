//! What the programs of this package share: [`servers`] builds and starts what is measured, and
//! [`soak`] is the long run that `soak` and a test of this package make.

pub mod servers;
pub mod soak;
