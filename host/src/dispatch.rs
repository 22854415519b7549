//! A request's way through the host: route → lease → call → response.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::response::IntoResponse as _;
use http::{Request, Response, StatusCode, Uri, header, request::Parts, uri::PathAndQuery};
use hyper::body::Incoming;
use replug_plugin::glue::guard::Caught;
use tower_service::Service as _;

mod body;
mod connection;
mod upgrade;

pub use body::DispatchBody;
pub use connection::Connection;

use crate::{
    generation::Lease,
    loader::{
        CallError, Peer, RequestInfo,
        backtrace::{self, Panicked},
    },
    router::Router,
};
use body::Cut;

/// Answers requests; one for all connections.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    router: Arc<Router>,
    /// The host's own pages, for what no app answers.
    pages: axum::Router,
}

/// Numbers requests; 0 is kept for "none".
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Dispatcher {
    /// A dispatcher for the apps of that router.
    #[must_use]
    pub fn new(router: Arc<Router>, pages: axum::Router) -> Self {
        Self { router, pages }
    }

    /// Answers a request. Dropping the future cancels it.
    ///
    /// # Errors
    /// Never; what fails is an error response.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Result<Response<DispatchBody>, Infallible> {
        let peer = connection.peer;
        connection.count_request();
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let routed = self.router.route(request.uri().path());
        let Some((lease, uri)) = routed.and_then(|routed| {
            let lease = routed.app.lease()?;
            Some((lease, strip(request.uri(), routed.rest)))
        }) else {
            return Ok(self.own_page(request, peer).await);
        };
        if lease.is_exhausted() {
            return Ok(Failure::Exhausted.into_response(&lease, id));
        }
        let result = if upgrade::wanted(&request) {
            upgrade::tunnel(request, &lease, uri.as_deref(), peer, id).await
        } else {
            let (parts, body) = request.into_parts();
            call(&parts, body, &lease, uri.as_deref(), connection, id).await
        };
        Ok(result.unwrap_or_else(|failure| failure.into_response(&lease, id)))
    }

    async fn own_page(&self, request: Request<Incoming>, peer: Peer) -> Response<DispatchBody> {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(peer);
        let Ok(response) = self.pages.clone().call(request).await;
        response.map(DispatchBody::own)
    }
}

/// The request target as the app is to see it: `rest` in the place of the path. `None`: as it came.
fn strip(uri: &Uri, rest: &str) -> Option<String> {
    if rest.len() == uri.path().len() && uri.scheme().is_none() && uri.authority().is_none() {
        return None;
    }
    let query = uri.query();
    let mut stripped = String::with_capacity(rest.len() + 1 + query.map_or(0, |q| q.len() + 1));
    if !rest.starts_with('/') && rest != "*" {
        stripped.push('/');
    }
    stripped.push_str(rest);
    if let Some(query) = query {
        stripped.push('?');
        stripped.push_str(query);
    }
    Some(stripped)
}

/// Why there is no response of the app's.
#[derive(Debug)]
enum Failure {
    Call(CallError),
    /// The drain deadline passed before the app had begun to answer.
    Cut,
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
    fn into_response(self, lease: &Lease, id: u64) -> Response<DispatchBody> {
        let (app, generation) = (lease.app.as_str(), lease.id.get());
        let (status, text) = match self {
            Self::Call(CallError::Panicked(caught)) => {
                tracing::error!(
                    event = "handler-panicked",
                    app,
                    generation,
                    request = id,
                    location = caught.location,
                    "panicked: {}",
                    caught.message,
                );
                log_stack(lease, id, &caught);
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
        let mut response = (status, format!("{text} (request {id})\n")).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("0"));
        }
        response.map(DispatchBody::own)
    }
}

fn log_stack(lease: &Lease, request: u64, caught: &Caught) {
    let who = Panicked {
        app: lease.app.clone(),
        generation: lease.id,
        request: Some(request),
    };
    backtrace::log(who, caught, &lease.footprint);
}

async fn call(
    parts: &Parts,
    body: Incoming,
    lease: &Lease,
    uri: Option<&str>,
    connection: &Connection,
    id: u64,
) -> Result<Response<DispatchBody>, Failure> {
    let info = RequestInfo {
        uri,
        original_uri: &parts.uri,
        peer: connection.peer,
        id,
    };
    let call = lease
        .plugin()
        .call(parts, body, &info, connection.hold(lease))?;
    let response = Cut::new(lease, call).await.ok_or(Failure::Cut)??;
    Ok(response.map(|body| DispatchBody::plugin(body, lease.clone(), id)))
}

/// The request's target as a plain path, for the tunnel's own request line.
fn origin_form(uri: &str) -> Uri {
    let path = PathAndQuery::try_from(uri).unwrap_or(PathAndQuery::from_static("/"));
    Uri::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_taken_off_and_the_query_stays() {
        let check = |uri: &str, rest: &str, expected: &str| {
            let uri = uri.parse().unwrap();
            assert_eq!(
                strip(&uri, rest).unwrap_or_else(|| uri.to_string()),
                expected
            );
        };
        check("/hello", "", "/");
        check("/hello?x=1", "", "/?x=1");
        check("/hello/a%20b?x=/y", "/a%20b", "/a%20b?x=/y");
        check("http://example.org/hello/a", "/a", "/a");
        check("/", "/", "/");
        check("*", "*", "*");
    }
}
