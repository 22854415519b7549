//! Having a crew started.

use std::{pin::pin, sync::Arc, time::Instant};

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::{Launch, Launching, Waiting};
use crate::{
    config::Config,
    generation::Crew,
    id::GroupName,
    reload::{
        Reloader,
        event::Event,
        launch::{CrewWanted, Member},
    },
};

/// A crew that is to be started.
#[derive(Debug)]
pub(in crate::reload) struct Order {
    pub(in crate::reload) group: GroupName,
    /// The loads that it is for, unless a transaction has them.
    pub(in crate::reload) requests: Vec<Waiting>,
    /// Crews whose workers make room for it.
    pub(in crate::reload) in_place_of: Vec<Arc<dyn Crew>>,
    /// The transaction that it is for.
    pub(in crate::reload) apply: Option<u64>,
}

impl Reloader {
    /// Whether workers of that group are being started.
    pub(in crate::reload) fn is_launching(&self, group: &GroupName) -> bool {
        let groups = self.groups.as_ref();
        let group = groups.and_then(|groups| groups.groups.get(group));
        group.is_some_and(|group| group.launching.is_some())
    }

    /// Starts a crew.
    pub(in crate::reload) fn launch_members(
        &mut self,
        order: Order,
        members: Vec<Member>,
        config: &Arc<Config>,
    ) {
        let Order {
            group: name,
            requests,
            in_place_of,
            apply,
        } = order;
        // A transaction has them stand aside when all of it is ready.
        let before = match apply {
            None => self.crews_of(&name),
            Some(_) => Vec::new(),
        };
        self.move_along(&members);
        self.serial += 1;
        let number = self.serial;
        let Some(groups) = &mut self.groups else {
            return;
        };
        groups.groups.entry(name.clone()).or_default().launching = Some(Launching {
            number,
            requests,
            in_place_of: in_place_of.clone(),
        });
        let (asks, mut asked) = mpsc::unbounded_channel();
        let wanted = CrewWanted {
            members: members.clone(),
            in_place_of,
            asks,
        };
        let launched = groups.launcher.launch(config, &name, wanted);
        let sender = self.sender.clone();
        let all_end = self.all_end.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            // Dropped at the host's end: nothing of it stays.
            let mut launched = pin!(all_end.run_until_cancelled(launched));
            let result = loop {
                tokio::select! {
                    result = &mut launched => break result,
                    Some(ask) = asked.recv() => {
                        let (group, launch) = (name.clone(), number);
                        let _ = sender.send(Event::StateAsked { group, launch, ask });
                    }
                }
            };
            let Some(result) = result else { return };
            if result.is_ok() {
                // What they take themselves is switched with what is passed on to them: nothing
                // begins any more where it is old, and waits until the new ones accept.
                let aside = join_all(before.iter().map(|crew| crew.stand_aside()));
                if all_end.run_until_cancelled(aside).await.is_none() {
                    return;
                }
            }
            let launch = Launch {
                group: name,
                members,
                before,
                result,
                began,
                apply,
            };
            let _ = sender.send(Event::Launched(Box::new(launch)));
        });
    }
}
