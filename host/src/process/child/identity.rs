//! Who a child runs as.

use std::{ffi::CString, io};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use thiserror::Error;

/// Who a child runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The numbers of all supplementary groups: of no others, whatever this process has.
    pub groups: Vec<u32>,
}

/// Why there is no such [`Identity`].
#[derive(Debug, Error)]
pub enum IdentityError {
    /// Neither a name that the system knows, nor a number.
    #[error("there is no user \"{0}\"; create it, or name another")]
    NoUser(String),
    /// Neither a name that the system knows, nor a number.
    #[error("there is no group \"{0}\"; create it, or name another")]
    NoGroup(String),
    /// The system knows no user of that number, and so no group of its.
    #[error("user {0} has no entry in the system's list, which would name its group; name a group")]
    NoGroupOf(u32),
    /// Contains a NUL byte.
    #[error("\"{0}\" is no name of a user")]
    Name(String),
    /// The list cannot be read.
    #[error("the system's lists of users and groups cannot be read")]
    Lists(#[source] io::Error),
}

impl Identity {
    /// Of a user and a group, each by its name or number; `None` as group: the user's own. The
    /// supplementary groups are those that the system has for the user, as at a login, or exactly
    /// those that are named.
    ///
    /// It may take long: the system may be asking a server (NSS).
    ///
    /// # Errors
    /// When the system does not know one of them by name, or has no group for the user.
    pub fn find(
        user: &str,
        group: Option<&str>,
        groups: Option<&[String]>,
    ) -> Result<Self, IdentityError> {
        let (uid, entry) = find_user(user)?;
        let gid = match (group, &entry) {
            (Some(group), _) => find_group(group)?,
            (None, Some(entry)) => entry.gid.as_raw(),
            (None, None) => return Err(IdentityError::NoGroupOf(uid)),
        };
        let groups = match (groups, entry) {
            (Some(groups), _) => groups
                .iter()
                .map(|group| find_group(group))
                .collect::<Result<_, _>>()?,
            (None, Some(entry)) => {
                let name =
                    CString::new(entry.name).map_err(|_| IdentityError::Name(user.to_owned()))?;
                let groups = getgrouplist(&name, Gid::from_raw(gid));
                let groups = groups.map_err(|error| IdentityError::Lists(error.into()))?;
                groups.into_iter().map(Gid::as_raw).collect()
            }
            (None, None) => vec![gid],
        };
        Ok(Self { uid, gid, groups })
    }

    /// Whether this process is just that already, so that there is nothing to change, which only
    /// root may do.
    pub(super) fn is_this(&self) -> io::Result<bool> {
        let sorted = |mut groups: Vec<u32>| {
            groups.sort_unstable();
            groups.dedup();
            groups
        };
        let ids = nix::unistd::getresuid()?;
        let gids = nix::unistd::getresgid()?;
        let now = rustix::process::getgroups()?;
        let now = now.into_iter().map(rustix::process::Gid::as_raw).collect();
        let uid = Uid::from_raw(self.uid);
        let gid = Gid::from_raw(self.gid);
        Ok([ids.real, ids.effective, ids.saved] == [uid; 3]
            && [gids.real, gids.effective, gids.saved] == [gid; 3]
            && sorted(now) == sorted(self.groups.clone()))
    }
}

/// By name first, as `chown` does: a name may be all digits.
fn find_user(user: &str) -> Result<(u32, Option<User>), IdentityError> {
    let lists = |error: nix::Error| IdentityError::Lists(error.into());
    if user.contains('\0') {
        return Err(IdentityError::Name(user.to_owned()));
    }
    if let Some(entry) = User::from_name(user).map_err(lists)? {
        return Ok((entry.uid.as_raw(), Some(entry)));
    }
    let uid = number(user).ok_or_else(|| IdentityError::NoUser(user.to_owned()))?;
    let entry = User::from_uid(Uid::from_raw(uid)).map_err(lists)?;
    Ok((uid, entry))
}

fn find_group(group: &str) -> Result<u32, IdentityError> {
    if group.contains('\0') {
        return Err(IdentityError::Name(group.to_owned()));
    }
    let entry = Group::from_name(group).map_err(|error| IdentityError::Lists(error.into()))?;
    entry
        .map(|entry| entry.gid.as_raw())
        .or_else(|| number(group))
        .ok_or_else(|| IdentityError::NoGroup(group.to_owned()))
}

/// The largest means "leave it as it is" to the system.
fn number(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root = Identity::find("root", None, None).unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(Identity::find("0", None, None).unwrap(), root);
        let named = Identity::find("root", Some("12345"), Some(&["0".to_owned()])).unwrap();
        assert_eq!((named.gid, named.groups), (12345, vec![0]));
    }

    #[test]
    fn a_user_without_an_entry_takes_a_group() {
        let error = Identity::find("4000111222", None, None).unwrap_err();
        assert!(matches!(error, IdentityError::NoGroupOf(4_000_111_222)));
        let found = Identity::find("4000111222", Some("4000111223"), None).unwrap();
        assert_eq!(found.groups, [4_000_111_223]);
    }

    #[test]
    fn what_is_neither_a_name_nor_a_number_is_refused() {
        for user in [
            "no such user",
            "",
            "-1",
            "+1",
            "4294967295",
            "4294967296",
            "a\0b",
        ] {
            assert!(Identity::find(user, None, None).is_err(), "{user:?}");
            let group = Identity::find("root", Some(user), None);
            assert!(group.is_err(), "{user:?}");
            let groups = Identity::find("root", None, Some(&[user.to_owned()]));
            assert!(groups.is_err(), "{user:?}");
        }
    }
}
