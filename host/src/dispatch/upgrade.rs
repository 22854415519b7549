//! Upgrade requests (WebSocket): a byte tunnel to the plugin.
//!
//! The host is a hyper client on one end of a duplex stream, as a reverse proxy is; hyper inside
//! the plugin serves the other. So upgrades work in the plugin as they do in any hyper server,
//! and no type of hyper's crosses the boundary.

use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, split};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Begun, Target, body::DispatchBody, cut::Cut, failure::Failure, origin_form};
use crate::{
    generation::Lease,
    loader::{CallError, Peer},
};

/// What may wait in the tunnel, in bytes, each way.
const TUNNEL_BUFFER: usize = 64 * 1024;

pub(super) async fn tunnel(
    mut request: Request<Incoming>,
    begun: Begun,
    target: &Target,
    peer: Peer,
    token: TaskTrackerToken,
) -> Result<Response<DispatchBody>, Failure> {
    let (lease, mark) = (&begun.lease, begun.mark);
    let client = hyper::upgrade::on(&mut request);
    let (mut parts, body) = request.into_parts();
    let (ours, plugins) = tokio::io::duplex(TUNNEL_BUFFER);
    let info = target.info(lease, &parts.uri, peer, mark.id);
    let plugin = lease.plugin().ok_or(CallError::Elsewhere)?;
    plugin.upgrade(&parts, plugins, &info)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(ours))
        .await
        .map_err(Failure::Tunnel)?;
    let connection_lease = lease.clone();
    tokio::task::spawn_local(async move {
        // Its error is the sender's, or the upgraded stream's, who report it.
        let _ = Cut::new(&connection_lease, connection.with_upgrades()).await;
    });
    if let Some(uri) = &target.uri {
        parts.uri = origin_form(uri);
    }
    let answer = sender.send_request(Request::from_parts(parts, body));
    let mut response = Cut::new(lease, answer)
        .await
        .ok_or(Failure::Cut)?
        .map_err(Failure::Tunnel)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        if response.status().is_server_error() {
            mark.tally(lease).failure();
        }
        // What concerns the tunnel's own connection must not reach the client's.
        for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
            response.headers_mut().remove(name);
        }
        return Ok(response.map(|body| DispatchBody::tunnel(body, begun)));
    }
    let plugin = hyper::upgrade::on(&mut response);
    let copy = copy(client, plugin, lease.clone());
    tokio::task::spawn_local(async move {
        copy.await;
        drop((token, begun));
    });
    Ok(response.map(|_| DispatchBody::own(axum::body::Body::empty())))
}

/// Copies one way to the end. A side that goes away in the middle is the ordinary end of such a
/// connection.
async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

/// Copies both ways until both sides have ended, or the generation is cut.
async fn copy(client: OnUpgrade, plugin: OnUpgrade, lease: Lease) {
    let both = async {
        let (client, plugin) = tokio::try_join!(client, plugin)?;
        let (from_client, to_client) = split(TokioIo::new(client));
        let (from_plugin, to_plugin) = split(TokioIo::new(plugin));
        // Each for itself: an app that has gone takes nothing more, and its last words are on their
        // way to the client all the same.
        tokio::join!(
            pass_on(from_client, to_plugin),
            pass_on(from_plugin, to_client)
        );
        Ok::<_, hyper::Error>(())
    };
    if let Some(Err(error)) = Cut::new(&lease, both).await {
        let (app, generation) = (lease.app.as_str(), lease.id.get());
        tracing::debug!(app, generation, "an upgrade did not happen: {error}");
    }
}
