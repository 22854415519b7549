//! Whether groups and apps agree, when all has been said.

use std::{collections::BTreeSet, fmt};

use super::Config;
use crate::{
    config::{IdentityError, nearest},
    id::GroupName,
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
    #[error("`user` of group `{0}`: {1}")]
    Identity(GroupName, IdentityError),
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

    fn no_group(&self, group: &GroupName, who: String) -> Wrong {
        let meant = nearest(group.as_str(), self.groups.keys().map(GroupName::as_str));
        Wrong::NoGroup {
            group: group.clone(),
            who,
            meant: meant.map(str::to_owned),
        }
    }
}
