//! One connection: HTTP/1.1 or cleartext HTTP/2, whichever the client begins with.

use std::{
    cell::{Cell, RefCell},
    future::{Future as _, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper::{rt, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpStream, UnixStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::listener::Accepted;
use crate::{
    dispatch::{Connection, Dispatcher},
    loader::Peer,
};

/// How often a connection is looked at. One on which nothing was asked and nothing is being
/// answered between two looks is closed gracefully, and if it is still there at the next, cut: it
/// holds a descriptor, whether it is idle or sends a request's head very slowly. So no request
/// needs a timer of its own.
const IDLE: Duration = Duration::from_secs(30);

/// How long a connection on which nothing was asked yet is given for that when draining begins.
const FIRST: Duration = Duration::from_secs(1);

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
    let this = Rc::new(Connection::new(peer));
    let helm = Rc::new(Helm::default());
    let steering = steer(Rc::clone(&helm), Rc::clone(&this), draining);
    let _steering = AbortOnDropHandle::new(tokio::task::spawn_local(steering));
    let mut builder = Builder::new(LocalExecutor);
    builder.http2().timer(TokioTimer::new());
    let service = service_fn(|request| dispatcher.handle(request, &this));
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
    let steered = poll_fn(|cx| {
        match helm.course(cx) {
            Course::Ahead => {}
            Course::Graceful => connection.as_mut().graceful_shutdown(),
            Course::Cut => return Poll::Ready(Ok(())),
        }
        connection.as_mut().poll(cx)
    });
    // A client that goes away is everyday life; an app's broken body has been logged with its app.
    if let Err(error) = steered.await {
        tracing::debug!("a connection ended early: {error}");
    }
}

/// Where a connection is going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Course {
    #[default]
    Ahead,
    /// To the end of what it has begun.
    Graceful,
    /// To its end, at once.
    Cut,
}

/// How a connection is told its course. Plain cells: asked at each poll, on one thread.
#[derive(Debug, Default)]
struct Helm {
    course: Cell<Course>,
    waker: RefCell<Option<Waker>>,
}

impl Helm {
    fn course(&self, cx: &Context<'_>) -> Course {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        self.course.get()
    }

    fn set(&self, course: Course) {
        self.course.set(course);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Sets a connection's course: in a task of its own, so that what is waited for here costs its
/// requests nothing.
async fn steer(helm: Rc<Helm>, connection: Rc<Connection>, draining: CancellationToken) {
    let mut seen = connection.requests();
    loop {
        tokio::select! {
            () = connection.cut() => break,
            () = draining.cancelled(), if helm.course.get() == Course::Ahead => {
                // A connection that was made just now has its request on the way.
                if connection.requests() == 0 {
                    let _ = timeout(FIRST, connection.asked()).await;
                }
                helm.set(Course::Graceful);
            }
            () = sleep(IDLE) => {
                let now = connection.requests();
                if now == seen && !connection.is_answering() {
                    if helm.course.get() == Course::Graceful {
                        break;
                    }
                    helm.set(Course::Graceful);
                }
                seen = now;
            }
        }
    }
    helm.set(Course::Cut);
}
