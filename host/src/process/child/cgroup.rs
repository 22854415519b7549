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
use crate::process::cgroup::{count, is_group, is_populated, read_again, says_populated};

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
        let shown = cgroup.directory.display();
        let failed = |error| (format!("have its control group {shown}"), error);
        let parent = cgroup.directory.parent().unwrap_or(Path::new("/"));
        if !is_group(parent).map_err(failed)? {
            let error = io::Error::other("not below a mounted cgroup of version 2");
            return Err(failed(error));
        }
        Self::make(cgroup)
    }

    fn make(cgroup: &Cgroup) -> Result<Self, (String, io::Error)> {
        let Cgroup {
            directory,
            memory_max,
        } = cgroup;
        let shown = directory.display();
        let failed = |what: &str, error| (format!("{what} its control group {shown}"), error);
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
            // The whole of it, or something of the child's goes on without the rest. It is not
            // there on a kernel before 4.19.
            let _ = fs::write(directory.join("memory.oom.group"), "1");
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

/// 0 where memory is not controlled.
fn kills_for_memory(directory: &Path) -> u64 {
    let events = fs::read_to_string(directory.join("memory.events"));
    events.map_or(0, |events| count(&events, "oom_kill"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_limited_for_all_in_a_group_and_kills_are_counted_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name| dir.path().join(name);
        fs::write(file("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        fs::write(file("cgroup.procs"), "").unwrap();
        fs::write(file("memory.events"), "oom 3\noom_kill 2\n").unwrap();
        let made = Made::make(&Cgroup {
            directory: dir.path().to_owned(),
            memory_max: Some(64 << 20),
        })
        .unwrap();
        let read = |name| fs::read_to_string(file(name)).unwrap();
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("memory.oom.group"), "1");
        assert!(!made.ran_out());
        fs::write(file("memory.events"), "oom 4\noom_kill 3\n").unwrap();
        assert!(made.ran_out());
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
