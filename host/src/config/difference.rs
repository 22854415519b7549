//! What one configuration has otherwise than another.

use std::collections::BTreeSet;

use super::{AppOptions, Config, GroupOptions, ListenAddress};
use crate::id::{AppName, GroupName};

/// What a new configuration has otherwise than the one in force, but for apps: what these are called
/// is not known from a configuration alone ([`Config::app_difference`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Settings of the server that only a restart takes.
    pub restart: Vec<String>,
    /// Where it is to listen from now on, too.
    pub listen: Vec<ListenAddress>,
    /// Where it is not to listen any more.
    pub unlisten: Vec<ListenAddress>,
    /// Groups that there were not.
    pub new_groups: Vec<GroupName>,
    /// Groups that there are no more.
    pub old_groups: Vec<GroupName>,
    /// Groups with other options, and which these are.
    pub groups: Vec<(GroupName, Vec<&'static str>)>,
}

/// What a new configuration has otherwise for one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppDifference {
    /// What takes a new generation.
    pub fresh: Vec<&'static str>,
    /// What is in force as soon as it is said.
    pub live: Vec<&'static str>,
}

impl Difference {
    /// What `new` has otherwise than `old`.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let only_in = |one: &[ListenAddress], other: &[ListenAddress]| -> Vec<ListenAddress> {
            let mut left = other.to_vec();
            let is_new = |address: &&ListenAddress| {
                let found = left.iter().position(|it| it == *address);
                found.map(|at| left.swap_remove(at)).is_none()
            };
            one.iter().filter(is_new).cloned().collect()
        };
        let known: BTreeSet<_> = old.groups.keys().collect();
        let wanted: BTreeSet<_> = new.groups.keys().collect();
        let groups = new.groups.iter().filter_map(|(name, options)| {
            let keys = other_group_options(old.groups.get(name)?, options);
            (!keys.is_empty()).then(|| (name.clone(), keys))
        });
        let mut restart = Vec::new();
        let mut note = |key: &str, other: bool| restart.extend(other.then(|| key.to_owned()));
        note("threads", old.threads != new.threads);
        note("staging-dir", old.staging_dir != new.staging_dir);
        note("log-file", old.log_file != new.log_file);
        note("state-dir", old.state_dir != new.state_dir);
        note("control", old.control != new.control);
        // Workers inherit those sockets.
        for group in wanted.union(&known) {
            let other = own_listen(old, group) != own_listen(new, group);
            note(&format!("groups.{group}.listen"), other);
        }
        Self {
            restart,
            listen: only_in(&new.listen, &old.listen),
            unlisten: only_in(&old.listen, &new.listen),
            new_groups: wanted.difference(&known).copied().cloned().collect(),
            old_groups: known.difference(&wanted).copied().cloned().collect(),
            groups: groups.collect(),
        }
    }
}

/// Where a group listens itself.
fn own_listen<'a>(config: &'a Config, group: &GroupName) -> &'a [ListenAddress] {
    let options = config.groups.get(group);
    options.map_or(&[], |options| &options.listen)
}

impl Config {
    /// What `new` has otherwise for the app of that name, its mount left out.
    #[must_use]
    pub fn app_difference(&self, new: &Self, name: &AppName) -> AppDifference {
        let mut difference = other_app_options(self.options_of(name), new.options_of(name));
        if self.settings_of(name) != new.settings_of(name) {
            difference.fresh.push("settings");
        }
        difference
    }

    /// What `new` has otherwise for apps of which nothing is said.
    #[must_use]
    pub fn defaults_difference(&self, new: &Self) -> AppDifference {
        other_app_options(&self.defaults, &new.defaults)
    }
}

/// The keys of options that differ.
macro_rules! keys {
    ($one:ident, $other:ident; $($field:ident $key:literal),+ $(,)?) => {{
        let mut keys: Vec<&'static str> = Vec::new();
        $(if $one.$field != $other.$field {
            keys.push($key);
        })+
        keys
    }};
}

fn other_app_options(old: &AppOptions, new: &AppOptions) -> AppDifference {
    let live = keys!(old, new;
        reload "reload", preload "preload", overlap "overlap", settle "settle", poll "poll",
        track "track", drain "drain", setup_timeout "setup-timeout",
        cleanup_timeout "cleanup-timeout", probe "probe", probe_timeout "probe-timeout",
        guard "guard", wait_timeout "wait-timeout", max_waiting "max-waiting",
        max_quarantined "max-quarantined", state_limit "state-limit",
    );
    // A generation is made with these.
    let mut fresh = keys!(old, new;
        max_requests "max-requests", max_age "max-age", memory_limit "memory-limit",
        allow_panic_abort "allow-panic-abort", group "group",
    );
    if live.is_empty() && fresh.is_empty() && old != new {
        fresh.push("options");
    }
    AppDifference { fresh, live }
}

/// Workers are started with these, so that each takes new ones.
fn other_group_options(old: &GroupOptions, new: &GroupOptions) -> Vec<&'static str> {
    let mut keys = keys!(old, new;
        processes "processes", threads "threads", max_requests "max-requests",
        restart_interval "restart-interval", inactivity_timeout "inactivity-timeout",
        request_timeout "request-timeout", startup_timeout "startup-timeout",
        graceful_timeout "graceful-timeout", shutdown_timeout "shutdown-timeout",
        queue_timeout "queue-timeout", connect_timeout "connect-timeout", backlog "backlog",
        queue "queue", hang_timeout "hang-timeout", memory_limit "memory-limit",
        cpu_time_limit "cpu-time-limit", cgroup "cgroup", user "user", group "group",
        supplementary_groups "supplementary-groups", umask "umask", home "home",
        display_name "display-name", environment "environment", no_new_privs "no-new-privs",
        nice "nice", scheduling "scheduling", listen "listen",
    );
    if keys.is_empty() && old != new {
        keys.push("options");
    }
    keys
}

#[cfg(test)]
mod tests;
