//! A request that the workers of a group answer.

use std::{rc::Rc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Asked, Mark, body::DispatchBody, connection::State, cut::Cut, enter, failure};
use crate::{
    app::{Entry, Refusal},
    generation::{Lease, Seat},
    loader::Peer,
    proxy::{self, Forwarded, Limits, ProxyError},
    workers::{self, About},
};

/// Has a worker answer it.
pub(super) async fn answer(
    request: Request<Option<Incoming>>,
    lease: Lease,
    peer: Peer,
    id: u64,
    connection: Rc<State>,
) -> Response<DispatchBody> {
    let Some(Seat { crew, .. }) = lease.seat() else {
        return failure::Failure::Call(crate::loader::CallError::Elsewhere)
            .into_response(&lease, Mark::passed_on(id));
    };
    // The connection has something of the app's, and maybe becomes another protocol's.
    let on_connection = connection.hold(&lease);
    let token = connection.tunnel();
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
    let held = match Cut::new(&lease, proxy::hold(crew.set(), about, &limits)).await {
        Some(Ok(held)) => held,
        Some(Err(error)) if is_replaced(&error.error) => {
            // Its generation ends with the last lease.
            let replaced = lease.serial;
            drop((lease, on_connection));
            return again(request, replaced, peer, id, connection).await;
        }
        Some(Err(error)) => return failure::of_worker(&error, &lease, id),
        None => return failure::Failure::Cut.into_response(&lease, Mark::passed_on(id)),
    };
    let forwarded = Forwarded { id, peer };
    let answer = proxy::forward(request, held, crew.set(), &forwarded, &limits);
    let answer = match Cut::new(&lease, answer).await {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => return failure::of_worker(&error, &lease, id),
        None => return failure::Failure::Cut.into_response(&lease, Mark::passed_on(id)),
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
        .map(|body| DispatchBody::proxied(body, (lease, on_connection), Mark::passed_on(id)))
}

fn is_replaced(error: &ProxyError) -> bool {
    matches!(error, ProxyError::NoWorker(workers::Refusal::Replaced))
}

/// It has waited for a worker of a generation that was replaced meanwhile, and was read up to its
/// head only: whoever answers for its app by now gets it.
async fn again(
    request: Request<Option<Incoming>>,
    replaced: u64,
    peer: Peer,
    id: u64,
    connection: Rc<State>,
) -> Response<DispatchBody> {
    let Some((entry, target)) = enter(&connection.router, request.uri()) else {
        return failure::turned_away(&Refusal::Gone, id);
    };
    let lease = match entry {
        Entry::Lease(lease) => Ok(lease),
        Entry::Wait(wait) => {
            let _waiting = connection.wait();
            wait.lease().await
        }
        Entry::Refused(refusal) => Err(refusal),
        Entry::Gone => Err(Refusal::Gone),
    };
    match lease {
        // None has come in its place, and none may ever.
        Ok(lease) if lease.serial == replaced => {
            failure::turned_away(&Refusal::Failed("its workers have ended".into()), id)
        }
        Ok(lease) => {
            let asked = Asked {
                target,
                peer,
                mark: Mark::passed_on(id),
                request_timeout: Duration::ZERO,
            };
            let Ok(response) = asked.answer(request, lease, &connection).await;
            response
        }
        Err(refusal) => failure::turned_away(&refusal, id),
    }
}
