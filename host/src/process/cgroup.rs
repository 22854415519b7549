//! Control groups of version 2: a place that is this process's to make some in.
//!
//! Where a service manager delegates a control group, all below it is the service's own, and nothing
//! beside it is (<https://systemd.io/CGROUP_DELEGATION/>). A group with others below it that hand on
//! controllers may have no processes itself, so this process first goes to one of its own below,
//! `replug-supervisor`. Beside that it has an [`Area`] for its children's.

mod area;
mod files;
mod own;
mod site;
mod unusable;

pub(in crate::process) use files::{count, is_group, is_populated, read_again, says_populated};

pub use area::Area;
pub use own::delegated;
pub use site::Site;
pub use unusable::Unusable;

/// Where a process goes whose own control group has others below it.
const LEAF: &str = "replug-supervisor";

/// How the names of areas begin.
const PREFIX: &str = "replug-";
