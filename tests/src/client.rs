//! A client that keeps to one connection: a test that holds one proves that it was not replaced.

use std::{convert::Infallible, io, net::SocketAddr};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Request, Response, StatusCode, request::Builder};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::{http1, http2},
    rt::{Read, Write},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::in_time;

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().boxed_unsync()
}

/// A body of these bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body of what a stream gives.
pub fn streamed(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    use futures_util::StreamExt as _;
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}

/// A connection to the host.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    /// This end's address; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// A response that has been read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub trailers: Option<HeaderMap>,
}

impl Connection {
    /// HTTP/1.1; the address is `host:port` or `unix:PATH`.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn http1(address: &str) -> Self {
        Self::try_http1(address).await.unwrap()
    }

    /// The same where nobody may listen.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn try_http1(address: &str) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            return Self::over_http1(UnixStream::connect(path).await?, None).await;
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr().ok();
        Self::over_http1(stream, local).await
    }

    /// HTTP/1.1 from a socket that takes little at a time, so that a reader that stops is felt
    /// soon.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn http1_with_little_room(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.set_send_buffer_size(64 << 10).unwrap();
        let stream = socket.connect(address).await.unwrap();
        Self::over_http1(stream, None).await.unwrap()
    }

    async fn over_http1<S>(stream: S, local: Option<SocketAddr>) -> io::Result<Self>
    where
        TokioIo<S>: Read + Write + Unpin + Send + 'static,
    {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        // A test sees the end of a connection in the request that fails.
        tokio::spawn(connection.with_upgrades());
        Ok(Self {
            sender: Sender::Http1(sender),
            local,
        })
    }

    /// HTTP/2 without TLS and without asking first.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn http2(address: &str) -> Self {
        Self::try_http2(address).await.unwrap()
    }

    /// The same where nobody may listen.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn try_http2(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let local = stream.local_addr().ok();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self {
            sender: Sender::Http2(sender),
            local,
        })
    }

    /// Sends a request and awaits the response's head.
    ///
    /// # Errors
    /// When the connection ends before that.
    pub async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// The same when it must go well.
    ///
    /// # Panics
    /// When it does not.
    pub async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        let what = format!("{} {}", request.method(), request.uri());
        in_time(&what, self.try_send(request))
            .await
            .unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// A request for that path on this connection.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> Builder {
        let builder = Request::builder().method(method);
        match self.sender {
            Sender::Http1(_) => builder.uri(path).header("host", "test"),
            Sender::Http2(_) => builder.uri(format!("http://test{path}")),
        }
    }

    /// A GET whose response's head is awaited.
    ///
    /// # Panics
    /// When there is none.
    pub async fn open(&mut self, path: &str) -> Response<Incoming> {
        let request = self.request("GET", path).body(empty()).unwrap();
        self.send(request).await
    }

    /// A GET, read to its end.
    ///
    /// # Panics
    /// When it breaks off.
    pub async fn get(&mut self, path: &str) -> Answer {
        let response = self.open(path).await;
        read(response)
            .await
            .unwrap_or_else(|error| panic!("GET {path}: {error:?}"))
    }

    /// A POST, read to its end.
    ///
    /// # Panics
    /// When it breaks off.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = self.request("POST", path).body(full(body)).unwrap();
        let response = self.send(request).await;
        read(response)
            .await
            .unwrap_or_else(|error| panic!("POST {path}: {error:?}"))
    }

    /// The text of a GET that must be a 200.
    ///
    /// # Panics
    /// When it is something else.
    pub async fn text(&mut self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "GET {path}: {answer:?}");
        answer.text
    }

    /// The JSON of a GET that must be a 200.
    ///
    /// # Panics
    /// When it is something else.
    pub async fn json(&mut self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    /// Sends a request on an HTTP/2 connection and comes back when the host has taken it: the
    /// response to a later request of the same connection has come, and a connection's requests
    /// are taken in their order.
    ///
    /// # Panics
    /// On an HTTP/1.1 connection, and when the app does not answer `/`.
    pub async fn begin(&mut self, path: &str) -> InFlight {
        let begun = self.start(path).await;
        let mount = path.rsplit_once('/').map_or("", |(mount, _)| mount);
        self.text(&format!("{mount}/")).await;
        begun
    }

    /// Sends a request on an HTTP/2 connection; whether the host has taken it is not known.
    ///
    /// # Panics
    /// On an HTTP/1.1 connection.
    pub async fn start(&mut self, path: &str) -> InFlight {
        let request = self.request("GET", path).body(empty()).unwrap();
        let Sender::Http2(sender) = &mut self.sender else {
            panic!("HTTP/1.1 has one request at a time");
        };
        sender.ready().await.unwrap();
        let response = tokio::spawn(sender.send_request(request));
        // The task has to run once before this connection sees the request.
        tokio::task::yield_now().await;
        InFlight(response)
    }
}

/// A request that the host is at.
#[derive(Debug)]
pub struct InFlight(tokio::task::JoinHandle<hyper::Result<Response<Incoming>>>);

impl InFlight {
    /// The response.
    ///
    /// # Errors
    /// When the connection or stream ends before it.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn answer(self) -> hyper::Result<Answer> {
        read(in_time("a response", self.0).await.unwrap()?).await
    }

    /// Goes away: the stream is reset.
    pub fn cancel(self) {
        self.0.abort();
    }
}

/// Reads a response to its end.
///
/// # Errors
/// When it is cut off.
///
/// # Panics
/// When that takes too long.
pub async fn read(response: Response<Incoming>) -> hyper::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = in_time("a response's end", body.collect()).await?;
    let trailers = body.trailers().cloned();
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        text,
        trailers,
    })
}

/// The next bytes of a response.
///
/// # Panics
/// When it has ended, or breaks off.
pub async fn next(response: &mut Response<Incoming>) -> Bytes {
    let frame = in_time("a response's next frame", response.frame()).await;
    let frame = frame.expect("not the end").expect("not broken off");
    frame.into_data().expect("data")
}
