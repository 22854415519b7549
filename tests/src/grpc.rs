//! A client of the `grpc` sample, over one HTTP/2 connection.

use std::{
    io,
    task::{Context, Poll},
};

use futures_util::{StreamExt as _, stream::BoxStream};
use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::{Status, body::Body, client::Grpc};
use tonic_prost::ProstCodec;

use crate::Host;

#[derive(Clone, PartialEq, prost::Message)]
struct GreetRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GreetManyRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    count: u32,
    #[prost(uint32, tag = "3")]
    interval_ms: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Greeting {
    #[prost(string, tag = "1")]
    text: String,
}

/// Speaks `greeter.v1.Greeter`.
#[derive(Debug)]
pub struct Greeter(Grpc<Channel>);

/// A connection as tonic wants it.
#[derive(Clone, Debug)]
struct Channel(http2::SendRequest<Body>);

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = futures_util::future::BoxFuture<'static, hyper::Result<Response<Incoming>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

impl Greeter {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect(host: &Host) -> Self {
        Self::try_connect(&host.address).await.unwrap()
    }

    /// The same where nobody may listen.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn try_connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        // A call is several frames: without this, the last one waits for the host to have
        // acknowledged the first.
        stream.set_nodelay(true)?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let origin = Uri::try_from(format!("http://{address}")).map_err(io::Error::other)?;
        Ok(Self(Grpc::with_origin(Channel(sender), origin)))
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unknown(error.to_string()))
    }

    /// One greeting.
    ///
    /// # Errors
    /// The service's status.
    pub async fn greet(&mut self, name: &str) -> Result<String, Status> {
        self.ready().await?;
        let request = tonic::Request::new(GreetRequest {
            name: name.to_owned(),
        });
        let path = PathAndQuery::from_static("/greeter.v1.Greeter/Greet");
        let codec = ProstCodec::<GreetRequest, Greeting>::default();
        Ok(self.0.unary(request, path, codec).await?.into_inner().text)
    }

    /// Many.
    ///
    /// # Errors
    /// The service's status.
    pub async fn greet_many(
        &mut self,
        name: &str,
        count: u32,
        interval_ms: u32,
    ) -> Result<BoxStream<'static, Result<String, Status>>, Status> {
        self.ready().await?;
        let name = name.to_owned();
        let request = tonic::Request::new(GreetManyRequest {
            name,
            count,
            interval_ms,
        });
        let path = PathAndQuery::from_static("/greeter.v1.Greeter/GreetMany");
        let codec = ProstCodec::<GreetManyRequest, Greeting>::default();
        let stream = self
            .0
            .server_streaming(request, path, codec)
            .await?
            .into_inner();
        Ok(stream
            .map(|greeting| greeting.map(|greeting| greeting.text))
            .boxed())
    }
}
