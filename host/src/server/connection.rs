//! One connection: HTTP/1.1 or cleartext HTTP/2, whichever the client begins with.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::future::Either;
use http::{Request, Version};
use hyper::{body::Incoming, rt, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpStream, UnixStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    crowd::{Crowd, Member},
    last_answer::LastAnswer,
    orders::Orders,
    trunk,
    unheard::{Accepted, Unheard},
};
use crate::{
    dispatch::{Connection, Dispatcher},
    loader::Peer,
    trunk::is_hailed,
};

/// How often a connection is looked at. One on which nothing was asked and nothing is being
/// answered between two looks is closed gracefully, and if it is still there at the next, cut: it
/// holds a descriptor, whether it is idle or sends a request's head very slowly. So no request
/// needs a timer of its own.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// How long a connection on which nothing was asked yet is given for that when draining begins.
pub(super) const FIRST: Duration = Duration::from_secs(1);

/// The same as [`IDLE`] for a connection whose next answer is its last. It is closed so that it ends
/// at all; the longer that takes, the less likely a request is on its way by then.
const LINGER: Duration = Duration::from_millis(500);

/// Spawns on the thread that it is on.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves a connection to its end; when draining begins, to the end of what it has begun. It counts
/// as `member`; once each answer is the last, and nothing was heard by then, among the `later`.
pub(super) async fn serve(
    accepted: Accepted,
    dispatcher: Arc<Dispatcher>,
    orders: Orders,
    mut member: Member,
    later: Crowd,
) {
    let taken = match accepted {
        Accepted::Tcp(stream, peer) => {
            TcpStream::from_std(stream).map(|it| (Either::Left(it), peer))
        }
        Accepted::Unix(stream) => {
            UnixStream::from_std(stream).map(|it| (Either::Right(it), Peer::Unix))
        }
    };
    let (stream, peer) = match taken {
        Ok(taken) => taken,
        Err(error) => return tracing::warn!("cannot take a connection: {error}"),
    };
    let heard = match &stream {
        Either::Left(stream) => hear(stream.readable(), &orders, &mut member, &later).await,
        Either::Right(stream) => hear(stream.readable(), &orders, &mut member, &later).await,
    };
    let cut = member.cut();
    match (heard, stream) {
        (Heard::Gone, _) => {}
        (Heard::Something, Either::Left(stream)) => {
            speak(TokioIo::new(stream), peer, dispatcher, orders, cut).await;
        }
        (Heard::Something, Either::Right(stream))
            if dispatcher.is_behind_a_supervisor() && is_hailed(&stream) =>
        {
            trunk::serve(stream, dispatcher, orders, cut).await;
        }
        (Heard::Something, Either::Right(stream)) => {
            speak(TokioIo::new(stream), peer, dispatcher, orders, cut).await;
        }
        (Heard::GivenUp, stream) => {
            let unheard = match stream {
                Either::Left(stream) => stream
                    .into_std()
                    .ok()
                    .and_then(|it| Unheard::tcp(it.into())),
                Either::Right(stream) => stream.into_std().ok().map(|it| Unheard::unix(it.into())),
            };
            if let Some(unheard) = unheard {
                orders.give(unheard);
            }
        }
    }
}

/// What became of waiting for a connection's first bytes.
enum Heard {
    Something,
    /// Nothing yet, and somebody else is to go on with it.
    GivenUp,
    /// Nothing, for too long.
    Gone,
}

async fn hear(
    readable: impl Future<Output = io::Result<()>>,
    orders: &Orders,
    member: &mut Member,
    later: &Crowd,
) -> Heard {
    let mut readable = pin!(readable);
    tokio::select! {
        biased;
        // An error is found when it is read.
        _ = &mut readable => return Heard::Something,
        () = orders.last.cancelled() => {}
        () = orders.drain.cancelled() => {}
        () = sleep(2 * IDLE) => return Heard::Gone,
    }
    // Those that there were are waited for; this one need not be.
    *member = later.add();
    let cut = member.cut();
    let drained = async {
        orders.drain.cancelled().await;
        sleep(FIRST).await;
    };
    tokio::select! {
        biased;
        _ = readable => Heard::Something,
        () = orders.give_up.cancelled() => Heard::GivenUp,
        () = cut.cancelled() => Heard::Gone,
        () = drained => Heard::Gone,
        () = sleep(2 * IDLE) => Heard::Gone,
    }
}

/// What a worker takes from its supervisor: more than hyper's usual 100, and 16 KiB.
const MORE_HEADERS: usize = 128;
const MORE_HEADER_BYTES: u32 = 32 << 10;

pub(super) async fn speak<I>(
    io: I,
    peer: Peer,
    dispatcher: Arc<Dispatcher>,
    orders: Orders,
    cut: CancellationToken,
) where
    I: rt::Read + rt::Write + Unpin + Send + 'static,
{
    let this = Rc::new(dispatcher.connection(peer));
    let helm = Rc::new(Helm::default());
    if orders.last.is_cancelled() {
        // Its first answer may be there before the steering task runs.
        helm.answer_once_more();
    }
    let steering = steer(Rc::clone(&helm), Rc::clone(&this), orders, cut);
    let _steering = AbortOnDropHandle::new(tokio::task::spawn_local(steering));
    let mut builder = Builder::new(LocalExecutor);
    builder.http2().timer(TokioTimer::new());
    if dispatcher.is_behind_a_supervisor() {
        // It adds fields to what it has taken by the usual limits.
        builder.http1().max_headers(MORE_HEADERS);
        builder.http2().max_header_list_size(MORE_HEADER_BYTES);
    }
    let service = service_fn(|request: Request<Incoming>| {
        helm.speaks(request.version());
        LastAnswer::new(dispatcher.handle(request, &this), Rc::clone(&helm))
    });
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
    let mut is_told = false;
    let steered = poll_fn(|cx| {
        let course = helm.course(cx);
        if course == Course::Cut {
            return Poll::Ready(Ok(()));
        }
        let polled = connection.as_mut().poll(cx);
        if course == Course::Ahead || is_told || polled.is_ready() {
            return polled;
        }
        // Only now: a request that had come already was found by the poll above, and is answered.
        is_told = true;
        connection.as_mut().graceful_shutdown();
        connection.as_mut().poll(cx)
    });
    // A client that goes away is everyday life; an app's broken body has been logged with its app.
    if let Err(error) = steered.await {
        tracing::debug!("a connection ended early: {error}");
    }
}

/// Where a connection is going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Course {
    #[default]
    Ahead,
    /// To the end of what it has begun.
    Graceful,
    /// To its end, at once.
    Cut,
}

/// How a connection is told its course. Plain cells: asked at each poll, on one thread.
#[derive(Debug, Default)]
pub(super) struct Helm {
    course: Cell<Course>,
    /// Whether the next answer is the last one.
    is_last: Cell<bool>,
    is_http2: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Helm {
    pub(super) fn course(&self, cx: &Context<'_>) -> Course {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        self.course.get()
    }

    /// A request of that version has come.
    fn speaks(&self, version: Version) {
        if version == Version::HTTP_2 {
            self.is_http2.set(true);
            if self.is_last.get() {
                self.set(Course::Graceful);
            }
        }
    }

    /// The next answer is the last one. HTTP/2 has a way to say so without one, in which no request
    /// gets lost.
    pub(super) fn answer_once_more(&self) {
        self.is_last.set(true);
        if self.is_http2.get() && self.course.get() == Course::Ahead {
            self.set(Course::Graceful);
        }
    }

    /// Whether an answer has to say that it is the last one.
    pub(super) fn says_last(&self) -> bool {
        self.is_last.get() && !self.is_http2.get()
    }

    pub(super) fn set(&self, course: Course) {
        self.course.set(course);
        self.wake();
    }

    /// Has the connection look at its course.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Sets a connection's course: in a task of its own, so that what is waited for here costs its
/// requests nothing.
pub(super) async fn steer(
    helm: Rc<Helm>,
    connection: Rc<Connection>,
    orders: Orders,
    cut: CancellationToken,
) {
    let mut seen = connection.requests();
    loop {
        let is_last = helm.is_last.get();
        tokio::select! {
            () = connection.cut() => break,
            () = cut.cancelled() => break,
            () = orders.last.cancelled(), if !is_last => helm.answer_once_more(),
            () = orders.drain.cancelled(), if helm.course.get() == Course::Ahead => {
                // A connection that was made just now has its request on the way.
                if connection.requests() == 0 {
                    let _ = timeout(FIRST, connection.asked()).await;
                }
                helm.set(Course::Graceful);
            }
            () = sleep(if is_last { LINGER } else { IDLE }) => {
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
