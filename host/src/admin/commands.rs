//! Commands that concern one app.

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use crate::reload::{Command, Handle, HistoryStatus, Reply};

/// What is asked for with `POST /reload`.
#[derive(Debug, Deserialize, Serialize)]
pub struct ReloadQuery {
    /// The app's name, or its artifact's path.
    pub app: String,
    /// However many old generations of it stay loaded.
    #[serde(default)]
    pub force: bool,
    /// Answer when the new generation has been watched, and not when it begins to serve.
    #[serde(default)]
    pub guard: bool,
}

/// What is asked for with `POST /rollback`, `/pin` and `/unpin`, and `GET /history`.
#[derive(Debug, Deserialize, Serialize)]
pub struct AppQuery {
    /// The app's name, or its artifact's path.
    pub app: String,
    /// The beginning of an artifact's digest, for rollback and pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What `GET /history` is answered with.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum HistoryAnswer {
    /// The app's history.
    Found(HistoryStatus),
    /// Why there is none.
    Not(Reply),
}

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/reload", post(reload))
        .route("/rollback", post(rollback))
        .route("/pin", post(pin))
        .route("/unpin", post(unpin))
        .route("/history", get(history))
        .route("/registry", get(registry))
}

async fn registry(State(handle): State<Handle>) -> Response {
    match handle.registry().await {
        Some(entries) => Json(entries).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn reload(State(handle): State<Handle>, Query(query): Query<ReloadQuery>) -> Json<Reply> {
    let ReloadQuery { app, force, guard } = query;
    Json(handle.command(app, Command::Reload { force, guard }).await)
}

async fn rollback(State(handle): State<Handle>, Query(query): Query<AppQuery>) -> Json<Reply> {
    let AppQuery { app, digest } = query;
    Json(handle.command(app, Command::Rollback { digest }).await)
}

async fn pin(State(handle): State<Handle>, Query(query): Query<AppQuery>) -> Json<Reply> {
    let AppQuery { app, digest } = query;
    Json(handle.command(app, Command::Pin { digest }).await)
}

async fn unpin(State(handle): State<Handle>, Query(query): Query<AppQuery>) -> Json<Reply> {
    Json(handle.command(query.app, Command::Unpin).await)
}

async fn history(
    State(handle): State<Handle>,
    Query(query): Query<AppQuery>,
) -> Json<HistoryAnswer> {
    Json(match handle.history(query.app).await {
        Ok(history) => HistoryAnswer::Found(history),
        Err(reply) => HistoryAnswer::Not(reply),
    })
}
