//! Crews with an app that must not be there twice: their workers are replaced one by one.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    config::Config,
    generation::Crew,
    registry::{Claimant, ROUTE},
    reload::{
        ReloadError, Reloader,
        launch::{LaunchError, Launched, Member},
    },
};

/// Why a crew is not taken, and when it is gone.
type Refused = (LaunchError, Option<BoxFuture<'static, ()>>);

impl Reloader {
    /// The crews in whose place one with these apps comes, as far as they have one loaded that must
    /// not be there twice.
    pub(in crate::reload) fn in_place_of(
        &self,
        config: &Config,
        members: &[Member],
    ) -> Vec<Arc<dyn Crew>> {
        let mut crews: Vec<Arc<dyn Crew>> = Vec::new();
        for member in members {
            if config.options_of(&member.name).overlap {
                continue;
            }
            let live = self.slots.get(&member.path).and_then(|it| it.live.as_ref());
            let Some(seat) = live.and_then(|live| live.lease.seat()) else {
                continue;
            };
            if !crews.iter().any(|crew| Arc::ptr_eq(crew, &seat.crew)) {
                crews.push(Arc::clone(&seat.crew));
            }
        }
        crews
    }

    /// Whether all apps of a crew can be switched to it: the workers before it, which have made
    /// room, are not enough to serve on for one of them.
    pub(super) fn vetted(
        &mut self,
        members: &[Member],
        result: Result<Launched, LaunchError>,
    ) -> Result<Launched, Refused> {
        let launched = result.map_err(|error| (error, None))?;
        let mut claimants = Vec::new();
        let verdict = members.iter().try_for_each(|member| {
            self.serial += 1;
            let claimant = Claimant {
                app: member.name.clone(),
                serial: self.serial,
            };
            claimants.push(claimant.clone());
            let said = launched.said.get(&member.path).cloned().unwrap_or_default();
            let vetted = self.vet(member, &claimant, &said);
            vetted.map_err(|error| LaunchError {
                app: Some(member.path.clone()),
                reason: error.to_string(),
                remedy: error.remedy(),
            })
        });
        for claimant in &claimants {
            self.registry.discard(claimant);
        }
        match verdict {
            Ok(()) => Ok(launched),
            // Nobody has it any more: it ends.
            Err(error) => Err((error, Some(launched.crew.gone()))),
        }
    }

    fn vet(
        &self,
        member: &Member,
        claimant: &Claimant,
        said: &super::Said,
    ) -> Result<(), ReloadError> {
        self.stage(claimant, said)?;
        let routes = self.registry.staged(claimant, ROUTE);
        let routes = routes.iter().filter_map(|route| route.parse().ok());
        for mount in routes.chain([member.mount.clone()]) {
            self.router.check(&mount, &member.path)?;
        }
        Ok(())
    }
}

/// Has the workers started again that have made room for a crew, as soon as that is gone.
pub(in crate::reload) fn fill(crews: Vec<Arc<dyn Crew>>, gone: Option<BoxFuture<'static, ()>>) {
    tokio::spawn(async move {
        if let Some(gone) = gone {
            gone.await;
        }
        for crew in crews {
            crew.refill();
        }
    });
}
