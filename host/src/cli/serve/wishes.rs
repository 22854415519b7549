//! What a running host is wished to do as a whole: by signals, commands and apps.

use tokio::sync::{mpsc, oneshot};

use super::signals::{Signal, Signals};
use crate::{
    admin::{HostAnswer, HostRequest},
    id::AppName,
};

/// What a host is to do.
#[derive(Debug)]
pub(super) enum Wish {
    End(End),
    /// Go on in a fresh process image.
    Restart(Asker),
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
    apps: mpsc::UnboundedReceiver<AppName>,
    waiting: Vec<oneshot::Sender<HostAnswer>>,
    /// What a restart that is asked for now is told; `None`: that will be known later.
    answer: Option<HostAnswer>,
}

impl Wishes {
    pub(super) fn new(
        signals: Signals,
        commands: mpsc::UnboundedReceiver<HostRequest>,
        apps: mpsc::UnboundedReceiver<AppName>,
    ) -> Self {
        Self {
            signals,
            commands,
            apps,
            waiting: Vec::new(),
            answer: None,
        }
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            signal = self.signals.next() => match signal {
                Signal::Terminate | Signal::Interrupt => {
                    Wish::End(End::Stop(Asker::Signal(signal)))
                }
                Signal::Quit => Wish::End(End::AtOnce(signal)),
                Signal::Restart => Wish::Restart(Asker::Signal(signal)),
            },
            Some(command) = self.commands.recv() => match command {
                HostRequest::Stop => Wish::End(End::Stop(Asker::Command)),
                HostRequest::Restart(reply) => {
                    match &self.answer {
                        None => self.waiting.push(reply),
                        Some(answer) => drop(reply.send(answer.clone())),
                    }
                    Wish::Restart(Asker::Command)
                }
            },
            Some(app) = self.apps.recv() => Wish::Restart(Asker::App(app)),
        }
    }

    /// The next one that ends the host. Who wants a restart meanwhile has it, or waits to be told.
    pub(super) async fn end(&mut self) -> End {
        loop {
            if let Wish::End(end) = self.next().await {
                return end;
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
