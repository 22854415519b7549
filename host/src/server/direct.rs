//! One connection that a worker took itself: until it ends, or goes on in another worker.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body::Body as _;
use hyper::{
    body::Incoming,
    rt,
    server::conn::http1::{Builder, Connection as Plain, UpgradeableConnection},
    service::{HttpService, service_fn},
};
use hyper_util::rt::TokioIo;
use replug_plugin::BoxError;
use rustix::net::{RecvFlags, recv};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest},
    net::{TcpStream, UnixStream},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    connection::{Course, FIRST, Helm, IDLE, speak, steer},
    crowd::Member,
    entrance::{Arrival, Shift},
    lane::{MOST_READ, Passing},
    last_answer::LastAnswer,
    tap::{Tap, Valve},
    unheard::{Accepted, Unheard},
};
use crate::{dispatch::DispatchBody, loader::Peer, proxy::wants_upgrade};

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection to its end, or to that of the shift, when it goes on elsewhere.
pub(super) async fn serve(arrival: Arrival, member: Member) {
    let Arrival {
        accepted,
        read,
        shift,
        unaware,
        present: _present,
    } = arrival;
    let cut = member.cut();
    match accepted {
        Accepted::Tcp(stream, peer) => match TcpStream::from_std(stream) {
            Ok(stream) => attend(stream, peer, read, shift, unaware, cut).await,
            Err(error) => tracing::warn!("cannot take a connection: {error}"),
        },
        Accepted::Unix(stream) => match UnixStream::from_std(stream) {
            Ok(stream) => attend(stream, Peer::Unix, read, shift, unaware, cut).await,
            Err(error) => tracing::warn!("cannot take a connection: {error}"),
        },
    }
}

/// A socket of either kind.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static {
    /// Looks at the first bytes that can be read, and leaves them.
    async fn peek(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Off its runtime, for somebody else; `None`: its client is gone.
    fn into_unheard(self) -> Option<Unheard>;
}

impl Socket for TcpStream {
    async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        Self::peek(self, buf).await
    }

    fn into_unheard(self) -> Option<Unheard> {
        Unheard::tcp(self.into_std().ok()?.into())
    }
}

impl Socket for UnixStream {
    async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let peeked = self.async_io(Interest::READABLE, || {
            let (_, length) = recv(self, &mut *buf, RecvFlags::PEEK)?;
            Ok(length)
        });
        peeked.await
    }

    fn into_unheard(self) -> Option<Unheard> {
        Some(Unheard::unix(self.into_std().ok()?.into()))
    }
}

async fn attend<S: Socket>(
    socket: S,
    peer: Peer,
    read: Bytes,
    shift: Arc<Shift>,
    unaware: Member,
    cut: CancellationToken,
) {
    let mut first = [0; PREFACE.len()];
    // What was read elsewhere was read by HTTP/1.1.
    let length = match read.len() {
        0 => match hear(&socket, &mut first, &shift, &cut).await {
            Heard::Something(length) => length,
            Heard::Nothing => return pass(socket, Bytes::new(), &shift),
            Heard::End => return,
        },
        _ => 0,
    };
    // Also where so little has come that it may be either.
    if length > 0 && PREFACE.starts_with(&first[..length]) {
        let orders = shift.orders.clone();
        let aside = async {
            shift.over().await;
            // It says so to the client, and ends what it has begun.
            orders.drain.cancel();
            drop(unaware);
            std::future::pending::<()>().await;
        };
        let io = TokioIo::new(socket);
        let dispatcher = Arc::clone(&shift.dispatcher);
        tokio::select! {
            () = speak(io, peer, dispatcher, orders.clone(), cut) => {}
            () = aside => {}
        }
        return;
    }
    let (tap, valve) = Tap::new(TokioIo::new(socket), read);
    if let Some((io, rest)) = converse(tap, valve, peer, &shift, unaware, cut).await {
        pass(io.into_inner(), rest, &shift);
    }
}

/// What became of waiting for a connection's first bytes.
enum Heard {
    Something(usize),
    /// Nothing yet, and somebody else is to go on with it.
    Nothing,
    /// Nothing, and nothing will be.
    End,
}

async fn hear<S: Socket>(
    socket: &S,
    first: &mut [u8],
    shift: &Shift,
    cut: &CancellationToken,
) -> Heard {
    let drained = async {
        shift.orders.drain.cancelled().await;
        sleep(FIRST).await;
    };
    tokio::select! {
        biased;
        () = shift.over() => Heard::Nothing,
        peeked = socket.peek(first) => match peeked {
            Ok(1..) => Heard::Something(peeked.unwrap_or(0)),
            _ => Heard::End,
        },
        () = cut.cancelled() => Heard::End,
        () = drained => Heard::End,
        () = sleep(2 * IDLE) => Heard::End,
    }
}

fn pass<S: Socket>(socket: S, read: Bytes, shift: &Shift) {
    if read.len() > MOST_READ {
        tracing::debug!("closing a connection with a request whose head is too long");
    } else if let Some(connection) = socket.into_unheard() {
        shift.pass(Passing { connection, read });
    }
}

/// What a connection's requests tell it.
#[derive(Debug, Default)]
struct Talk {
    /// Requests that have no response yet.
    unanswered: Cell<usize>,
    /// Whether the last request had a body.
    has_body: Cell<bool>,
    /// A request wants the connection for itself.
    upgrades: Cell<bool>,
}

/// Serves HTTP/1.1. `Some`: the shift is over, nothing is being answered, and that is left of it,
/// with what was read of the next request.
async fn converse<S: Socket>(
    tap: Tap<TokioIo<S>>,
    valve: Arc<Valve>,
    peer: Peer,
    shift: &Arc<Shift>,
    unaware: Member,
    cut: CancellationToken,
) -> Option<(TokioIo<S>, Bytes)> {
    let this = Rc::new(shift.dispatcher.connection(peer));
    let helm = Rc::new(Helm::default());
    let talk = Rc::new(Talk::default());
    let steering = {
        let (helm, this, shift) = (Rc::clone(&helm), Rc::clone(&this), Arc::clone(shift));
        async move {
            let told = async {
                shift.over().await;
                helm.wake();
            };
            let orders = shift.orders.clone();
            tokio::join!(steer(Rc::clone(&helm), this, orders, cut), told);
        }
    };
    let _steering = AbortOnDropHandle::new(tokio::task::spawn_local(steering));
    let service = service_fn(|request: Request<Incoming>| {
        talk.has_body.set(!request.body().is_end_stream());
        let upgrades = wants_upgrade(&request);
        talk.upgrades.set(talk.upgrades.get() || upgrades);
        let answer = LastAnswer::new(shift.dispatcher.handle(request, &this), Rc::clone(&helm));
        Counted::new(answer, &talk, upgrades)
    });
    let mut connection = Speech::Plain(Builder::new().serve_connection(tap, service));
    let mut unaware = Some(unaware);
    let mut is_told = false;
    let steered = poll_fn(|cx| {
        loop {
            let course = helm.course(cx);
            if course == Course::Cut {
                return Poll::Ready(End::Over);
            }
            let is_over = shift.is_over();
            let was_answering = talk.unanswered.get() > 0 || this.is_answering();
            if is_over {
                match (&connection, was_answering) {
                    // What was upgraded is nobody else's.
                    (Speech::Plain(_), false) => valve.shut(),
                    (Speech::Plain(_), true) if !talk.has_body.get() => valve.shut(),
                    (_, false) => helm.set(Course::Graceful),
                    // What a request has of its body still comes; its answer says that it is the
                    // last.
                    (_, true) if talk.unanswered.get() > 0 => helm.answer_once_more(),
                    // It is under way already, and the connection goes on after it.
                    (_, true) => {}
                }
                unaware = None;
            }
            let _ = valve.was_asked();
            if let Poll::Ready(result) = connection.poll(cx) {
                return Poll::Ready(result.map_or_else(End::Failed, |()| End::Over));
            }
            if talk.upgrades.take() {
                connection.upgrade();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let is_answering = talk.unanswered.get() > 0 || this.is_answering();
            if is_over && was_answering && !is_answering {
                // It has just become possible; nobody else would wake this.
                continue;
            }
            // Asked, since it would not be while the rest of a body is waited for.
            if valve.is_shut() && !is_answering && !valve.is_blocked() && valve.was_asked() {
                return Poll::Ready(End::GoesOn);
            }
            // One that goes on elsewhere does not end with this server.
            let goes_on = is_over && matches!(connection, Speech::Plain(_)) && !helm.says_last();
            if course == Course::Ahead || is_told || goes_on {
                return Poll::Pending;
            }
            // Only now: a request that had come already was found by the poll above, and is
            // answered.
            is_told = true;
            connection.graceful_shutdown();
        }
    });
    match steered.await {
        End::Over => None,
        // A client that goes away is everyday life.
        End::Failed(error) => {
            tracing::debug!("a connection ended early: {error}");
            None
        }
        End::GoesOn => {
            let (tap, read) = connection.into_parts()?;
            let (io, rest) = tap.into_parts();
            if rest.is_empty() {
                return Some((io, read));
            }
            let mut all = BytesMut::from(&read[..]);
            all.extend_from_slice(&rest);
            Some((io, all.freeze()))
        }
    }
}

/// How it went.
enum End {
    Over,
    Failed(hyper::Error),
    /// Elsewhere.
    GoesOn,
}

/// A connection of hyper's, which gives its stream back, or to an upgraded request, but cannot do
/// both.
enum Speech<I, S: HttpService<Incoming>> {
    Plain(Plain<I, S>),
    Upgradable(UpgradeableConnection<I, S>),
    Gone,
}

impl<I, S> Speech<I, S>
where
    I: rt::Read + rt::Write + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = DispatchBody>,
    S::Error: Into<BoxError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match self {
            Self::Plain(connection) => Pin::new(connection).poll(cx),
            Self::Upgradable(connection) => Pin::new(connection).poll(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn upgrade(&mut self) {
        *self = match std::mem::replace(self, Self::Gone) {
            Self::Plain(connection) => Self::Upgradable(connection.with_upgrades()),
            other => other,
        };
    }

    fn graceful_shutdown(&mut self) {
        match self {
            Self::Plain(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Upgradable(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Gone => {}
        }
    }

    fn into_parts(self) -> Option<(I, Bytes)> {
        let Self::Plain(connection) = self else {
            return None;
        };
        let parts = connection.into_parts();
        Some((parts.io, parts.read_buf))
    }
}

/// An answer that counts until it is there.
struct Counted {
    answer: LastAnswer,
    talk: Rc<Talk>,
    /// Waits once, so that the connection is one that can be upgraded before the answer comes.
    waits: bool,
}

impl Counted {
    fn new(answer: LastAnswer, talk: &Rc<Talk>, waits: bool) -> Self {
        talk.unanswered.set(talk.unanswered.get() + 1);
        Self {
            answer,
            talk: Rc::clone(talk),
            waits,
        }
    }
}

impl Future for Counted {
    type Output = <LastAnswer as Future>::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::take(&mut self.waits) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.answer).poll(cx)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let unanswered = &self.talk.unanswered;
        unanswered.set(unanswered.get() - 1);
    }
}
