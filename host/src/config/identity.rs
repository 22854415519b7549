//! Who the workers of a process group run as, and whether the host may start such ones.

use std::{ffi::CString, io};

use nix::unistd::{Gid, getgrouplist};
use rustix::process::{getegid, geteuid, getgroups, getpriority_process};

use super::{SystemGroup, SystemUser};

/// All that says what a process may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
    /// The numbers of all groups, ascending; `gid` is among them.
    pub groups: Vec<u32>,
}

/// Why it cannot be said what a process is to be.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A user has a number only.
    #[error(
        "nothing says which group user {0} has, since the system's list of users does not have it; \
         set `group`, too"
    )]
    NoGroup(u32),
    /// The groups of a user cannot be had.
    #[error("the system does not tell the groups of user `{0}`: {1}; set `supplementary-groups`")]
    Groups(String, io::Error),
}

/// Why this host cannot start the workers of a process group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// Not as that user.
    #[error(
        "only root may start processes as another user (uid {uid}), and this host has uid {own}"
    )]
    User {
        /// Who they are to be.
        uid: u32,
        /// Who the host is.
        own: u32,
    },
    /// Not with those groups.
    #[error("only root may give processes other groups of users than its own")]
    Groups,
    /// Not with that nice value.
    #[error(
        "only root may give processes the nice value {nice}, which is below the host's own {own}"
    )]
    Nice {
        /// The value.
        nice: i32,
        /// The host's.
        own: i32,
    },
}

impl Identity {
    /// What this process is.
    #[must_use]
    pub fn own() -> Self {
        let groups = getgroups().unwrap_or_default();
        let groups = groups.into_iter().map(|gid| gid.as_raw()).collect();
        Self::new(geteuid().as_raw(), getegid().as_raw(), groups)
    }

    fn new(uid: u32, gid: u32, mut groups: Vec<u32>) -> Self {
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        Self { uid, gid, groups }
    }

    /// What those come to; `None`: what this process is. Whoever stays who they are keeps what
    /// nothing is said of, and whoever becomes another has what that one has.
    pub(super) fn of(
        user: Option<&SystemUser>,
        group: Option<&SystemGroup>,
        supplementary: Option<&[SystemGroup]>,
    ) -> Result<Option<Self>, IdentityError> {
        let own = Self::own();
        let other = user.filter(|user| user.uid != own.uid);
        let gid = match (group, other) {
            (Some(group), _) => group.gid,
            (None, None) => own.gid,
            (None, Some(user)) => match &user.entry {
                Some(entry) => entry.gid,
                None => return Err(IdentityError::NoGroup(user.uid)),
            },
        };
        let groups = match (supplementary, other) {
            (Some(said), _) => said.iter().map(|group| group.gid).collect(),
            (None, None) => own.groups.clone(),
            (None, Some(user)) => groups_of(user, gid)?,
        };
        let identity = Self::new(other.map_or(own.uid, |user| user.uid), gid, groups);
        Ok(Some(identity).filter(|identity| *identity != own))
    }

    /// Whether this process may start others that are this.
    ///
    /// # Errors
    /// When it may not.
    pub(super) fn permitted(&self) -> Result<(), NotPermitted> {
        let own = Self::own();
        let uid = self.uid;
        if uid != own.uid && !may(Right::User) {
            return Err(NotPermitted::User { uid, own: own.uid });
        }
        if (self.gid, &self.groups) != (own.gid, &own.groups) && !may(Right::Groups) {
            return Err(NotPermitted::Groups);
        }
        Ok(())
    }
}

fn groups_of(user: &SystemUser, gid: u32) -> Result<Vec<u32>, IdentityError> {
    let Some(entry) = &user.entry else {
        return Ok(Vec::new());
    };
    let failed = |errno: nix::Error| IdentityError::Groups(entry.name.clone(), errno.into());
    let name = CString::new(entry.name.as_str()).map_err(|_| failed(nix::Error::EINVAL))?;
    let groups = getgrouplist(&name, Gid::from_raw(gid)).map_err(failed)?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

impl NotPermitted {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::User { .. } => "start the host as root, or as that user, or remove `user`",
            Self::Groups => "start the host as root, or remove `group` and `supplementary-groups`",
            Self::Nice { .. } => "start the host as root, or remove `nice`",
        }
    }

    /// Whether this process may start others of that nice value; 0: of its own.
    pub(super) fn by_nice(nice: i32) -> Result<(), Self> {
        let own = getpriority_process(None).unwrap_or(0);
        if nice == 0 || nice >= own.min(least_nice()) || may(Right::Nice) {
            return Ok(());
        }
        Err(Self::Nice { nice, own })
    }
}

/// What root may.
enum Right {
    User,
    Groups,
    Nice,
}

/// Whether this process may do what root may: by its user, or by what was given to it alone.
#[cfg(target_os = "linux")]
fn may(right: Right) -> bool {
    use rustix::thread::{CapabilitySet, capabilities};

    let needed = match right {
        Right::User => CapabilitySet::SETUID,
        Right::Groups => CapabilitySet::SETGID,
        Right::Nice => CapabilitySet::SYS_NICE,
    };
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// How low this process may set its nice value without being root.
#[cfg(target_os = "linux")]
fn least_nice() -> i32 {
    use rustix::process::{Resource, getrlimit};

    // The limit counts from 1, the highest value, to 40, the lowest. `None`: there is no limit.
    let limit = getrlimit(Resource::Nice).current.unwrap_or(40).min(40);
    20 - i32::try_from(limit).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn least_nice() -> i32 {
    i32::MAX
}

#[cfg(not(target_os = "linux"))]
fn may(_: Right) -> bool {
    geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::config::UserEntry;

    fn group(gid: u32) -> SystemGroup {
        SystemGroup { gid, name: None }
    }

    #[test]
    fn who_stays_who_they_are_keeps_all_that_nothing_is_said_of() {
        let own = Identity::own();
        assert!(own.groups.contains(&own.gid), "{own:?}");
        let same = SystemUser::find(&own.uid.to_string()).unwrap();
        assert_eq!(Identity::of(None, None, None).unwrap(), None);
        assert_eq!(Identity::of(Some(&same), None, None).unwrap(), None);
        let with_group = Identity::of(None, Some(&group(4_000_000_001)), None).unwrap();
        let with_group = with_group.unwrap();
        assert_eq!((with_group.uid, with_group.gid), (own.uid, 4_000_000_001));
        assert!(own.groups.iter().all(|gid| with_group.groups.contains(gid)));
        let bare = Identity::of(None, Some(&group(4_000_000_001)), Some(&[])).unwrap();
        assert_eq!(bare.unwrap().groups, [4_000_000_001]);
    }

    #[test]
    fn who_becomes_a_user_of_the_system_is_in_all_groups_of_that_user() {
        let name = if Identity::own().uid == 0 {
            "nobody"
        } else {
            "root"
        };
        let user = SystemUser::find(name).unwrap();
        let identity = Identity::of(Some(&user), None, None).unwrap().unwrap();
        let told = Command::new("id").args(["-G", name]).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let mut told: Vec<u32> = told
            .split_whitespace()
            .map(|gid| gid.parse().unwrap())
            .collect();
        // The first is the user's own.
        assert_eq!((identity.uid, identity.gid), (user.uid, told[0]));
        told.sort_unstable();
        assert_eq!(identity.groups, told);
    }

    #[test]
    fn who_becomes_another_has_what_that_one_has() {
        let other = SystemUser {
            uid: Identity::own().uid ^ 0x4000_0000,
            entry: Some(UserEntry {
                name: "no such user".to_owned(),
                gid: 4_000_000_001,
            }),
        };
        let identity = Identity::of(Some(&other), None, None).unwrap().unwrap();
        assert_eq!((identity.uid, identity.gid), (other.uid, 4_000_000_001));
        assert_eq!(identity.groups, [4_000_000_001]);
        let more = [group(7), group(5)];
        let identity = Identity::of(Some(&other), Some(&group(6)), Some(&more));
        assert_eq!(identity.unwrap().unwrap().groups, [5, 6, 7]);
        let bare = SystemUser {
            entry: None,
            ..other
        };
        let error = Identity::of(Some(&bare), None, None).unwrap_err();
        assert!(error.to_string().contains("set `group`, too"), "{error}");
        let identity = Identity::of(Some(&bare), Some(&group(6)), None).unwrap();
        assert_eq!(identity.unwrap().groups, [6]);
    }
}
