//! What a running host is wished to do as a whole: by signals, commands and apps.

use std::{collections::VecDeque, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::signals::{Signal, Signals};
use crate::{
    admin::{HostAnswer, HostRequest},
    id::AppName,
    reload::Applied,
};

/// An image that is there because of a restart, or has refused one, goes on for so long at least, as
/// far as apps have a say: one that wants a restart at each setup would have one after the other.
const AT_LEAST: Duration = Duration::from_secs(10);

/// What a host is to do.
#[derive(Debug)]
pub(super) enum Wish {
    End(End),
    /// Go on in a fresh process image.
    Restart(Asker),
    /// Have a changed configuration in force.
    Apply(Application),
}

/// The wish for a changed configuration.
#[derive(Debug)]
pub(super) struct Application {
    /// Only to be told what would change.
    pub(super) dry_run: bool,
    /// Who waits to be told; `None`: the log is.
    pub(super) reply: Option<oneshot::Sender<Applied>>,
}

/// How it is to end.
#[derive(Debug)]
pub(super) enum End {
    /// Drain before.
    Stop(Asker),
    AtOnce(Signal),
}

/// Who wishes it.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    Signal(Signal),
    Command,
    App(AppName),
}

impl std::fmt::Display for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signal(signal) => f.write_str(signal.name()),
            Self::Command => f.write_str("a command"),
            Self::App(app) => write!(f, "app {app}"),
        }
    }
}

/// The wishes, as they come.
pub(super) struct Wishes {
    signals: Signals,
    commands: mpsc::UnboundedReceiver<HostRequest>,
    apps: mpsc::Receiver<AppName>,
    /// From when on apps' wishes for a restart are heard.
    apps_from: Instant,
    /// One that came before.
    put_off: Option<AppName>,
    /// Wishes that came while something else was being done.
    kept: VecDeque<Wish>,
    waiting: Vec<oneshot::Sender<HostAnswer>>,
    /// What a restart that is asked for now is told; `None`: that will be known later.
    answer: Option<HostAnswer>,
}

impl Wishes {
    /// `restarted`: there was an image before.
    pub(super) fn new(
        signals: Signals,
        commands: mpsc::UnboundedReceiver<HostRequest>,
        apps: mpsc::Receiver<AppName>,
        restarted: bool,
    ) -> Self {
        let now = Instant::now();
        Self {
            signals,
            commands,
            apps,
            apps_from: if restarted { now + AT_LEAST } else { now },
            put_off: None,
            kept: VecDeque::new(),
            waiting: Vec::new(),
            answer: None,
        }
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Wish {
        match self.kept.pop_front() {
            Some(wish) => wish,
            None => self.fresh().await,
        }
    }

    /// One that is to be heard later. Signals for what is to be done anyway count once.
    pub(super) fn keep(&mut self, wish: Wish) {
        let is_signal = |wish: &Wish| matches!(wish, Wish::Apply(Application { reply: None, .. }));
        if !(is_signal(&wish) && self.kept.iter().any(is_signal)) {
            self.kept.push_back(wish);
        }
    }

    /// The next one that was not kept. Cancel-safe.
    pub(super) async fn fresh(&mut self) -> Wish {
        loop {
            let is_early = self.put_off.is_some();
            tokio::select! {
                signal = self.signals.next() => return match signal {
                    Signal::Terminate | Signal::Interrupt => {
                        Wish::End(End::Stop(Asker::Signal(signal)))
                    }
                    Signal::Quit => Wish::End(End::AtOnce(signal)),
                    Signal::Apply => Wish::Apply(Application {
                        dry_run: false,
                        reply: None,
                    }),
                    Signal::Restart => Wish::Restart(Asker::Signal(signal)),
                },
                Some(command) = self.commands.recv() => return self.command(command),
                Some(app) = self.apps.recv(), if !is_early => match self.early() {
                    false => return Wish::Restart(Asker::App(app)),
                    true => self.put_off(app),
                },
                () = sleep_until(self.apps_from), if is_early => {
                    if let Some(app) = self.put_off.take() {
                        return Wish::Restart(Asker::App(app));
                    }
                }
            }
        }
    }

    fn command(&mut self, command: HostRequest) -> Wish {
        match command {
            HostRequest::Stop => Wish::End(End::Stop(Asker::Command)),
            HostRequest::Apply { dry_run, reply } => Wish::Apply(Application {
                dry_run,
                reply: Some(reply),
            }),
            HostRequest::Restart(reply) => {
                match &self.answer {
                    None => self.waiting.push(reply),
                    Some(answer) => drop(reply.send(answer.clone())),
                }
                Wish::Restart(Asker::Command)
            }
        }
    }

    /// What apps wished for cannot be: not again at once.
    pub(super) fn put_apps_off(&mut self) {
        self.apps_from = Instant::now() + AT_LEAST;
    }

    fn early(&self) -> bool {
        Instant::now() < self.apps_from
    }

    fn put_off(&mut self, app: AppName) {
        tracing::warn!(
            event = "restart-put-off",
            app = app.as_str(),
            remedy = "have it ask when something has changed, and not at each setup",
            "it asks for another restart within {AT_LEAST:?}; that is put off",
        );
        self.put_off = Some(app);
    }

    /// The next one that ends the host. Who wants a restart meanwhile has it, or waits to be told.
    pub(super) async fn end(&mut self) -> End {
        loop {
            match self.fresh().await {
                Wish::End(end) => return end,
                // Unless it is known by now that there will be no later.
                wish @ Wish::Apply(_) if self.answer.is_none() => self.keep(wish),
                Wish::Apply(_) | Wish::Restart(_) => {}
            }
        }
    }

    /// The next one that ends a host at once that is draining to end.
    pub(super) async fn at_once(&mut self) -> Signal {
        loop {
            if let End::AtOnce(signal) | End::Stop(Asker::Signal(signal)) = self.end().await {
                return signal;
            }
        }
    }

    /// Tells all who want a restart what becomes of it.
    pub(super) fn answer(&mut self, answer: &HostAnswer) {
        for reply in self.waiting.drain(..) {
            // Who does not wait any more need not know.
            let _ = reply.send(answer.clone());
        }
    }

    /// The same for all that are still to come.
    pub(super) fn answer_all(&mut self, answer: HostAnswer) {
        self.answer(&answer);
        self.answer = Some(answer);
    }
}
