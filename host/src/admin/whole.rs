//! Commands that concern the host as a whole.

use axum::{Json, Router, extract::State, routing::post};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// What the host as a whole is asked for.
#[derive(Debug)]
pub enum HostRequest {
    /// To drain, and to end.
    Stop,
    /// To go on in a fresh process image. The answer comes before that, when it is known whether
    /// the program to go on in runs; else why it does not.
    Restart(oneshot::Sender<Result<(), String>>),
}

/// What it says to that.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum HostAnswer {
    /// It is under way.
    Accepted,
    /// It will not be done.
    Refused {
        /// Why.
        reason: String,
    },
}

type Requests = mpsc::UnboundedSender<HostRequest>;

pub(super) fn routes(requests: Requests) -> Router {
    Router::new()
        .route("/stop", post(stop))
        .route("/restart", post(restart))
        .with_state(requests)
}

fn ending() -> HostAnswer {
    HostAnswer::Refused {
        reason: "the host is about to end".to_owned(),
    }
}

async fn stop(State(requests): State<Requests>) -> Json<HostAnswer> {
    let sent = requests.send(HostRequest::Stop);
    Json(sent.map_or_else(|_| ending(), |()| HostAnswer::Accepted))
}

async fn restart(State(requests): State<Requests>) -> Json<HostAnswer> {
    let (reply, replied) = oneshot::channel();
    let _ = requests.send(HostRequest::Restart(reply));
    Json(match replied.await {
        Ok(Ok(())) => HostAnswer::Accepted,
        Ok(Err(reason)) => HostAnswer::Refused { reason },
        Err(_) => ending(),
    })
}
