//! What a client is told when an app gives no response.

use axum::response::IntoResponse as _;
use http::{Response, StatusCode, header};
use replug_plugin::glue::guard::Caught;

use super::{Mark, body::DispatchBody};
use crate::{
    app::Refusal,
    generation::Generation,
    loader::{
        CallError,
        backtrace::{self, Panicked},
    },
    proxy,
};

/// Why there is no response of the app's.
#[derive(Debug)]
pub(super) enum Failure {
    Call(CallError),
    /// The drain deadline passed before the app had begun to answer.
    Cut,
    /// It took longer than a request may.
    TimedOut,
    /// It uses more memory than it may.
    Exhausted,
    /// The tunnel to the app broke before it had answered.
    Tunnel(hyper::Error),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Failure {
    /// Logs it, and says to the client what concerns the client.
    pub(super) fn into_response(self, of: &Generation, mark: Mark) -> Response<DispatchBody> {
        let id = mark.id;
        let (app, generation) = (of.app.as_str(), of.id.get());
        let (status, text) = match self {
            Self::Call(CallError::Panicked(caught)) => {
                mark.tally(of).panic();
                tracing::error!(
                    event = "handler-panicked",
                    app,
                    generation,
                    request = id,
                    location = caught.location,
                    "panicked: {}",
                    caught.message,
                );
                log_stack(of, id, &caught);
                (StatusCode::INTERNAL_SERVER_ERROR, "the application failed")
            }
            Self::Call(error) => {
                tracing::error!(
                    event = "handler-failed",
                    app,
                    generation,
                    request = id,
                    "{error}"
                );
                (StatusCode::INTERNAL_SERVER_ERROR, "the application failed")
            }
            Self::Cut => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the application was replaced and did not finish",
            ),
            Self::TimedOut => {
                // What a supervisor says of a request that it has passed on.
                let error = proxy::ProxyError::RequestTimeout;
                tracing::error!(
                    event = "not-answered",
                    app,
                    generation,
                    request = id,
                    code = error.code(),
                    "{error}",
                );
                (
                    StatusCode::GATEWAY_TIMEOUT,
                    "the request took longer than it may",
                )
            }
            Self::Exhausted => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the application uses more memory than it may",
            ),
            Self::Tunnel(error) => {
                tracing::warn!(
                    event = "tunnel-failed",
                    app,
                    generation,
                    request = id,
                    "the app ended an upgrade request without an answer: {error}",
                );
                (
                    StatusCode::BAD_GATEWAY,
                    "the application ended the connection",
                )
            }
        };
        // 503 is the host's word, and says nothing of the app's code.
        if status != StatusCode::SERVICE_UNAVAILABLE {
            mark.tally(of).failure();
        }
        page(status, text, id, "0")
    }
}

/// What a client is told whose request waited for an app in vain.
pub(super) fn turned_away(refusal: &Refusal, id: u64) -> Response<DispatchBody> {
    let status = match refusal {
        Refusal::Gone => StatusCode::NOT_FOUND,
        Refusal::Failed(_) | Refusal::TimedOut | Refusal::Full => StatusCode::SERVICE_UNAVAILABLE,
    };
    tracing::debug!(request = id, "not answered by its app: {refusal}");
    page(status, &refusal.to_string(), id, "1")
}

/// What a client is told whose request no worker has answered.
pub(super) fn of_worker(
    error: &proxy::Failure,
    of: &Generation,
    id: u64,
) -> Response<DispatchBody> {
    let status = error.error.status();
    let (code, text) = (error.error.code(), error.error.to_string());
    let (app, generation) = (of.app.as_str(), of.id.get());
    let worker = error.worker.as_ref().map(|worker| worker.number);
    let pid = error.worker.as_ref().map(|worker| worker.pid);
    // 503 is the host's word, and 400 the client's doing.
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        of.tally.failure();
        tracing::error!(
            event = "not-answered",
            app,
            generation,
            request = id,
            worker,
            pid,
            code,
            "{error}"
        );
    } else if status == StatusCode::SERVICE_UNAVAILABLE
        && let Some(requests) = of.tally.turned_away()
    {
        tracing::warn!(
            event = "turned-away",
            app,
            generation,
            request = id,
            code,
            requests,
            "{error}; {requests} turned away since that was last said"
        );
    } else {
        tracing::debug!(app, generation, request = id, code, "{error}");
    }
    page(status, &text, id, "1")
}

/// What somebody is told who asks a worker and is not its supervisor.
pub(super) fn not_forwarded(error: &proxy::ForwardedError) -> Response<DispatchBody> {
    (StatusCode::BAD_REQUEST, format!("{error}\n"))
        .into_response()
        .map(DispatchBody::own)
}

/// `retry`: in how many seconds a client may try again what is answered with 503.
fn page(status: StatusCode, text: &str, id: u64, retry: &'static str) -> Response<DispatchBody> {
    let mut response = (status, format!("{text} (request {id})\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static(retry));
    }
    response.map(DispatchBody::own)
}

pub(super) fn log_stack(of: &Generation, request: u64, caught: &Caught) {
    let who = Panicked {
        app: of.app.clone(),
        generation: of.id,
        request: Some(request),
    };
    // Where its code is elsewhere, so is the stack.
    if let Some(footprint) = &of.footprint {
        backtrace::log(who, caught, footprint);
    }
}
