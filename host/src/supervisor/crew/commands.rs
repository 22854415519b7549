//! What those who have a crew want of it.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::Crew;
use crate::{
    generation::{self, States, Stops, Tally},
    id::AppName,
    loader::StopReason,
    supervisor::muster::AllHanded,
    workers::Set,
};

/// How long workers may take to say what they have answered themselves.
const COUNTED: Duration = Duration::from_secs(1);

/// What those who have a crew want of it.
#[derive(Debug)]
pub(in crate::supervisor) enum Command {
    Announce {
        app: AppName,
        reason: StopReason,
    },
    Leave {
        app: AppName,
        reason: StopReason,
        done: oneshot::Sender<Option<Stops>>,
    },
    RunSchedule {
        app: AppName,
        name: String,
        reply: oneshot::Sender<Result<(), String>>,
    },
    SaveState {
        app: AppName,
        deadline: Instant,
        reply: oneshot::Sender<AllHanded>,
    },
    /// It takes requests again.
    Resume {
        app: AppName,
    },
    /// That worker is to go; its place stays empty.
    Vacate {
        number: u32,
        done: oneshot::Sender<()>,
    },
    /// Empty places are to have their workers.
    Refill,
    /// What comes to workers themselves is counted there.
    CountIn {
        app: AppName,
        tally: Arc<Tally>,
    },
    /// They say what has come.
    Count(oneshot::Sender<()>),
    /// Workers take connections themselves.
    Accept,
    /// They take none any more.
    StandAside(oneshot::Sender<()>),
}

impl generation::Crew for Crew {
    fn set(&self) -> &Set {
        &self.set
    }

    fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    fn announce(&self, app: &AppName, reason: StopReason) {
        // At the end of the host nobody else would answer.
        if !matches!(reason, StopReason::HostShutdown | StopReason::Restart) {
            self.set.turn_back(app);
        }
        let app = app.clone();
        let _ = self.commands.send(Command::Announce { app, reason });
    }

    fn leave(&self, app: &AppName, reason: StopReason) -> BoxFuture<'static, Option<Stops>> {
        let (done, left) = oneshot::channel();
        let app = app.clone();
        let _ = self.commands.send(Command::Leave { app, reason, done });
        async move {
            // An end of the other side is one, too.
            left.await.ok().flatten()
        }
        .boxed()
    }

    fn size(&self) -> u32 {
        *self.size.borrow()
    }

    fn vacate(&self, number: u32) -> BoxFuture<'static, ()> {
        let (done, gone) = oneshot::channel();
        let _ = self.commands.send(Command::Vacate { number, done });
        async move {
            // An end of the other side is one, too.
            let _ = gone.await;
        }
        .boxed()
    }

    fn refill(&self) {
        let _ = self.commands.send(Command::Refill);
    }

    fn stand_aside(&self) -> BoxFuture<'static, ()> {
        let (done, aside) = oneshot::channel();
        let _ = self.commands.send(Command::StandAside(done));
        async move {
            // An end of the other side is one, too.
            let _ = aside.await;
        }
        .boxed()
    }

    fn accept(&self) {
        let _ = self.commands.send(Command::Accept);
    }

    fn count_in(&self, app: &AppName, tally: &Arc<Tally>) {
        let (app, tally) = (app.clone(), Arc::clone(tally));
        let _ = self.commands.send(Command::CountIn { app, tally });
    }

    fn count(&self) -> Option<BoxFuture<'static, ()>> {
        self.listens.then(|| {
            let (done, counted) = oneshot::channel();
            let _ = self.commands.send(Command::Count(done));
            async move {
                // An end of the other side is one, too.
                let _ = timeout(COUNTED, counted).await;
            }
            .boxed()
        })
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        self.gone.clone().cancelled_owned().boxed()
    }

    fn save_state(
        &self,
        app: &AppName,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<States, String>> {
        let (reply, saved) = oneshot::channel();
        let app = app.clone();
        let _ = self.commands.send(Command::SaveState {
            app,
            deadline,
            reply,
        });
        async move {
            saved
                .await
                .unwrap_or_else(|_| Err("its workers have ended".to_owned()))
        }
        .boxed()
    }

    fn resume(&self, app: &AppName) {
        let app = app.clone();
        let _ = self.commands.send(Command::Resume { app });
    }

    fn run_schedule(&self, app: &AppName, name: &str) -> BoxFuture<'static, Result<(), String>> {
        let (reply, ran) = oneshot::channel();
        let (app, name) = (app.clone(), name.to_owned());
        let _ = self
            .commands
            .send(Command::RunSchedule { app, name, reply });
        async move {
            ran.await
                .unwrap_or_else(|_| Err("its workers have ended".to_owned()))
        }
        .boxed()
    }
}
