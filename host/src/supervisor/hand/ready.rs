//! From a started process to a worker that is ready.

use std::{os::unix::net::UnixStream, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{Asks, Owned};
use crate::{
    channel::{self, Begin, ChannelError, Handed, Order, Receiver, Report, Sender},
    process::child::Child,
    reload::StateAsk,
    supervisor::crew::Plan,
};

/// The way to a worker, and its first word.
pub(super) type Answered = (Sender<Order>, Receiver<Report>, Report);

/// Tells the worker what to load, gets it the states that its apps ask for, and waits until it is
/// ready or says why it is not.
///
/// The outer error is the time that was given, and is over: its own, without that in which it waits
/// for a state.
pub(super) async fn begin(
    plan: &Plan,
    number: u32,
    end: UnixStream,
    child: &Child,
    asks: &Asks,
) -> Result<Result<Answered, ChannelError>, Duration> {
    let within = plan.startup_timeout();
    let began = Instant::now();
    let opening = channel::open(end);
    let opened = match within {
        Some(within) => timeout(within, opening).await.map_err(|_| within)?,
        None => opening.await,
    };
    let (sender, receiver) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error)),
    };
    let mut starting = Starting {
        plan,
        number,
        asks,
        sender,
        receiver,
        left: within.map(|within| within.saturating_sub(began.elapsed())),
    };
    // For when this is given up; what else ends it has more to say.
    let mut owned = Owned::new(child.clone());
    let report = starting.run().await;
    owned.is_kept = true;
    let Starting {
        sender, receiver, ..
    } = starting;
    match report {
        Ok(Some(report)) => Ok(Ok((sender, receiver, report))),
        Ok(None) => Err(within.unwrap_or_default()),
        Err(error) => Ok(Err(error)),
    }
}

struct Starting<'a> {
    plan: &'a Plan,
    number: u32,
    asks: &'a Asks,
    sender: Sender<Order>,
    receiver: Receiver<Report>,
    /// How much of its time is left; `None`: any.
    left: Option<Duration>,
}

impl Starting<'_> {
    /// `None`: its time is over.
    async fn run(&mut self) -> Result<Option<Report>, ChannelError> {
        let begin = Begin {
            number: self.number,
            registry: self.plan.registry.borrow().to_string(),
            ..self.plan.begin.clone()
        };
        self.sender.send(&Order::Begin(Box::new(begin))).await?;
        let mut asked = FuturesUnordered::new();
        loop {
            let (began, waits) = (Instant::now(), !asked.is_empty());
            tokio::select! {
                report = self.receiver.next() => match report? {
                    Report::StateWanted { call, app } => {
                        let answer = self.ask(&app);
                        asked.push(async move { (call, answer.await) });
                    }
                    report => return Ok(Some(report)),
                },
                Some((call, answer)) = asked.next() => {
                    let gone = |_| Err("the one before it cannot hand it over any more".to_owned());
                    let state = answer.unwrap_or_else(gone);
                    self.sender.send(&Order::State { call, state }).await?;
                }
                () = over(self.left), if !waits => return Ok(None),
            }
            if let (Some(left), false) = (&mut self.left, waits) {
                *left = left.saturating_sub(began.elapsed());
            }
        }
    }

    fn ask(&self, app: &str) -> oneshot::Receiver<Handed> {
        let (reply, answer) = oneshot::channel();
        if let Some(app) = self.plan.path_of(app) {
            let worker = self.number;
            // Nobody hears it where this start is not wanted any more.
            let _ = self.asks.send(StateAsk { app, worker, reply });
        }
        answer
    }
}

async fn over(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}
