//! A host that serves, until it ends or goes on in a fresh process image.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time::Instant};

use super::{
    program::{Checked, Program},
    recipe::Recipe,
    signals::Signal,
    wishes::{Application, Asker, End, Wish, Wishes},
};
use crate::{
    admin::{HostAnswer, Image},
    config::Config,
    loader::StopReason,
    reload::Handle,
    server::{Heirlooms, Server, Unheard},
};

/// How long HTTP threads may take to end once nothing is left to serve.
const THREAD_END: Duration = Duration::from_secs(2);

/// A host that serves.
pub(super) struct Running {
    pub(super) handle: Handle,
    pub(super) server: Server,
    /// The actor behind the handle.
    pub(super) actor: JoinHandle<()>,
    /// What it listens on.
    pub(super) heirlooms: Heirlooms,
    /// What is in force.
    pub(super) config: Arc<Config>,
    /// How it was made.
    pub(super) recipe: Arc<Recipe>,
    /// How often the process was to go on in a fresh image so far.
    pub(super) restarts: u64,
}

/// What is there to go on with.
pub(super) struct Legacy {
    pub(super) heirlooms: Heirlooms,
    pub(super) unheard: Vec<Unheard>,
    /// Why there can be no new image after all.
    pub(super) failed: Option<String>,
}

impl Running {
    /// Serves to the end; `None`: there is nobody to go on. `image` tells whether it serves.
    ///
    /// # Errors
    /// The signal that ended it at once.
    pub(super) async fn run(
        mut self,
        wishes: &mut Wishes,
        program: &Program,
        image: &watch::Sender<Option<Image>>,
    ) -> Result<Option<Legacy>, Signal> {
        let Some(checked) = self.serve(wishes, program).await? else {
            return self.stop(wishes).await;
        };
        image.send_replace(None);
        let deadline = Instant::now() + self.config.defaults.drain;
        if !self.wind_down(deadline, wishes).await? {
            return self.stop(wishes).await;
        }
        let failed = program.check_again(&checked).await.err();
        self.hand_over(deadline, failed, wishes).await
    }

    /// Serves until it is to end (`None`), or to restart, and can.
    async fn serve(
        &mut self,
        wishes: &mut Wishes,
        program: &Program,
    ) -> Result<Option<Checked>, Signal> {
        loop {
            let who = match wishes.next().await {
                Wish::End(End::AtOnce(signal)) => return Err(signal),
                Wish::End(End::Stop(who)) => {
                    stopping(&who);
                    return Ok(None);
                }
                Wish::Apply(application) => match self.apply_for(application, wishes).await {
                    None => continue,
                    Some(End::AtOnce(signal)) => return Err(signal),
                    Some(End::Stop(who)) => {
                        stopping(&who);
                        return Ok(None);
                    }
                },
                Wish::Restart(who) => who,
            };
            // The program may take its time to answer; that is no reason not to end.
            let checked = tokio::select! {
                checked = program.check() => checked,
                end = wishes.end() => match end {
                    End::AtOnce(signal) => return Err(signal),
                    End::Stop(who) => {
                        stopping(&who);
                        return Ok(None);
                    }
                },
            };
            match checked {
                Ok(checked) => {
                    let (who, version) = (who.to_string(), checked.version.as_str());
                    tracing::info!(
                        event = "restarting",
                        who,
                        version,
                        "{who}: going on in a fresh process image, of version {version}",
                    );
                    wishes.answer_all(HostAnswer::Accepted {
                        restarts: self.restarts,
                    });
                    return Ok(Some(checked));
                }
                Err(reason) => {
                    let remedy = "put a program and a configuration in place that work";
                    tracing::error!(
                        event = "restart-refused",
                        reason,
                        remedy,
                        "{who} wants a restart, which is refused; serving on",
                    );
                    let remedy = remedy.to_owned();
                    wishes.put_apps_off();
                    wishes.answer(&HostAnswer::Refused { reason, remedy });
                }
            }
        }
    }

    /// Has a changed configuration in force for somebody. All else that is wished for waits, but
    /// not the end, which this returns.
    async fn apply_for(&mut self, application: Application, wishes: &mut Wishes) -> Option<End> {
        let Application { dry_run, reply } = application;
        let mut applied = pin!(self.apply(dry_run));
        let applied = loop {
            tokio::select! {
                applied = &mut applied => break applied,
                wish = wishes.fresh() => match wish {
                    Wish::End(end) => return Some(end),
                    wish => wishes.keep(wish),
                },
            }
        };
        // Who does not wait any more has the log.
        reply.map(|reply| reply.send(applied));
        None
    }

    /// Serves new requests on while what is under way ends: only then is the time in which nobody
    /// answers short, however long that takes. `false`: it is to end instead.
    async fn wind_down(&self, deadline: Instant, wishes: &mut Wishes) -> Result<bool, Signal> {
        self.handle.announce_shutdown(StopReason::Restart);
        tokio::select! {
            () = self.server.wind_down(deadline) => Ok(true),
            end = wishes.end() => match end {
                End::AtOnce(signal) => Err(signal),
                End::Stop(who) => {
                    stopping(&who);
                    Ok(false)
                }
            },
        }
    }

    /// Drains, stops all apps, and leaves the rest to who goes on. What outlasts `deadline` was told
    /// to end long ago.
    async fn hand_over(
        self,
        deadline: Instant,
        failed: Option<String>,
        wishes: &mut Wishes,
    ) -> Result<Option<Legacy>, Signal> {
        let Self {
            handle,
            server,
            actor,
            heirlooms,
            config,
            ..
        } = self;
        let drain = config.defaults.drain;
        let mut ended = pin!(async {
            let unheard = server.hand_over(Instant::now() + drain).await;
            handle.shutdown(deadline.max(Instant::now())).await;
            server.stop(Instant::now() + THREAD_END).await;
            let _ = actor.await;
            unheard
        });
        let mut goes_on = true;
        let unheard = loop {
            tokio::select! {
                unheard = &mut ended => break unheard,
                end = wishes.end() => match end {
                    End::AtOnce(signal) => return Err(signal),
                    End::Stop(Asker::Signal(signal)) if !goes_on => return Err(signal),
                    End::Stop(who) => {
                        if goes_on {
                            stopping(&who);
                            wishes.answer_all(HostAnswer::ending());
                        }
                        goes_on = false;
                    }
                }
            }
        };
        if !goes_on {
            tracing::info!(event = "stopped", "stopped");
            return Ok(None);
        }
        Ok(Some(Legacy {
            heirlooms,
            unheard,
            failed,
        }))
    }

    /// Drains, and stops all apps.
    async fn stop(self, wishes: &mut Wishes) -> Result<Option<Legacy>, Signal> {
        // Who connects from now on is refused, instead of waiting for nobody.
        drop(self.heirlooms);
        wishes.answer_all(HostAnswer::ending());
        let deadline = Instant::now() + self.config.defaults.drain;
        let ended = async {
            self.handle.announce_shutdown(StopReason::HostShutdown);
            self.server.drain(deadline).await;
            self.handle.shutdown(deadline).await;
            self.server.stop(Instant::now() + THREAD_END).await;
            let _ = self.actor.await;
        };
        tokio::select! {
            () = ended => {
                tracing::info!(event = "stopped", "stopped");
                Ok(None)
            }
            signal = wishes.at_once() => Err(signal),
        }
    }
}

fn stopping(who: &Asker) {
    let who = who.to_string();
    tracing::info!(
        event = "stopping",
        signal = who,
        "{who}: draining; a second signal stops at once",
    );
}
