//! A request that the workers of a group answer.

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{body::DispatchBody, connection::Held, cut::Cut, failure};
use crate::{
    generation::{Lease, Seat},
    loader::Peer,
    proxy::{self, Limits},
    workers::About,
};

/// What the client's connection is told by.
#[derive(Debug)]
pub(super) struct Tokens {
    /// That it has something of the app's.
    pub(super) held: Held,
    /// That it is another protocol's, if it becomes that.
    pub(super) tunnel: TaskTrackerToken,
}

/// Has a worker answer it.
pub(super) async fn answer(
    request: Request<Incoming>,
    lease: Lease,
    peer: Peer,
    id: u64,
    Tokens {
        held,
        tunnel: token,
    }: Tokens,
) -> Response<DispatchBody> {
    let Some(Seat { crew, .. }) = lease.seat() else {
        return failure::Failure::Call(crate::loader::CallError::Elsewhere)
            .into_response(&lease, id);
    };
    let about = About {
        app: lease.app.clone(),
        id,
        method: request.method().clone(),
        uri: request.uri().clone(),
        since: Instant::now(),
    };
    let limits = Limits {
        connect_timeout: crew.connect_timeout(),
        request_timeout: crew.request_timeout(),
    };
    let answer = proxy::answer(request, crew.set(), about, peer, &limits);
    let answer = match Cut::new(&lease, answer).await {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => return failure::of_worker(&error, &lease, id),
        None => return failure::Failure::Cut.into_response(&lease, id),
    };
    if answer.response.status().is_server_error() {
        lease.tally.failure();
    }
    if let Some(tunnel) = answer.tunnel {
        let lease = lease.clone();
        tokio::task::spawn_local(async move {
            if let Some(Err(error)) = Cut::new(&lease, tunnel.run()).await {
                let (app, generation) = (lease.app.as_str(), lease.id.get());
                tracing::debug!(app, generation, "an upgrade did not happen: {error}");
            }
            drop(token);
        });
    }
    answer
        .response
        .map(|body| DispatchBody::proxied(body, (lease, held), id))
}
