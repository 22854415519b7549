//! The end of a worker that is told to end.

use std::time::Duration;

use tokio::time::Instant;

use super::Worker;
use crate::{
    channel::{Order, Receiver, Report},
    exit_code::ExitCode,
    loader::StopReason,
};

/// How long HTTP threads may take to end once nothing is left to serve.
const THREAD_END: Duration = Duration::from_secs(2);

/// How long connections may take to be on their way to another worker.
const PASSING: Duration = Duration::from_secs(2);

impl Worker {
    /// Finishes what is under way, and stops all apps. What the supervisor says meanwhile is heard
    /// for its end only: a worker does not outlive it.
    pub(super) async fn stop(
        mut self,
        reason: StopReason,
        drain: Option<Duration>,
        orders: &mut Receiver<Order>,
    ) -> ExitCode {
        let deadline = end_of(drain);
        let ended = async {
            self.handle.announce_shutdown(reason);
            if let Some(entrance) = &mut self.entrance {
                if goes_on_elsewhere(reason) {
                    entrance.stand_aside().await;
                } else {
                    entrance.close().await;
                }
                self.upstream.report(Report::StoodAside { time: None });
            }
            self.upstream.give_up();
            self.server.drain(deadline).await;
            self.count().await;
            if let Some(entrance) = &self.entrance {
                entrance.flush(deadline.min(Instant::now() + PASSING)).await;
            }
            self.handle.shutdown(deadline).await;
            self.server.stop(Instant::now() + THREAD_END).await;
            let _ = self.actor.await;
            self.writer.finish().await;
        };
        let deaf = async { while orders.next().await.is_ok() {} };
        tokio::select! {
            () = ended => ExitCode::Ok,
            () = deaf => ExitCode::NoHost,
        }
    }
}

/// When so much time is over; `None`: as long as it takes.
pub(super) fn end_of(time: Option<Duration>) -> Instant {
    /// A century.
    const EVER: Duration = Duration::from_secs(3_155_760_000);
    let now = Instant::now();
    time.and_then(|time| now.checked_add(time))
        .unwrap_or(now + EVER)
}

/// Whether somebody takes the connections of a worker that ends for that reason.
fn goes_on_elsewhere(reason: StopReason) -> bool {
    use StopReason::{Abandoned, HostShutdown, Inactivity, Removal};
    !matches!(reason, Abandoned | HostShutdown | Inactivity | Removal)
}
