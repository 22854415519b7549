//! A connection that has been upgraded to another protocol, such as a WebSocket.

use http::{Request, Response, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, split};

use super::{ProxiedBody, pool::Leased};
use crate::workers::Held;

/// Whether a request asks for another protocol. HTTP/2 is not one: nobody takes that offer, since
/// clients that want it begin with it.
#[must_use]
pub fn wants_upgrade<B>(request: &Request<B>) -> bool {
    let names_it = |value: &http::HeaderValue| {
        value.to_str().is_ok_and(|value| {
            let mut options = value.split(',');
            options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
        })
    };
    let headers = request.headers();
    request.version() == Version::HTTP_11
        && headers.get(header::UPGRADE).is_some_and(|it| it != "h2c")
        && headers.get_all(header::CONNECTION).iter().any(names_it)
}

/// The bytes between a client and a worker after their upgrade. They begin to pass when it is run;
/// dropping it, or the future that runs it, ends the connection to both.
#[derive(Debug)]
pub struct Tunnel {
    client: OnUpgrade,
    worker: OnUpgrade,
    held: Held,
}

impl Tunnel {
    pub(super) fn new(
        client: OnUpgrade,
        response: &mut Response<ProxiedBody>,
        leased: &Leased,
        held: Held,
    ) -> Self {
        leased.becomes_tunnel();
        Self {
            client,
            worker: hyper::upgrade::on(response),
            held,
        }
    }

    /// Copies both ways until both sides have ended, or the worker has died; the worker holds the
    /// request until then. A side that goes away in the middle is the ordinary end of such a
    /// connection.
    ///
    /// # Errors
    /// When the upgrade does not happen: the client has gone before it read the response, say.
    pub async fn run(self) -> hyper::Result<()> {
        let Self {
            client,
            worker,
            held,
        } = self;
        let (client, worker) = tokio::try_join!(client, worker)?;
        let (from_client, to_client) = split(TokioIo::new(client));
        let (from_worker, to_worker) = split(TokioIo::new(worker));
        let death = held.worker().gone();
        // Each for itself: an app that has gone takes nothing more, and its last words are on their
        // way to the client all the same. A worker that has died does not wait for the client.
        tokio::join!(
            death.run_until_cancelled(pass_on(from_client, to_worker)),
            pass_on(from_worker, to_client),
        );
        Ok(())
    }
}

async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}
