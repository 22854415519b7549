//! The control group of this process.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::getxattr;

use super::{LEAF, Unusable, files};

/// The control group that is delegated to this process: its own, or the one above if it is in a leaf of
/// that.
///
/// Delegated is what systemd says is, by an attribute of the directory, and what a container sees as
/// the highest of all. What this process could write to, being root, is not enough: it may be part of
/// somebody's session.
///
/// # Errors
/// When there is none, or it is not.
pub fn delegated() -> Result<PathBuf, Unusable> {
    let own = own().ok_or(Unusable::NotMounted)?;
    // In a leaf it is after a restart in place, or if systemd has put it there (`DelegateSubgroup`).
    let above = own.directory.parent();
    let above = above.filter(|above| above.starts_with(&own.mounted));
    let is_leaf = |above: &&Path| match own.directory.ends_with(LEAF) {
        true => own.is_delegated(above),
        false => !own.is_delegated(&own.directory) && is_marked(above),
    };
    if let Some(above) = above.filter(is_leaf) {
        return Ok(above.to_owned());
    }
    if own.is_delegated(&own.directory) {
        return Ok(own.directory);
    }
    Err(Unusable::NotDelegated(own.directory))
}

/// Where this process is, and where that file system begins.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    directory: PathBuf,
    mounted: PathBuf,
}

impl Own {
    fn is_delegated(&self, directory: &Path) -> bool {
        !files::is_root(directory) && (directory == self.mounted || is_marked(directory))
    }
}

fn own() -> Option<Own> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    let found = locate(&group, &mounts)?;
    found.directory.is_dir().then_some(found)
}

/// Whether systemd says that it does not care for what is in there. The second is for older ones, and
/// for root only.
fn is_marked(directory: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        let length = getxattr(directory, *name, &mut value);
        length.is_ok_and(|length| value.get(..length) == Some(b"1"))
    })
}

/// By the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn locate(group: &str, mounts: &[u8]) -> Option<Own> {
    let path = group.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (root, mounted) = (fields.nth(3)?, fields.next()?);
        // Optional ones, up to a dash.
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        if kind != b"cgroup2" {
            return None;
        }
        // A part of the whole may be what is mounted.
        let below = Path::new(path).strip_prefix(unescaped(root)).ok()?;
        let mounted = unescaped(mounted);
        if below.components().any(|part| part.as_os_str() == "..") {
            // Outside of this process's namespace.
            return None;
        }
        // Joined with nothing, it would end with a slash.
        let directory = mounted.join(below).components().collect();
        Some(Own { directory, mounted })
    })
}

/// Spaces and the like are octal there, behind a backslash.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..3)
            .and_then(|digits| str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(group: &str, mounts: &str, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(directory, mounted)| Own {
            directory: directory.into(),
            mounted: mounted.into(),
        });
        assert_eq!(locate(group, mounts.as_bytes()), expected);
    }

    const UNIFIED: &str = "20 1 8:1 / / rw - ext4 /dev/vda rw\n\
        31 20 0:28 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn a_process_s_own_group_is_found_where_it_is_mounted() {
        let unit = "/system.slice/replug.service";
        let at = format!("/sys/fs/cgroup{unit}");
        let expected = Some((&*at, "/sys/fs/cgroup"));
        check(&format!("0::{unit}\n"), UNIFIED, expected);
        // Version 1 beside it.
        let hybrid = "24 20 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            25 20 0:31 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 none rw\n";
        let expected = Some(("/sys/fs/cgroup/uni fied/a", "/sys/fs/cgroup/uni fied"));
        check("4:memory:/b\n0::/a\n", hybrid, expected);
        check("4:memory:/b\n", hybrid, None);
    }

    #[test]
    fn a_container_s_own_group_is_the_highest_that_it_sees() {
        let expected = Some(("/sys/fs/cgroup", "/sys/fs/cgroup"));
        check("0::/\n", UNIFIED, expected);
        let bound = "31 20 0:28 /docker/ab /cg rw - cgroup2 cgroup rw\n";
        check("0::/docker/ab/c\n", bound, Some(("/cg/c", "/cg")));
        check("0::/docker/other\n", bound, None);
        check("0::/../other\n", UNIFIED, None);
    }
}
