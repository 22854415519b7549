//! Users of the system, and groups of them.

use std::{fmt, io};

use nix::unistd::{Gid, Group, Uid, User};

/// A user of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemUser {
    /// Its number.
    pub uid: u32,
    /// What the system's list of users has of it; `None`: it has a number only.
    pub entry: Option<UserEntry>,
}

/// A user in the system's list of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// Its name.
    pub name: String,
    /// Its group.
    pub gid: u32,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemGroup {
    /// Its number.
    pub gid: u32,
    /// Its name; `None`: the system's list of groups has none of that number.
    pub name: Option<String>,
}

/// Why a user, or a group of users, is not found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no such user.
    #[error("there is no user `{0}`; create it, or name one that `getent passwd` lists")]
    NoUser(String),
    /// There is no such group.
    #[error("there is no group of users `{0}`; create it, or name one that `getent group` lists")]
    NoGroup(String),
    /// The system's lists cannot be read.
    #[error("the system does not tell of `{0}`: {1}; give its number")]
    Unreadable(String, io::Error),
}

impl SystemUser {
    /// The user of that name, or else of that number, which the system need not know.
    ///
    /// # Errors
    /// When there is none, or the system does not tell.
    pub fn find(said: &str) -> Result<Self, UserError> {
        match (named(User::from_name(said)), number(said)) {
            (Ok(Some(user)), _) => Ok(Self::of(user)),
            (_, Some(uid)) => {
                let known = User::from_uid(Uid::from_raw(uid)).unwrap_or_default();
                Ok(known.map_or(Self { uid, entry: None }, Self::of))
            }
            (Ok(None), None) => Err(UserError::NoUser(said.to_owned())),
            (Err(errno), None) => Err(UserError::Unreadable(said.to_owned(), errno.into())),
        }
    }

    fn of(user: User) -> Self {
        Self {
            uid: user.uid.as_raw(),
            entry: Some(UserEntry {
                name: user.name,
                gid: user.gid.as_raw(),
            }),
        }
    }
}

impl fmt::Display for SystemUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            Some(entry) => f.pad(&entry.name),
            None => self.uid.fmt(f),
        }
    }
}

impl SystemGroup {
    /// The group of that name, or else of that number, which the system need not know.
    ///
    /// # Errors
    /// When there is none, or the system does not tell.
    pub fn find(said: &str) -> Result<Self, UserError> {
        match (named(Group::from_name(said)), number(said)) {
            (Ok(Some(group)), _) => Ok(Self::of(group)),
            (_, Some(gid)) => {
                let known = Group::from_gid(Gid::from_raw(gid)).unwrap_or_default();
                Ok(known.map_or(Self { gid, name: None }, Self::of))
            }
            (Ok(None), None) => Err(UserError::NoGroup(said.to_owned())),
            (Err(errno), None) => Err(UserError::Unreadable(said.to_owned(), errno.into())),
        }
    }

    fn of(group: Group) -> Self {
        Self {
            gid: group.gid.as_raw(),
            name: Some(group.name),
        }
    }
}

/// What is not there is an error in some of the system's sources.
fn named<T>(found: nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    match found {
        Err(nix::Error::ENOENT | nix::Error::ESRCH) => Ok(None),
        found => found,
    }
}

/// The largest number means nobody: system calls take it for "leave it as it is".
fn number(said: &str) -> Option<u32> {
    let plain = said.bytes().all(|digit| digit.is_ascii_digit());
    let number = said.parse().ok();
    number.filter(|number| plain && *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        let root = SystemUser::find("root").unwrap();
        assert_eq!(root.uid, 0);
        assert_eq!(root.entry.as_ref().unwrap().name, "root");
        assert_eq!(SystemUser::find("0").unwrap(), root);
        assert_eq!(root.to_string(), "root");
        let gid = root.entry.unwrap().gid;
        let of_root = SystemGroup::find(&gid.to_string()).unwrap();
        let name = of_root.name.clone().unwrap();
        assert_eq!(SystemGroup::find(&name).unwrap(), of_root);
        let unknown = SystemUser::find("4000000001").unwrap();
        assert_eq!((unknown.uid, &unknown.entry), (4_000_000_001, &None));
        assert_eq!(unknown.to_string(), "4000000001");
        assert_eq!(SystemGroup::find("4000000001").unwrap().name, None);
    }

    #[test]
    fn who_is_not_there_is_named_with_a_remedy() {
        for said in ["no such user", "-1", "+1", "4294967295", "4294967296", ""] {
            let error = SystemUser::find(said).unwrap_err().to_string();
            assert!(error.contains(&format!("no user `{said}`; ")), "{error}");
            let error = SystemGroup::find(said).unwrap_err().to_string();
            assert!(error.contains(&format!("users `{said}`; ")), "{error}");
        }
    }
}
