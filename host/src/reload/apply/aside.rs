//! Before the switch: workers that take connections themselves stand aside.
//!
//! What comes in at a group's own sockets is switched with what is passed on to its workers. So when
//! all of a transaction is ready, those who serve are told to take nothing more; who connects waits
//! in the backlog, until new workers accept, or the old ones again if the transaction fails.

use futures_util::future::join_all;

use super::{Applying, Aside};
use crate::reload::{Reloader, event::Event};

impl Reloader {
    /// All is ready: commits as soon as nothing begins any more at sockets of groups that change.
    pub(super) fn apply_stand_aside(&mut self) {
        let Some(applying) = &self.applying else {
            return;
        };
        if applying.aside.is_some() {
            return;
        }
        let aside = self.listening(applying);
        let standing = aside
            .iter()
            .flat_map(|it| it.before.iter().map(|crew| crew.stand_aside()));
        let standing: Vec<_> = standing.collect();
        let number = applying.number;
        if let Some(applying) = &mut self.applying {
            applying.aside = Some(aside);
        }
        if standing.is_empty() {
            return self.commit();
        }
        let (sender, all_end) = (self.sender.clone(), self.all_end.clone());
        tokio::spawn(async move {
            if all_end
                .run_until_cancelled(join_all(standing))
                .await
                .is_some()
            {
                let _ = sender.send(Event::AppliedAside { number });
            }
        });
    }

    /// Whether they have been told to, and all is about to be switched.
    pub(in crate::reload) fn is_applied_aside(&self) -> bool {
        let applying = self.applying.as_ref();
        applying.is_some_and(|applying| applying.aside.is_some())
    }

    /// They have stood aside.
    pub(in crate::reload) fn applied_aside(&mut self, number: u64) {
        if self.applying.as_ref().is_some_and(|it| it.number == number) {
            self.commit();
        }
    }

    fn listening(&self, applying: &Applying) -> Vec<Aside> {
        let groups = &applying.order.config.groups;
        let crews = applying.crews.iter();
        let listening = crews.filter(|(name, _)| {
            let options = groups.get(*name);
            options.is_some_and(|options| !options.listen.is_empty())
        });
        listening
            .map(|(name, manned)| Aside {
                crew: manned.as_ref().and_then(|it| it.crew.clone()),
                before: self.crews_of(name),
            })
            .collect()
    }
}
