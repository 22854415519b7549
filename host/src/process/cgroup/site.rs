//! A control group below which others may be.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{LEAF, Unusable, files};

/// So often somebody in there may start another just while it is being emptied.
const ROUNDS: usize = 100;

/// A control group, looked at and not changed yet.
#[derive(Debug)]
pub struct Site {
    pub(super) directory: PathBuf,
    /// It limits memory for those below, if it is told to.
    memory: bool,
    /// Who is to go to a leaf below: this process, and what it has started.
    inside: Vec<u32>,
}

impl Site {
    /// The one at that path.
    ///
    /// # Errors
    /// When there is none, or others cannot be made below it.
    pub fn look(directory: &Path) -> Result<Self, Unusable> {
        let is_group = files::is_group(directory);
        match is_group.map_err(Unusable::refused("find", directory))? {
            true => Self::of(directory),
            false => Err(Unusable::NotOne(directory.to_owned())),
        }
    }

    /// The same, of any directory with such files.
    pub(super) fn of(directory: &Path) -> Result<Self, Unusable> {
        let files = ["cgroup.procs", "cgroup.subtree_control"].map(|file| directory.join(file));
        for path in [directory.to_owned()].into_iter().chain(files) {
            let writable = access(&path, Access::WRITE_OK).map_err(Into::into);
            writable.map_err(Unusable::refused("write to", &path))?;
        }
        let memory = files::names(directory, "cgroup.controllers", "memory");
        let memory = memory.map_err(Unusable::refused("read the controllers of", directory))?;
        // Whoever is in the machine's own is in nobody's way.
        let inside = if files::is_root(directory) {
            Vec::new()
        } else {
            own_processes(directory)?
        };
        Ok(Self {
            directory: directory.to_owned(),
            memory,
            inside,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether memory can be limited below it.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.memory
    }

    /// Makes it one without processes, that hands on the control of memory if it has it.
    pub(super) fn prepare(&self) -> Result<(), Unusable> {
        if !self.inside.is_empty() {
            self.leave()?;
        }
        if self.memory {
            hand_on_memory(&self.directory)?;
        }
        Ok(())
    }

    fn leave(&self) -> Result<(), Unusable> {
        let leaf = self.directory.join(LEAF);
        if !leaf.is_dir() {
            fs::create_dir(&leaf).map_err(Unusable::refused("make", &leaf))?;
        }
        let list = leaf.join("cgroup.procs");
        let mut inside = self.inside.clone();
        for _ in 0..ROUNDS {
            for pid in inside {
                let moved = fs::write(&list, pid.to_string());
                if moved.is_err() && !Path::new(&format!("/proc/{pid}")).exists() {
                    continue;
                }
                moved.map_err(Unusable::refused("go to", &leaf))?;
            }
            inside = own_processes(&self.directory)?;
            if inside.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

/// Has those below a group have their memory controlled.
pub(super) fn hand_on_memory(directory: &Path) -> Result<(), Unusable> {
    let file = directory.join("cgroup.subtree_control");
    let known = files::names(directory, "cgroup.subtree_control", "memory");
    if known.is_ok_and(|known| known) {
        return Ok(());
    }
    fs::write(&file, "+memory").map_err(Unusable::refused("write +memory to", &file))
}

/// Who of this process and those whom it has started is in there; it is an error if others are.
fn own_processes(directory: &Path) -> Result<Vec<u32>, Unusable> {
    let inside = files::processes(directory);
    let inside = inside.map_err(Unusable::refused("read the processes of", directory))?;
    let others: Vec<u32> = inside.iter().copied().filter(|pid| !is_own(*pid)).collect();
    if others.is_empty() {
        return Ok(inside);
    }
    Err(Unusable::Shared {
        directory: directory.to_owned(),
        others,
    })
}

/// Whether a process is this one, or has been started by it, or is gone.
fn is_own(pid: u32) -> bool {
    let mut pid = pid;
    while pid != std::process::id() {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
            return pid != 0;
        };
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        match parent.and_then(|parent| parent.trim().parse().ok()) {
            Some(0) | None => return false,
            Some(parent) => pid = parent,
        }
    }
    true
}
