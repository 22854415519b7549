//! What can be set for each process group.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, thread, time::Duration};

use super::{
    CgroupPlace, Identity, IdentityError, ListenAddress, NotPermitted, Scheduling, SystemGroup,
    SystemUser,
};
use crate::id::GroupName;

mod set;
#[cfg(test)]
mod tests;

pub use set::GROUP_KEYS;

/// How the worker processes of a group are started, held and ended.
///
/// Each option takes effect whatever the others are. A time or a count of 0 is no limit, unless its
/// own text says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// Where its workers take connections themselves: what comes in there reaches its apps only.
    pub listen: Vec<ListenAddress>,
    /// How many workers there are.
    pub processes: NonZeroUsize,
    /// HTTP threads of each worker; `None`: see [`http_threads`](Self::http_threads).
    pub threads: Option<NonZeroUsize>,
    /// A worker is replaced after so many requests, to whichever app, less up to a tenth by
    /// chance; 0: never.
    pub max_requests: u64,
    /// A worker is replaced after so long, less up to a tenth by chance; zero: never.
    pub restart_interval: Duration,
    /// A worker that had no request for so long is ended, and started again by the next request;
    /// zero: never.
    pub inactivity_timeout: Duration,
    /// How long one request may take, from its head to the end of its response, before it is
    /// answered with 504, or cut; zero: as long as it takes.
    pub request_timeout: Duration,
    /// How long a worker may take to be ready before it is ended; zero: as long as it takes.
    pub startup_timeout: Duration,
    /// How long the requests of a worker may go on that is to end after `max_requests`,
    /// `restart_interval`, `cpu_time_limit` or a signal, before they are cut; zero: as long as they
    /// take.
    pub graceful_timeout: Duration,
    /// How long a worker that has no requests any more may take for its cleanup before it is
    /// killed; zero: as long as it takes.
    pub shutdown_timeout: Duration,
    /// How long a request may wait for a worker that takes it before it is answered with 504;
    /// zero: as long as it takes.
    pub queue_timeout: Duration,
    /// How long it may take to reach a worker's socket before the request is answered with 504;
    /// zero: five seconds, since another worker may take it.
    pub connect_timeout: Duration,
    /// How many connections may wait at a worker's socket; 0: as many as the system allows.
    pub backlog: u32,
    /// How many requests may wait for a worker at the same time; further ones are answered with
    /// 503 at once. 0: any number.
    pub queue: usize,
    /// A worker is killed and replaced when one of its HTTP threads did not turn for so long;
    /// zero: never.
    pub hang_timeout: Duration,
    /// Bytes that a worker may have in use; 0: any number.
    pub memory_limit: u64,
    /// How much of processors' time a worker may use before it is replaced; zero: any amount. The
    /// system counts whole seconds: a part of one is rounded up.
    pub cpu_time_limit: Duration,
    /// Where each worker has a control group, which limits memory to `memory_limit` for all that the
    /// worker starts, too, and ends with the worker.
    pub cgroup: CgroupPlace,
    /// Who the workers run as; `None`: the host's user.
    pub user: Option<SystemUser>,
    /// Their group; `None`: that of `user`, or else the host's.
    pub group: Option<SystemGroup>,
    /// Their supplementary groups; `None`: those of `user`, or else the host's.
    pub supplementary_groups: Option<Vec<SystemGroup>>,
    /// Permissions that files which they make do not get; `None`: the host's umask.
    pub umask: Option<u32>,
    /// Their working directory, absolute; `None`: the host's.
    pub home: Option<PathBuf>,
    /// What they are called in lists of processes; `None`: see
    /// [`display_name`](Self::display_name).
    pub display_name: Option<String>,
    /// Variables that they have besides those of the host, or in place of them.
    pub environment: BTreeMap<String, String>,
    /// Whether they, and what they start, can never gain rights by executing a file.
    pub no_new_privs: bool,
    /// Their nice value, from -20 to 19; 0: the host's.
    pub nice: i32,
    /// How the system's scheduler treats them.
    pub scheduling: Scheduling,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            processes: NonZeroUsize::MIN,
            threads: None,
            max_requests: 0,
            restart_interval: Duration::ZERO,
            inactivity_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
            startup_timeout: Duration::from_secs(60),
            graceful_timeout: Duration::from_secs(15),
            shutdown_timeout: Duration::from_secs(5),
            queue_timeout: Duration::ZERO,
            connect_timeout: Duration::from_secs(15),
            backlog: 100,
            queue: 1_000,
            hang_timeout: Duration::from_secs(300),
            memory_limit: 0,
            cpu_time_limit: Duration::ZERO,
            cgroup: CgroupPlace::Auto,
            user: None,
            group: None,
            supplementary_groups: None,
            umask: None,
            home: None,
            display_name: None,
            environment: BTreeMap::new(),
            no_new_privs: true,
            nice: 0,
            scheduling: Scheduling::Auto,
        }
    }
}

impl GroupOptions {
    /// HTTP threads of each worker: as was said, else as many as there are processor cores for
    /// each, and one at least.
    #[must_use]
    pub fn http_threads(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(|| {
            let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
            NonZeroUsize::new(cores / self.processes).unwrap_or(NonZeroUsize::MIN)
        })
    }

    /// What the workers are called in lists of processes.
    #[must_use]
    pub fn display_name(&self, name: &GroupName) -> String {
        let usual = || format!("replug: {name}");
        self.display_name.clone().unwrap_or_else(usual)
    }

    /// Who the workers run as, with all groups; `None`: as the host does, and nothing is to be
    /// changed.
    ///
    /// # Errors
    /// When the system does not tell the groups of `user`, or nothing says which its group is.
    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        Identity::of(
            self.user.as_ref(),
            self.group.as_ref(),
            self.supplementary_groups.as_deref(),
        )
    }

    /// Whether the host as it runs now has the rights to start such workers.
    ///
    /// # Errors
    /// When it has not; the option is named.
    pub fn permitted(&self) -> Result<(), NotPermitted> {
        if let Ok(Some(identity)) = self.identity() {
            identity.permitted()?;
        }
        NotPermitted::by_nice(self.nice)
    }
}
