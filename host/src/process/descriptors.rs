//! Descriptors that a plugin leaves open.
//!
//! Nothing tells whose a descriptor is, so this is a difference between two looks at all that the
//! process has: best effort, and said to be so wherever it is shown. Connections to the process's
//! own listeners are left out, since they come and go all the time; and so are the kernel's nameless
//! files (epoll, eventfd, timerfd): each looks like all others of its kind, and a number that was
//! given back is soon used again.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    mem::MaybeUninit,
    os::fd::RawFd,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libc::{c_int, c_void};

/// Open descriptors: number → what it leads to, as the kernel shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Open(BTreeMap<RawFd, String>);

impl Open {
    fn now() -> Self {
        let Ok(entries) = fs::read_dir("/proc/self/fd") else {
            return Self::default();
        };
        let all = entries.flatten().filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            // The listing's own is closed by now, and is not found.
            let target = fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        });
        let all = all.filter(|(_, target)| !target.starts_with("anon_inode:"));
        let mut open = Self(all.collect());
        let (listeners, others): (Vec<RawFd>, Vec<RawFd>) =
            open.sockets().partition(|number| listens(*number));
        let listening: HashSet<Local> = listeners.into_iter().filter_map(local).collect();
        let connections: Vec<RawFd> = others
            .into_iter()
            .filter(|number| local(*number).is_some_and(|local| listening.contains(&local)))
            .collect();
        open.0.retain(|number, target| {
            // One that was closed meanwhile could not be asked what it is.
            let link = fs::read_link(format!("/proc/self/fd/{number}"));
            let is_there = link.is_ok_and(|link| link.to_string_lossy() == *target);
            is_there && !connections.contains(number)
        });
        open
    }

    fn sockets(&self) -> impl Iterator<Item = RawFd> {
        self.0
            .iter()
            .filter(|(_, target)| target.starts_with("socket:"))
            .map(|(number, _)| *number)
    }

    fn without(&self, others: &Self) -> Self {
        let new = |(number, target): &(&RawFd, &String)| others.0.get(number) != Some(target);
        Self(own(self.0.iter().filter(new)))
    }

    fn and(&self, others: &Self) -> Self {
        let both = |(number, target): &(&RawFd, &String)| others.0.get(number) == Some(target);
        Self(own(self.0.iter().filter(both)))
    }
}

fn own<'a>(entries: impl Iterator<Item = (&'a RawFd, &'a String)>) -> BTreeMap<RawFd, String> {
    entries
        .map(|(number, target)| (*number, target.clone()))
        .collect()
}

/// What was open around a generation's start.
#[derive(Debug)]
pub struct OpenedBy {
    /// All that was open before.
    before: Open,
    /// All that was open when its setup was over.
    after: Open,
    /// What came up from then on, until the next generation started.
    life: Open,
}

/// How many generations have begun to start, and how many are starting now.
static STARTS: Mutex<(u64, usize)> = Mutex::new((0, 0));

fn starts() -> MutexGuard<'static, (u64, usize)> {
    STARTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Before a generation's end: whether others started during it. A number that was given back may be
/// theirs then, and lead to the same file.
#[derive(Clone, Copy, Debug)]
pub struct Ending(u64, bool);

impl Ending {
    /// It begins now.
    #[must_use]
    pub fn now() -> Self {
        let (count, starting) = *starts();
        Self(count, starting > 0)
    }

    fn was_alone(self) -> bool {
        let Self(count, others) = self;
        !others && starts().0 == count
    }
}

/// Before a generation's start.
#[derive(Debug)]
pub struct Before(Open);

impl Drop for Before {
    fn drop(&mut self) {
        starts().1 -= 1;
    }
}

impl Before {
    /// Looks now.
    #[must_use]
    pub fn now() -> Self {
        let mut starts = starts();
        starts.0 += 1;
        starts.1 += 1;
        drop(starts);
        Self(Open::now())
    }

    /// Looks again, when its setup is over.
    #[must_use]
    pub fn until_now(self) -> OpenedBy {
        OpenedBy {
            before: self.0.clone(),
            after: Open::now(),
            life: Open::default(),
        }
    }
}

impl OpenedBy {
    /// It was the only one there until `next` started: what came up in between is taken for its, too.
    pub fn lived_alone_until(&mut self, next: &Self) {
        self.life = next.before.without(&self.after);
    }

    /// What came up with it and is still open, as `NUMBER TARGET`. `is_hosts` tells targets of the
    /// host's own.
    #[must_use]
    pub fn left(&self, ending: Ending, is_hosts: impl Fn(&str) -> bool) -> Vec<String> {
        let now = Open::now();
        let certain = ending.was_alone();
        let mut left = self.after.without(&self.before).and(&now);
        left.0.extend(self.life.and(&now).0);
        left.0
            .iter()
            .filter(|(_, target)| !target.starts_with("/proc/") && !is_hosts(target))
            .filter(|(_, target)| certain || is_unique(target))
            .map(|(number, target)| format!("{number} {target}"))
            .collect()
    }
}

/// Whether nothing that is opened later looks like it.
fn is_unique(target: &str) -> bool {
    target.starts_with("socket:[") || target.starts_with("pipe:[")
}

/// Whether it is a socket that listens.
fn listens(number: RawFd) -> bool {
    let mut listens: c_int = 0;
    let mut size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: fills in the number, which is as large as it says. A descriptor that is closed by
    // now, or no socket, is an error.
    let status = unsafe {
        libc::getsockopt(
            number,
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut listens).cast::<c_void>(),
            &raw mut size,
        )
    };
    status == 0 && listens != 0
}

/// What a listener and the connections that it accepted have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Local {
    Port(u16),
    Path(Vec<u8>),
}

/// This end of a socket; `None`: it has no address, or of another family.
fn local(number: RawFd) -> Option<Local> {
    let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut size = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: fills in the address, for which there is room.
    let status = unsafe { libc::getsockname(number, address.as_mut_ptr().cast(), &raw mut size) };
    if status != 0 {
        return None;
    }
    // SAFETY: zeroed, and filled in as far as it goes.
    let address = unsafe { address.assume_init_ref() };
    match c_int::from(address.ss_family) {
        // Both have the port behind the family.
        libc::AF_INET | libc::AF_INET6 => {
            let inet = (&raw const *address).cast::<libc::sockaddr_in>();
            // SAFETY: large enough for either, and aligned for both.
            let port = unsafe { (*inet).sin_port };
            Some(Local::Port(u16::from_be(port)))
        }
        libc::AF_UNIX => {
            let unix = (&raw const *address).cast::<libc::sockaddr_un>();
            // SAFETY: large enough, and aligned for it.
            let path = unsafe { (*unix).sun_path };
            let path: Vec<u8> = path
                .iter()
                .map(|c| c.cast_unsigned())
                .take_while(|byte| *byte != 0)
                .collect();
            (!path.is_empty()).then_some(Local::Path(path))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd as _,
    };

    use super::*;

    #[test]
    fn a_file_left_open_is_named_and_one_that_was_closed_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| fs::File::create(dir.path().join(name)).unwrap();
        let before = Before::now();
        let (kept, closed) = (open("kept"), open("closed"));
        let mut opened = before.until_now();
        drop(closed);
        let later = open("later");
        opened.lived_alone_until(&Before::now().until_now());
        let ending = Ending::now();
        let _of_the_next = open("of-the-next");
        let left = opened.left(ending, |target| target.ends_with("host's"));
        let mine: Vec<_> = left
            .into_iter()
            .filter(|line| line.contains(dir.path().to_str().unwrap()))
            .collect();
        let line = |file: &fs::File, name: &str| {
            format!("{} {}", file.as_raw_fd(), dir.path().join(name).display())
        };
        let mut expected = [line(&kept, "kept"), line(&later, "later")];
        expected.sort_by_key(|line| line.split(' ').next().and_then(|it| it.parse::<i32>().ok()));
        assert_eq!(mine, expected);
    }

    #[test]
    fn connections_to_a_listener_of_the_process_are_left_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let open = Open::now();
        assert!(open.0.contains_key(&listener.as_raw_fd()));
        assert!(open.0.contains_key(&client.as_raw_fd()));
        assert!(!open.0.contains_key(&accepted.as_raw_fd()));
    }
}
