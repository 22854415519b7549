//! Which loads can go into one crew.

use super::Waiting;
use crate::{
    id::{ArtifactPath, GroupName},
    reload::{Reloader, error::ReloadError},
};

impl Reloader {
    /// Takes out the loads that one crew can have all of: of two apps that want one mount or one
    /// name, the first. The other one stays, for when it is known whether the first has got it; one
    /// that wants what an app has that serves is refused, and comes second.
    pub(super) fn compatible(&mut self, name: &GroupName) -> (Vec<Waiting>, Vec<Waiting>) {
        let group = self.groups.as_mut();
        let group = group.and_then(|groups| groups.groups.get_mut(name));
        let Some(group) = group else {
            return Default::default();
        };
        let mut enlisted = std::mem::take(&mut group.enlisted);
        // As in the host itself: the order of the command line, then that of their coming.
        enlisted.sort_by_key(|waiting| {
            let first = self.first.as_ref();
            let place = first.and_then(|first| first.place(&waiting.path));
            place.unwrap_or(usize::MAX)
        });
        let mut requests: Vec<Waiting> = Vec::new();
        let mut refused = Vec::new();
        let mut later = Vec::new();
        for mut waiting in enlisted {
            let clashes = |other: &Waiting| {
                let (one, other) = (&waiting.enlisted.app, &other.enlisted.app);
                one.mount == other.mount || one.name == other.name
            };
            if let Err(error) = self.is_free(name, &waiting) {
                waiting.attempt.result = Err(error);
                refused.push(waiting);
            } else if requests.iter().any(clashes) {
                later.push(waiting);
            } else {
                requests.push(waiting);
            }
        }
        if let Some(groups) = &mut self.groups
            && let Some(group) = groups.groups.get_mut(name)
        {
            group.enlisted.extend(later);
        }
        (requests, refused)
    }

    /// Whether no app that serves has its mount, or is called as it is in its group: there, names
    /// tell apps apart.
    fn is_free(&self, group: &GroupName, waiting: &Waiting) -> Result<(), ReloadError> {
        let app = &waiting.enlisted.app;
        self.router.check(&app.mount, &waiting.path)?;
        let namesake = |path: &ArtifactPath| *path != waiting.path;
        let namesake = self.slots.iter().find(|(path, slot)| {
            let is_here = slot.elsewhere.as_ref().is_some_and(|(its, _)| its == group);
            is_here && namesake(path) && slot.name() == Some(&app.name)
        });
        let Some((path, _)) = namesake else {
            return Ok(());
        };
        Err(ReloadError::Workers {
            group: group.clone(),
            reason: format!("it has an app `{}` already, from {path}", app.name),
            remedy: "give one of the two another name, as [apps.NAME] with its path in the \
                     configuration or by export_app!(app, name = \"…\"), or another group"
                .to_owned(),
        })
    }
}
