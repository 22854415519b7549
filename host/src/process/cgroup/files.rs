//! The files of a control group.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::Path,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::statfs,
    io::Errno,
};

/// The file system of control groups, version 2 (`CGROUP2_SUPER_MAGIC`).
const VERSION_2: u64 = 0x6367_7270;

/// Whether a directory is a control group of version 2.
pub(in crate::process) fn is_group(directory: &Path) -> io::Result<bool> {
    let system = statfs(directory)?.f_type;
    Ok(u64::try_from(system).ok() == Some(VERSION_2))
}

/// Whether one is that of the whole machine, and not just the highest that can be seen.
pub(super) fn is_root(directory: &Path) -> bool {
    !directory.join("cgroup.type").exists()
}

/// Who is in it; 0 is a process that cannot be seen from here.
pub(super) fn processes(directory: &Path) -> io::Result<Vec<u32>> {
    let list = fs::read_to_string(directory.join("cgroup.procs"))?;
    Ok(list.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Whether such a file names that controller.
pub(super) fn names(directory: &Path, file: &str, controller: &str) -> io::Result<bool> {
    let list = fs::read_to_string(directory.join(file))?;
    Ok(list.split_whitespace().any(|named| named == controller))
}

pub(in crate::process) fn is_populated(directory: &Path) -> io::Result<bool> {
    let events = directory.join("cgroup.events");
    Ok(says_populated(&fs::read_to_string(events)?))
}

/// The kernel wakes who waits for a change since the file was last read by them.
pub(in crate::process) fn read_again(file: &File) -> io::Result<String> {
    let mut text = [0; 256];
    let count = rustix::io::pread(file, &mut text, 0)?;
    Ok(String::from_utf8_lossy(&text[..count]).into_owned())
}

pub(in crate::process) fn says_populated(events: &str) -> bool {
    count(events, "populated") > 0
}

/// The number behind a name, in a file of such pairs; 0: there is none.
pub(in crate::process) fn count(events: &str, name: &str) -> u64 {
    let mut pairs = events.lines().filter_map(|line| line.split_once(' '));
    let found = pairs.find(|(key, _)| *key == name);
    found.and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

/// Kills all that is in it and below, and waits so long for each change until that is gone.
pub(super) fn kill_all(directory: &Path, patience: Duration) -> io::Result<()> {
    if !is_populated(directory)? {
        return Ok(());
    }
    let events = File::open(directory.join("cgroup.events"))?;
    fs::write(directory.join("cgroup.kill"), "1")?;
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    while says_populated(&read_again(&events)?) {
        let mut changed = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)];
        match poll(&mut changed, Some(&patience)) {
            Ok(0) => return Err(io::Error::other("something in it does not end")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Removes it, and those below it. Nothing may run in there.
pub(super) fn remove_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        // A group's own files are no directories, and go with it.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_all(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_for_memory_are_told_from_other_events() {
        let events = "low 0\nhigh 0\nmax 31\noom 4\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(count(events, "oom_kill"), 2);
        assert_eq!(count(events, "oom"), 4);
        assert_eq!(count("", "oom_kill"), 0);
        assert_eq!(count("oom_kill many\n", "oom_kill"), 0);
    }
}
