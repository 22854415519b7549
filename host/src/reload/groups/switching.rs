//! Switching the apps of a group to a crew that is ready.

use std::{sync::Arc, time::Instant};

use super::Waiting;
use crate::{
    config::Config,
    generation::{Body, Facts, Live, Seat},
    loader::StopReason,
    registry::{Claimant, ROUTE},
    reload::{
        ReloadError, Reloader,
        launch::{Launched, Member, Said},
        load::{self, Attempt, Enlisted, Loaded, Started, Times},
        services::{self, Asked},
        slot::Work,
    },
    watcher::Tracked,
};

impl Reloader {
    /// Switches all apps of a group to a crew.
    pub(super) fn switch(
        &mut self,
        mut requests: Vec<Waiting>,
        members: &[Member],
        launched: &Launched,
        began: Instant,
    ) {
        for member in members {
            let said = launched.said.get(&member.path).cloned().unwrap_or_default();
            let request = requests
                .iter()
                .position(|request| request.path == member.path);
            match request.map(|at| requests.swap_remove(at)) {
                Some(Waiting {
                    path,
                    mut attempt,
                    enlisted,
                }) => {
                    attempt.times.loaded_ms = began.elapsed().as_secs_f64() * 1_000.0;
                    attempt.times.setup_ms = said.setup.as_secs_f64() * 1_000.0;
                    let started = self.started(member, launched, said, &attempt, enlisted);
                    attempt.result = started.map(|started| Loaded::Started(Box::new(started)));
                    self.loaded(&path, attempt);
                }
                None => self.move_over(member, launched, said),
            }
        }
    }

    /// A generation of an app that asked for the crew.
    pub(in crate::reload) fn started(
        &mut self,
        member: &Member,
        launched: &Launched,
        said: Said,
        attempt: &Attempt,
        enlisted: Enlisted,
    ) -> Result<Started, ReloadError> {
        self.serial += 1;
        let claimant = Claimant {
            app: member.name.clone(),
            serial: self.serial,
        };
        let live = self.seated(&attempt.config, member, launched);
        if let Err(error) = self.stage(&claimant, &said) {
            self.registry.discard(&claimant);
            self.retire(&member.path, live, StopReason::Abandoned, None);
            return Err(error);
        }
        let routes = self.registry.staged(&claimant, ROUTE);
        let tracked = said.tracked.iter();
        let tracked = tracked.map(|path| Tracked::file_or_directory(path));
        Ok(Started {
            app: enlisted.app,
            live,
            claimant,
            routes: routes
                .iter()
                .filter_map(|mount| mount.parse().ok())
                .collect(),
            asked: Asked {
                tracked: tracked.chain(enlisted.tracked).collect(),
                schedules: said.schedules,
                stateless: None,
            },
            fingerprint: enlisted.fingerprint,
            staged: member.artifact.staged_path().to_owned(),
            elsewhere: Some((enlisted.group, Arc::clone(&member.artifact))),
            times: attempt.times,
        })
    }

    /// An app of the group that did not ask for the crew: its artifact is the same.
    fn move_over(&mut self, member: &Member, launched: &Launched, said: Said) {
        let found = self.slots.get(&member.path).and_then(|slot| {
            let (group, artifact) = slot.elsewhere.clone()?;
            Some((slot.app.clone()?, slot.loaded?, group, artifact))
        });
        let Some((app, (fingerprint, digest), group, artifact)) = found else {
            // It was removed meanwhile.
            let live = self.seated(&self.config, member, launched);
            self.retire(&member.path, live, StopReason::Removal, None);
            return self.stay_one(&member.path);
        };
        let loading = self.slots.get(&member.path).map(|slot| &slot.work);
        let serial = match loading {
            Some(Work::Loading(loading)) => loading.serial,
            _ => 0,
        };
        let mut attempt = Attempt {
            serial,
            config: Arc::clone(&self.config),
            digest: Some(digest),
            times: Times::default(),
            result: Err(ReloadError::Internal),
        };
        let enlisted = Enlisted {
            group,
            app,
            artifact,
            fingerprint,
            tracked: Vec::new(),
        };
        let started = self.started(member, launched, said, &attempt, enlisted);
        attempt.result = started.map(|started| Loaded::Started(Box::new(started)));
        self.loaded(&member.path, attempt);
    }

    pub(in crate::reload) fn seated(
        &self,
        config: &Config,
        member: &Member,
        launched: &Launched,
    ) -> Live {
        let tally = Arc::new(load::tally(
            &member.path,
            member.generation,
            config.options_of(&member.name),
            &self.sender,
        ));
        launched.crew.count_in(&member.name, &tally);
        let facts = Facts {
            app: member.name.clone(),
            load: self.serial,
            mount: member.mount.clone(),
            id: member.generation,
            digest: *member.artifact.staged().digest(),
            since: Instant::now(),
            footprint: None,
            tally,
            direct: Arc::default(),
        };
        let seat = Seat {
            app: member.name.clone(),
            crew: Arc::clone(&launched.crew),
        };
        Live::new(Body::Workers(seat), facts)
    }

    /// Notes what an app registers, for when it serves.
    pub(super) fn stage(&self, claimant: &Claimant, said: &Said) -> Result<(), ReloadError> {
        for (kind, key, value) in &said.registered {
            self.registry.stage(claimant, kind, key, value)?;
        }
        for (name, every) in &said.schedules {
            let value = services::schedule_value(*every);
            self.registry.stage_schedule(claimant, name, &value)?;
        }
        Ok(())
    }
}
