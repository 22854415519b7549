//! Whether groups and apps agree, when all has been said.

use std::{collections::BTreeSet, fmt};

use super::Config;
use crate::{
    config::{AppOptions, IdentityError, ListenAddress, Policy, nearest},
    id::{AppName, GroupName},
};

/// Why a configuration is none, though each part of it is right: all that is wrong.
#[derive(Debug)]
pub struct ResolveError(Vec<Wrong>);

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("there is no group `{group}`, which {who}{}", hint(.meant))]
    NoGroup {
        group: GroupName,
        /// Who says that there is, as a clause.
        who: String,
        meant: Option<String>,
    },
    #[error(
        "an option of all groups is given, and there is no group; make one with --processes, or \
         [groups.NAME] in the file"
    )]
    NoGroups,
    #[error("`listen` of [server] is empty, and no group listens; name an address in one of them")]
    Nowhere,
    #[error("`{0}` is to be listened on by {1} and by {2}; give each an address of its own")]
    Twice(ListenAddress, String, String),
    #[error("{who} cannot be in group `{group}`, whose workers take connections themselves: {why}")]
    NotDirect {
        who: String,
        group: GroupName,
        why: &'static str,
    },
    #[error(
        "{0} is not in group `default`, which alone takes connections with --direct; put it there, \
         or give groups a `listen` of their own instead of --direct"
    )]
    Outside(String),
    #[error("`user` of group `{0}`: {1}")]
    Identity(GroupName, IdentityError),
}

fn who(app: Option<&AppName>) -> String {
    app.map_or_else(|| "an app".to_owned(), |app| format!("app `{app}`"))
}

fn hint(meant: &Option<String>) -> String {
    match meant {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => "; make it with [groups.NAME] in the file".to_owned(),
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, wrong) in self.0.iter().enumerate() {
            let end = if index + 1 < self.0.len() { "\n" } else { "" };
            write!(f, "{wrong}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ResolveError {}

impl ResolveError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        "correct it on the command line or in the file; docs/configuration.md says how groups are \
         configured"
    }
}

impl Config {
    /// `unheard` are the groups, or all of them, that an option was given for in vain.
    pub(super) fn check_groups(
        &self,
        unheard: BTreeSet<Option<GroupName>>,
        direct: bool,
    ) -> Result<(), ResolveError> {
        let mut wrong: Vec<Wrong> = unheard
            .into_iter()
            .map(|group| match group {
                Some(group) => self.no_group(&group, "an option is given for".to_owned()),
                None => Wrong::NoGroups,
            })
            .collect();
        let of_all = [(None, &self.defaults)].into_iter();
        let of_one = self.apps.iter().map(|(app, it)| (Some(app), &it.options));
        let mut named = BTreeSet::new();
        for (app, options) in of_all.chain(of_one) {
            if let Some(group) = &options.group
                && !self.groups.contains_key(group)
                // Once for all that follow the defaults.
                && (app.is_none() || self.defaults.group.as_ref() != Some(group))
                && named.insert(group)
            {
                let who = match app {
                    Some(app) => format!("app `{app}` is to be in"),
                    None => "apps are to be in".to_owned(),
                };
                wrong.push(self.no_group(group, who));
            }
        }
        self.check_listeners(direct, &mut wrong);
        for (name, options) in &self.groups {
            if let Err(error) = options.identity() {
                wrong.push(Wrong::Identity(name.clone(), error));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(ResolveError(wrong))
    }

    /// Whether nobody listens where somebody else does, and apps can be served there.
    fn check_listeners(&self, direct: bool, wrong: &mut Vec<Wrong>) {
        if self.listen.is_empty() && self.groups.values().all(|it| it.listen.is_empty()) {
            wrong.push(Wrong::Nowhere);
        }
        let server = self.listen.iter().map(|it| (it, "[server]".to_owned()));
        let groups = self.groups.iter().flat_map(|(name, group)| {
            let addresses = group.listen.iter();
            addresses.map(move |it| (it, format!("group `{name}`")))
        });
        let mut known: Vec<(&ListenAddress, String)> = Vec::new();
        for (address, who) in server.chain(groups) {
            let other = known.iter().find(|(known, _)| *known == address);
            match other {
                // Port 0 is another one each time.
                Some((_, other)) if !address.is_any() => {
                    wrong.push(Wrong::Twice(address.clone(), other.clone(), who));
                }
                _ => known.push((address, who)),
            }
        }
        let of_all = [(None, &self.defaults)].into_iter();
        let of_one = self.apps.iter().map(|(app, it)| (Some(app), &it.options));
        for (app, options) in of_all.chain(of_one) {
            wrong.extend(self.not_direct(app, options));
            let usual = GroupName::usual();
            if direct && options.group.as_ref() != Some(&usual) {
                wrong.push(Wrong::Outside(who(app)));
            }
        }
    }

    fn not_direct(&self, app: Option<&AppName>, options: &AppOptions) -> Option<Wrong> {
        let (group, of_group) = self.groups.get_key_value(options.group.as_ref()?)?;
        if of_group.listen.is_empty() {
            return None;
        }
        let why = if options.reload == Policy::OnRequest {
            "with `reload = \"on-request\"` a request would have to wait for other workers; set it \
             to \"eager\" or \"manual\""
        } else if !options.preload {
            "with `preload = false` nobody would take the first request; remove it"
        } else {
            return None;
        };
        Some(Wrong::NotDirect {
            who: who(app),
            group: group.clone(),
            why,
        })
    }

    fn no_group(&self, group: &GroupName, who: String) -> Wrong {
        let meant = nearest(group.as_str(), self.groups.keys().map(GroupName::as_str));
        Wrong::NoGroup {
            group: group.clone(),
            who,
            meant: meant.map(str::to_owned),
        }
    }
}
