//! `[groups.NAME]`, and what apps say of them.

use std::collections::BTreeMap;

use toml::{Spanned, de::DeValue};

use super::{GROUP_KEYS, Key, Reader};
use crate::{
    config::{GroupOptions, nearest, value::to_json},
    id::{AppName, GroupName},
};

/// Where something was said that groups must agree with: bytes of the file's text.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// `group`, of an app or of all: the value; `None`: embedded.
    groups_said: BTreeMap<Option<AppName>, (Option<GroupName>, usize)>,
}

impl Places {
    pub(super) fn say_group(&mut self, app: Option<&AppName>, group: Option<GroupName>, at: usize) {
        self.groups_said.insert(app.cloned(), (group, at));
    }
}

impl Reader<'_, '_> {
    pub(super) fn groups(&mut self, key: &Key<'_>, value: &Spanned<DeValue<'_>>) {
        let Some(table) = self.table(key, value) else {
            return;
        };
        // By line, so that the second of two is the one that is named.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            match GroupName::try_from(&**key.get_ref()) {
                Ok(name) => self.group(key, name, value),
                Err(error) => self.problems.add(Some(key.span()), &error.to_string()),
            }
        }
    }

    fn group(&mut self, key: &Key<'_>, name: GroupName, value: &Spanned<DeValue<'_>>) {
        let mut group = GroupOptions::default();
        let mut identity_at = None;
        self.each(key, value, GROUP_KEYS, |this, key, value| {
            let at = value.span().start;
            match value.get_ref() {
                DeValue::Table(variables) if key == "environment" => {
                    for (name, value) in variables {
                        let json = to_json(value.get_ref());
                        if let Err(error) = group.set_variable(name.get_ref(), &json) {
                            this.problems.add(Some(value.span()), &error.to_string());
                        }
                    }
                }
                value => group.set(key, &to_json(value), this.dir)?,
            }
            if key == "user" {
                identity_at = Some(at);
            }
            Ok(())
        });
        if let (Some(at), Err(error)) = (identity_at, group.identity()) {
            let text = format!("`user`: {error}");
            self.problems.add(Some(at..at), &text);
        }
        self.file.groups.insert(name, group);
    }

    /// What can only be judged when all has been read.
    pub(super) fn check_groups(&mut self) {
        let places = std::mem::take(&mut self.places);
        for (group, at) in places.groups_said.values() {
            if let Some(group) = group
                && !self.file.groups.contains_key(group)
            {
                self.problems
                    .add(Some(*at..*at), &self.unknown_group(group));
            }
        }
    }

    fn unknown_group(&self, group: &GroupName) -> String {
        let known = self.file.groups.keys().map(GroupName::as_str);
        match nearest(group.as_str(), known) {
            Some(meant) => format!("there is no group `{group}`; did you mean `{meant}`?"),
            None => format!("there is no group `{group}`; make it with [groups.{group}]"),
        }
    }
}
