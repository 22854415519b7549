//! A worker's end of a trunk, and a worker that leaves it to the test.

use std::{cell::Cell, collections::HashMap, future::poll_fn, rc::Rc, sync::Arc};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::{rt::TokioIo, server::conn::auto::Builder};
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixStream,
    sync::mpsc,
    task::{JoinHandle, spawn_local},
};

use super::super::{
    super::{Answer, Failure, Forwarded, Limits, ProxiedBody, forward},
    rig::*,
};
use crate::{
    loader::Peer,
    process::Watermark,
    trunk::{Ask, Inbox, Outbox, RequestHead, ResponseHead, is_hailed, take_hail},
    workers::{Held, Set},
};

/// What a worker has of a trunk.
pub(super) struct Far {
    stream: UnixStream,
    inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) watermark: Watermark,
}

/// A worker whose trunks the test speaks on. What comes over HTTP it answers itself, with the field
/// `way: http` and the request's body.
pub(super) struct Scripted {
    pub(super) server: Server,
    trunks: mpsc::UnboundedReceiver<UnixStream>,
    /// How many requests came over HTTP.
    pub(super) alone: Rc<Cell<usize>>,
}

impl Scripted {
    pub(super) fn start(number: u32, trunks: usize) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let alone = Rc::new(Cell::new(0));
        let count = Rc::clone(&alone);
        let server = Server::sharing(number, trunks, move |stream| {
            let (sender, count) = (sender.clone(), Rc::clone(&count));
            async move {
                let _ = stream.readable().await;
                if is_hailed(&stream) {
                    let _ = sender.send(stream);
                    return;
                }
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    count.set(count.get() + 1);
                    async move {
                        let body = collect(request.into_body()).await?.0;
                        let response = Response::builder().header("way", "http");
                        Ok::<_, hyper::Error>(response.body(full(body)).unwrap())
                    }
                });
                let _ = Builder::new(Local)
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            }
        });
        Self {
            server,
            trunks: receiver,
            alone,
        }
    }

    /// The next trunk that is made.
    pub(super) async fn trunk(&mut self) -> Far {
        Far::take(self.trunks.recv().await.unwrap())
    }

    /// Whether there is another.
    pub(super) fn has_trunk(&mut self) -> bool {
        !self.trunks.is_empty()
    }

    /// It dies with what the test has of it.
    pub(super) async fn kill(&self, far: Far) {
        self.server.kill().await;
        drop(far);
    }
}

impl Far {
    fn take(stream: UnixStream) -> Self {
        Self {
            watermark: take_hail(&stream).unwrap(),
            stream,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
        }
    }

    /// What the supervisor says next; `None`: it has ended the connection.
    pub(super) async fn ask(&mut self) -> Option<(u32, Ask)> {
        loop {
            if let Some(raw) = self.inbox.take().unwrap() {
                return Some(Ask::read(raw).unwrap());
            }
            let stream = &mut self.stream;
            if !poll_fn(|cx| self.inbox.poll_read(cx, stream)).await {
                return None;
            }
        }
    }

    /// The next request.
    pub(super) async fn request(&mut self) -> (u32, RequestHead) {
        match self.ask().await {
            Some((stream, Ask::Request(head))) => (stream, head),
            other => panic!("no request, but {other:?}"),
        }
    }

    /// So many requests: their streams, by path.
    pub(super) async fn requests(&mut self, number: usize) -> HashMap<String, u32> {
        let mut streams = HashMap::new();
        for _ in 0..number {
            let (stream, head) = self.request().await;
            streams.insert(head.request.uri().path().to_owned(), stream);
        }
        streams
    }

    /// Says all that was put into the outbox.
    pub(super) async fn say(&mut self) {
        let mut said = std::mem::take(&mut self.outbox);
        let said = said.copy_to_bytes(said.remaining());
        self.stream.write_all(&said).await.unwrap();
    }

    pub(super) async fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Answers with 200 and that, whole.
    pub(super) async fn answer(&mut self, stream: u32, body: impl Into<Bytes>) {
        let body = body.into();
        let head = head(Some(body.len() as u64), &[]);
        self.outbox.response(stream, &head, body, true).unwrap();
        self.say().await;
    }

    /// Begins an answer of an unknown length.
    pub(super) async fn begin(&mut self, stream: u32, body: impl Into<Bytes>) {
        let head = head(None, &[]);
        self.outbox
            .response(stream, &head, body.into(), false)
            .unwrap();
        self.say().await;
    }
}

pub(super) fn head(length: Option<u64>, fields: &[(&'static str, &str)]) -> ResponseHead {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    ResponseHead {
        status: StatusCode::OK,
        headers,
        length,
    }
}

/// A frame, whatever it says.
pub(super) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut frame = length.to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend(stream.to_le_bytes());
    frame.extend(payload);
    frame
}

type Passing = JoinHandle<Result<Response<ProxiedBody>, Failure>>;

/// Passes a request on; the test reads the answer as it likes.
pub(super) fn pass(set: &Set, path: &str) -> Passing {
    let held = set.pick(&about()).unwrap();
    pass_held(set, held, path)
}

/// The same, of a request for which the worker was chosen.
pub(super) fn pass_held(set: &Set, held: Held, path: &str) -> Passing {
    let request = Request::builder().uri(path).body(None).unwrap();
    let set = set.clone();
    spawn_local(async move {
        let forwarded = Forwarded {
            id: 1,
            peer: Peer::Unix,
        };
        let passed = forward(request, held, &set, &forwarded, &Limits::default()).await;
        passed.map(|Answer { response, .. }| response)
    })
}

/// Another worker for those requests.
pub(super) fn add(set: &Set, server: &Server) {
    set.add(Arc::clone(&server.worker));
}
