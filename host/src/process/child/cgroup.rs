//! A child's control group.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    time::timeout,
};

use super::spec::Cgroup;

/// The file system of control groups, version 2 (`CGROUP2_SUPER_MAGIC`).
const VERSION_2: u64 = 0x6367_7270;

/// How long whatever was killed in a group may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// A control group that is there for one child. Dropped, it is removed, unless something runs in it.
#[derive(Debug)]
pub(super) struct Made {
    directory: PathBuf,
    /// How often something was killed for memory before.
    kills: u64,
    processes: Option<File>,
}

impl Made {
    /// Makes it, and limits it. The error says what cannot be done.
    pub(super) fn new(cgroup: &Cgroup) -> Result<Self, (String, io::Error)> {
        let Cgroup {
            directory,
            memory_max,
        } = cgroup;
        let shown = directory.display();
        let failed = |what: &str, error| (format!("{what} its control group {shown}"), error);
        let parent = directory.parent().unwrap_or(Path::new("/"));
        let system = rustix::fs::statfs(parent)
            .map_err(|error| failed("have", io::Error::from(error)))?
            .f_type;
        if u64::try_from(system).ok() != Some(VERSION_2) {
            let error = io::Error::other("not below a mounted cgroup of version 2");
            return Err(failed("have", error));
        }
        match fs::create_dir(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // What is in there is killed in the end.
                if is_populated(directory).map_err(|error| failed("look into", error))? {
                    let error = io::Error::other("it is in use; name one that is not");
                    return Err(failed("have", error));
                }
            }
            Err(error) => return Err(failed("make", error)),
        }
        let mut made = Self {
            directory: directory.clone(),
            kills: kills_for_memory(directory),
            processes: None,
        };
        if let Some(bytes) = memory_max {
            let file = directory.join("memory.max");
            // A write to a file that is there: the kernel lets nobody make one.
            fs::write(file, bytes.to_string()).map_err(|error| {
                let what = format!("limit memory to {bytes} bytes for");
                let (action, error) = failed(&what, error);
                (format!("{action}{}", remedy(&error)), error)
            })?;
        }
        let list = File::options()
            .write(true)
            .open(directory.join("cgroup.procs"));
        made.processes = Some(list.map_err(|error| failed("enter", error))?);
        Ok(made)
    }

    /// Where a process enters it.
    pub(super) fn take_processes(&mut self) -> Option<File> {
        self.processes.take()
    }

    /// Whether something in there was killed for memory.
    pub(super) fn ran_out(&self) -> bool {
        kills_for_memory(&self.directory) > self.kills
    }

    /// Kills what is left in there, and removes it.
    pub(super) async fn remove(mut self) {
        let shown = self.directory.display().to_string();
        let outcome = match timeout(GONE, self.empty()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::other("something in it does not end")),
        };
        // From here on the name may be another child's.
        let directory = std::mem::take(&mut self.directory);
        if let Err(error) = outcome.and_then(|()| fs::remove_dir(&directory)) {
            tracing::warn!(
                event = "cgroup-left",
                directory = shown,
                "the control group {shown} of a child that died cannot be removed: {error}",
            );
        }
    }

    async fn empty(&self) -> io::Result<()> {
        if !is_populated(&self.directory)? {
            return Ok(());
        }
        let events = File::open(self.directory.join("cgroup.events"))?;
        // SAFETY: the file is open as long as it is registered, and stays the same.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::PRIORITY)? };
        fs::write(self.directory.join("cgroup.kill"), "1")?;
        while says_populated(&read_again(events.get_ref())?) {
            events.ready(Interest::PRIORITY).await?.clear_ready();
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}

/// What may help, where that is known.
fn remedy(error: &io::Error) -> &'static str {
    // To make a file is what is denied where there is none.
    if matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::PermissionDenied
    ) {
        " (the group above it must hand on the control of memory: write +memory to its \
         cgroup.subtree_control)"
    } else {
        ""
    }
}

fn is_populated(directory: &Path) -> io::Result<bool> {
    Ok(says_populated(&fs::read_to_string(
        directory.join("cgroup.events"),
    )?))
}

/// The kernel wakes who waits for a change since the file was last read by them.
fn read_again(file: &File) -> io::Result<String> {
    let mut text = [0; 256];
    let count = rustix::io::pread(file, &mut text, 0)?;
    Ok(String::from_utf8_lossy(&text[..count]).into_owned())
}

fn says_populated(events: &str) -> bool {
    count(events, "populated") > 0
}

/// 0 where memory is not controlled.
fn kills_for_memory(directory: &Path) -> u64 {
    let events = fs::read_to_string(directory.join("memory.events"));
    events.map_or(0, |events| count(&events, "oom_kill"))
}

/// The number behind a name, in a file of such pairs.
fn count(events: &str, name: &str) -> u64 {
    let mut pairs = events.lines().filter_map(|line| line.split_once(' '));
    let found = pairs.find(|(key, _)| *key == name);
    found.and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
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

    #[test]
    fn a_folder_elsewhere_is_no_control_group() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("workers");
        let (action, error) = Made::new(&Cgroup {
            directory: directory.clone(),
            memory_max: None,
        })
        .unwrap_err();
        assert!(action.contains("workers"), "{action}");
        assert!(error.to_string().contains("version 2"), "{error}");
        assert!(!directory.exists());
    }
}
