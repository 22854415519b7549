//! Workers and a front: real servers of hyper's, and real clients.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::Future,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    rt::Executor,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::conn::auto::Builder};
use replug_plugin::BoxError;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, DuplexStream},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::LocalSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::super::{Answer, Failure, Forwarded, Limits, forward, hold};
use crate::{
    loader::Peer,
    process::is_ending,
    workers::{About, Patience, Set, Worker},
};

pub(super) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// Runs a test on this thread; one that hangs fails.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let test = async { timeout(Duration::from_secs(60), test).await };
    let ended = LocalSet::new().block_on(&runtime, test);
    ended.expect("the test hangs");
}

pub(super) fn empty() -> AnyBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    let full = Full::new(bytes.into());
    full.map_err(|never| match never {}).boxed_unsync()
}

/// A body that is what the sender sends; it ends when the sender is dropped.
pub(super) fn channel() -> (mpsc::Sender<Result<Frame<Bytes>, BoxError>>, AnyBody) {
    let (sender, mut receiver) = mpsc::channel(1);
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, StreamBody::new(stream).boxed_unsync())
}

pub(super) fn data(bytes: impl Into<Bytes>) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(bytes.into()))
}

/// All of a body, with its trailers.
pub(super) async fn collect<B>(body: B) -> Result<(Bytes, Option<HeaderMap>), B::Error>
where
    B: Body<Data = Bytes>,
{
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes(), trailers))
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// The descriptor of the test's own process, which lives.
pub(super) fn this_process() -> Option<OwnedFd> {
    pidfd_open(getpid(), PidfdFlags::empty()).ok()
}

/// A process that does nothing until it is killed.
struct Idle(Child);

impl Idle {
    fn start() -> (Self, OwnedFd) {
        let mut command = Command::new("cat");
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        (Self(child), process)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A worker's server. It runs in the test's own process; the worker's lives as long as it does.
pub(super) struct Server {
    pub(super) worker: Arc<Worker>,
    /// How many connections it has taken.
    pub(super) connections: Rc<Cell<usize>>,
    /// How many of them are open.
    pub(super) open: Rc<Cell<usize>>,
    /// How many requests it has been asked.
    requests: Rc<Cell<usize>>,
    /// Ends it and its connections at once, as a process ends.
    kill: CancellationToken,
    process: (RefCell<Idle>, OwnedFd),
    _folder: TempDir,
}

impl Server {
    /// Answers each request with what `handle` says.
    pub(super) fn start<H, F, B>(number: u32, handle: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + 'static,
        F: Future<Output = Response<B>> + 'static,
        B: Body<Data = Bytes, Error = BoxError> + 'static,
    {
        let requests = Rc::new(Cell::new(0));
        let count = Rc::clone(&requests);
        let server = Self::accept(number, move |stream| {
            let (handle, count) = (handle.clone(), Rc::clone(&count));
            async move {
                let service = service_fn(move |request| {
                    count.set(count.get() + 1);
                    let response = handle(request);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                let _ = Builder::new(Local)
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            }
        });
        Self { requests, ..server }
    }

    /// Waits until it has been asked that many requests.
    pub(super) async fn asked(&self, number: usize) {
        until(|| self.requests.get() >= number).await;
    }

    /// Does that with each connection.
    pub(super) fn accept<F>(number: u32, serve: impl Fn(UnixStream) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self::sharing(number, 0, serve)
    }

    /// The same, of a worker that takes so many trunks.
    pub(super) fn sharing<F>(
        number: u32,
        trunks: usize,
        serve: impl Fn(UnixStream) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let kill = CancellationToken::new();
        let connections = Rc::new(Cell::new(0));
        let open = Rc::new(Cell::new(0));
        let (killed, counted) = (kill.clone(), Rc::clone(&connections));
        let still_open = Rc::clone(&open);
        tokio::task::spawn_local(async move {
            let accepting = async {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    counted.set(counted.get() + 1);
                    let serving = killed.clone().run_until_cancelled_owned(serve(stream));
                    let open = Rc::clone(&still_open);
                    open.set(open.get() + 1);
                    tokio::task::spawn_local(async move {
                        serving.await;
                        open.set(open.get() - 1);
                    });
                }
            };
            killed.run_until_cancelled(accepting).await;
        });
        let (process, descriptor) = Idle::start();
        let given = descriptor.try_clone().unwrap();
        Self {
            worker: Worker::new(number, process.0.id(), Some(given), path, trunks),
            process: (RefCell::new(process), descriptor),
            connections,
            open,
            requests: Rc::default(),
            kill,
            _folder: folder,
        }
    }

    /// As a process that is killed: the system closes what it has open. Who watches over it has not
    /// heard of it yet.
    pub(super) async fn kill(&self) {
        let (process, descriptor) = &self.process;
        process.borrow_mut().0.kill().unwrap();
        until(|| is_ending(descriptor).unwrap()).await;
        self.kill.cancel();
        // Its socket's file stays, as that of a process would; its tasks end in their next turns.
        while UnixStream::connect(&self.worker.socket).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

pub(super) fn set(servers: &[&Server]) -> Set {
    let workers = servers.iter().map(|it| Arc::clone(&it.worker)).collect();
    let patience = Patience {
        queue: 100,
        queue_timeout: Duration::ZERO,
    };
    Set::new(workers, patience)
}

/// The host: answers as the set does, with failures as `code` fields.
#[derive(Clone)]
pub(super) struct Front {
    set: Set,
    limits: Limits,
    peer: Peer,
    next: Rc<Cell<u64>>,
}

impl Front {
    pub(super) fn new(set: &Set) -> Self {
        Self {
            set: set.clone(),
            limits: Limits::default(),
            peer: Peer::Unix,
            next: Rc::default(),
        }
    }

    pub(super) fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(super) fn with_peer(self, peer: Peer) -> Self {
        Self { peer, ..self }
    }

    /// A client's connection, before the client has said anything.
    pub(super) fn connect(&self) -> DuplexStream {
        let (theirs, ours) = tokio::io::duplex(64 * 1024);
        let this = self.clone();
        let service = service_fn(move |request| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.handle(request).await) }
        });
        tokio::task::spawn_local(async move {
            let _ = Builder::new(Local)
                .serve_connection_with_upgrades(TokioIo::new(ours), service)
                .await;
        });
        theirs
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<AnyLocalBody> {
        self.next.set(self.next.get() + 1);
        let about = About {
            app: "hello".try_into().unwrap(),
            id: self.next.get(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            since: Instant::now(),
        };
        let forwarded = Forwarded {
            id: about.id,
            peer: self.peer,
        };
        let held = match hold(&self.set, about, &self.limits).await {
            Ok(held) => held,
            Err(failure) => return failed(&failure),
        };
        match forward(request.map(Some), held, &self.set, &forwarded, &self.limits).await {
            Ok(Answer { response, tunnel }) => {
                if let Some(tunnel) = tunnel {
                    tokio::task::spawn_local(async { drop(tunnel.run().await) });
                }
                response.map(|body| Box::pin(body.map_err(Into::into)) as AnyLocalBody)
            }
            Err(failure) => failed(&failure),
        }
    }

    pub(super) async fn http1(&self) -> http1::SendRequest<AnyBody> {
        let io = TokioIo::new(self.connect());
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::task::spawn_local(connection.with_upgrades());
        sender
    }

    pub(super) async fn http2(&self) -> http2::SendRequest<AnyBody> {
        let io = TokioIo::new(self.connect());
        let mut builder = http2::Builder::new(Local);
        builder.max_header_list_size(1 << 20);
        let (sender, connection) = builder.handshake(io).await.unwrap();
        tokio::task::spawn_local(connection);
        sender
    }

    /// One request over HTTP/1.1 on a connection of its own.
    pub(super) async fn send(&self, request: Request<AnyBody>) -> Response<Incoming> {
        let mut sender = self.http1().await;
        sender.send_request(request).await.unwrap()
    }
}

type AnyLocalBody = std::pin::Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>;

fn failed(failure: &Failure) -> Response<AnyLocalBody> {
    let body: AnyLocalBody = Box::pin(full(failure.to_string()));
    Response::builder()
        .status(failure.error.status())
        .header("code", failure.error.code())
        .body(body)
        .unwrap()
}

/// Reads a request; `None`: the connection has ended.
pub(super) async fn read_request(stream: &mut UnixStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// A request of nobody's.
pub(super) fn about() -> About {
    About {
        app: "hello".try_into().unwrap(),
        id: 0,
        method: Method::GET,
        uri: Uri::from_static("/"),
        since: Instant::now(),
    }
}

pub(super) fn get(path: &str) -> Request<AnyBody> {
    request(Method::GET, path, empty())
}

pub(super) fn request(method: Method, path: &str, body: AnyBody) -> Request<AnyBody> {
    Request::builder()
        .method(method)
        .uri(path.parse::<Uri>().unwrap())
        .header("host", "a")
        .body(body)
        .unwrap()
}

/// For HTTP/2, in which a target has a scheme and an authority.
pub(super) fn request2(method: Method, path: &str, body: AnyBody) -> Request<AnyBody> {
    let mut request = request(method, path, body);
    request.headers_mut().clear();
    *request.uri_mut() = format!("http://a{path}").parse().unwrap();
    request
}

pub(super) fn code(response: &Response<Incoming>) -> &str {
    let code = response.headers().get("code");
    code.map_or("none", |code| code.to_str().unwrap())
}

/// Waits until that holds, which something under way brings about.
pub(super) async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}
