//! Who this process is.

use std::io;

use nix::unistd::{Gid, Uid, getresgid, getresuid};

use crate::config::Identity;

/// Whether this process is just that already, so that there is nothing to change, which only root
/// may do.
pub(super) fn is_this(identity: &Identity) -> io::Result<bool> {
    let sorted = |mut groups: Vec<u32>| {
        groups.sort_unstable();
        groups.dedup();
        groups
    };
    let ids = getresuid()?;
    let gids = getresgid()?;
    let now = rustix::process::getgroups()?;
    let now = now.into_iter().map(rustix::process::Gid::as_raw).collect();
    let uid = Uid::from_raw(identity.uid);
    let gid = Gid::from_raw(identity.gid);
    Ok([ids.real, ids.effective, ids.saved] == [uid; 3]
        && [gids.real, gids.effective, gids.saved] == [gid; 3]
        && sorted(now) == sorted(identity.groups.clone()))
}
