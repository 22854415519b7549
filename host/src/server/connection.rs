//! One connection: HTTP/1.1 or cleartext HTTP/2, whichever the client begins with.

use std::{rc::Rc, sync::Arc, time::Duration};

use hyper::{rt, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::listener::Accepted;
use crate::{
    dispatch::{Connection, Dispatcher},
    loader::Peer,
};

/// How long a client may take to send a request's head; it holds a descriptor meanwhile.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Spawns on the thread that it is on.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves a connection to its end; when draining begins, to the end of what it has begun.
pub(super) async fn serve(
    accepted: Accepted,
    dispatcher: Arc<Dispatcher>,
    draining: CancellationToken,
) {
    match accepted {
        Accepted::Tcp(stream, peer) => match TcpStream::from_std(stream) {
            Ok(stream) => speak(TokioIo::new(stream), peer, dispatcher, draining).await,
            Err(error) => tracing::warn!("cannot take a connection: {error}"),
        },
        Accepted::Unix(stream) => match UnixStream::from_std(stream) {
            Ok(stream) => speak(TokioIo::new(stream), Peer::Unix, dispatcher, draining).await,
            Err(error) => tracing::warn!("cannot take a connection: {error}"),
        },
    }
}

async fn speak<I>(io: I, peer: Peer, dispatcher: Arc<Dispatcher>, draining: CancellationToken)
where
    I: rt::Read + rt::Write + Unpin + Send + 'static,
{
    let mut builder = Builder::new(LocalExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let this = Rc::new(Connection::new(peer));
    let service = service_fn(|request| {
        let (dispatcher, this) = (Arc::clone(&dispatcher), Rc::clone(&this));
        async move { dispatcher.handle(request, &this).await }
    });
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(io, service));
    let to_its_end = async {
        tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let result = tokio::select! {
        biased;
        result = to_its_end => result,
        () = this.cut() => return,
    };
    // A client that goes away is everyday life; an app's broken body has been logged with its app.
    if let Err(error) = result {
        tracing::debug!("a connection ended early: {error}");
    }
}
