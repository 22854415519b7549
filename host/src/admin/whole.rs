//! Commands that concern the host as a whole.

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::reload::Applied;

/// What the host as a whole is asked for.
#[derive(Debug)]
pub enum HostRequest {
    /// To drain, and to end.
    Stop,
    /// To go on in a fresh process image. The answer comes before that, when it is known whether
    /// the program to go on in runs.
    Restart(oneshot::Sender<HostAnswer>),
    /// To read its configuration again, and to have it in force.
    Apply {
        /// Only to say what would change.
        dry_run: bool,
        /// Told what came of it.
        reply: oneshot::Sender<Applied>,
    },
}

/// What is asked for with `POST /apply`.
#[derive(Debug, Deserialize, Serialize)]
pub struct ApplyQuery {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// What it says to a restart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum HostAnswer {
    /// It is under way.
    Accepted {
        /// As in [`Image`], of the image that ends.
        restarts: u64,
    },
    /// It will not be done.
    Refused {
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
}

/// A process image that serves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Image {
    /// The process's id.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// How often the process was to go on in a fresh image so far.
    pub restarts: u64,
    /// Why the last time came to nothing, and the image is the same as before; `null`: it did not.
    pub failed: Option<String>,
}

impl HostAnswer {
    /// What a host that ends says to all else.
    #[must_use]
    pub fn ending() -> Self {
        Self::Refused {
            reason: "the host is about to end".to_owned(),
            remedy: "start it again".to_owned(),
        }
    }
}

type Requests = mpsc::UnboundedSender<HostRequest>;

pub(super) fn routes(requests: Requests, image: watch::Receiver<Option<Image>>) -> Router {
    Router::new()
        .route("/stop", post(stop))
        .route("/restart", post(restart))
        .route("/apply", post(apply))
        .with_state(requests)
        .merge(Router::new().route("/ready", get(ready)).with_state(image))
}

async fn stop(State(requests): State<Requests>) -> StatusCode {
    // Who is gone has ended, which is what is asked for.
    let _ = requests.send(HostRequest::Stop);
    StatusCode::ACCEPTED
}

async fn restart(State(requests): State<Requests>) -> Json<HostAnswer> {
    let (reply, replied) = oneshot::channel();
    let _ = requests.send(HostRequest::Restart(reply));
    Json(replied.await.unwrap_or_else(|_| HostAnswer::ending()))
}

async fn apply(
    State(requests): State<Requests>,
    Query(ApplyQuery { dry_run }): Query<ApplyQuery>,
) -> Json<Applied> {
    let (reply, replied) = oneshot::channel();
    let _ = requests.send(HostRequest::Apply { dry_run, reply });
    Json(replied.await.unwrap_or_else(|_| Applied::ending()))
}

/// Waits until there is something to tell.
async fn ready(State(mut image): State<watch::Receiver<Option<Image>>>) -> Response {
    match image.wait_for(Option::is_some).await {
        Ok(image) => Json(image.clone()).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
