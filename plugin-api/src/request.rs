//! What each request carries besides HTTP.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Uri};
use tower_layer::Layer;
use tower_service::Service;

use crate::{abi, setup::Facts};

/// Where an app runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Inside the host.
    Embedded,
    /// In a worker process.
    #[non_exhaustive]
    Daemon {
        /// The process group's name.
        group: String,
        /// The worker's number in it, from 0.
        worker: u32,
    },
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP peer.
    Inet(SocketAddr),
    /// A peer on a Unix socket.
    Unix,
    /// Not known.
    Unknown,
}

impl Peer {
    pub(crate) fn from_abi(peer: &abi::Peer) -> Self {
        let [a, b, c, d, ..] = peer.ip;
        match peer.kind {
            abi::PEER_IPV4 => Self::Inet(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
                peer.port,
            )),
            abi::PEER_IPV6 => Self::Inet(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(peer.ip),
                peer.port,
                0,
                peer.scope,
            ))),
            abi::PEER_UNIX => Self::Unix,
            _ => Self::Unknown,
        }
    }
}

/// An extension of every request: who sent it, to what, and which generation answers it.
///
/// ```
/// use replug_plugin::{Body, RequestInfo};
///
/// fn log_line(request: &http::Request<Body>) -> Option<String> {
///     let info = request.extensions().get::<RequestInfo>()?;
///     Some(format!("{} asks for {}", info.request_id(), info.original_uri()))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RequestInfo {
    pub(crate) facts: Arc<Facts>,
    pub(crate) peer: Peer,
    pub(crate) original_uri: Uri,
    pub(crate) request_id: u64,
    /// `None`: the app's main one.
    pub(crate) mount: Option<Arc<str>>,
}

impl RequestInfo {
    /// Who sent it.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The request target before the mount was taken off.
    #[must_use]
    pub fn original_uri(&self) -> &Uri {
        &self.original_uri
    }

    /// What was taken off: one of the app's mounts, `/` or a path such as `/hello`.
    #[must_use]
    pub fn mount(&self) -> &str {
        self.mount.as_deref().unwrap_or(&self.facts.mount)
    }

    /// Embedded or daemon mode.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.facts.mode
    }

    /// The process that answers.
    #[must_use]
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// The generation that answers.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.facts.generation
    }

    /// The host's number for the request, as in its log; unique in one run of the host.
    #[must_use]
    pub fn request_id(&self) -> u64 {
        self.request_id
    }
}

/// A layer that puts the peer's address where a framework looks for it.
///
/// With axum's `ConnectInfo` extractor:
///
/// ```
/// use std::net::SocketAddr;
/// use axum::{Router, extract::ConnectInfo, routing::get};
///
/// async fn whoami(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
///     peer.to_string()
/// }
/// let app: Router =
///     Router::new().route("/", get(whoami)).layer(replug_plugin::with_peer(ConnectInfo));
/// ```
///
/// A request from a Unix socket has no address, and gets no such extension.
pub fn with_peer<F>(wrap: F) -> PeerLayer<F> {
    PeerLayer { wrap }
}

/// The layer that [`with_peer`] makes.
#[derive(Clone, Copy, Debug)]
pub struct PeerLayer<F> {
    wrap: F,
}

impl<F: Clone, S> Layer<S> for PeerLayer<F> {
    type Service = PeerService<F, S>;

    fn layer(&self, inner: S) -> Self::Service {
        PeerService {
            wrap: self.wrap.clone(),
            inner,
        }
    }
}

/// The service that [`PeerLayer`] makes.
#[derive(Clone, Copy, Debug)]
pub struct PeerService<F, S> {
    wrap: F,
    inner: S,
}

impl<F, T, S, B> Service<Request<B>> for PeerService<F, S>
where
    F: Fn(SocketAddr) -> T,
    T: Clone + Send + Sync + 'static,
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(Peer::Inet(peer)) = request.extensions().get().map(RequestInfo::peer) {
            request.extensions_mut().insert((self.wrap)(peer));
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_from_the_abi() {
        let mut ip = [0; 16];
        ip[..4].copy_from_slice(&[127, 0, 0, 1]);
        let check = |kind, ip, expected| {
            let peer = abi::Peer {
                kind,
                port: 80,
                scope: 0,
                ip,
            };
            assert_eq!(Peer::from_abi(&peer), expected);
        };
        check(
            abi::PEER_IPV4,
            ip,
            Peer::Inet("127.0.0.1:80".parse().unwrap()),
        );
        check(
            abi::PEER_IPV6,
            Ipv6Addr::LOCALHOST.octets(),
            Peer::Inet("[::1]:80".parse().unwrap()),
        );
        check(abi::PEER_UNIX, ip, Peer::Unix);
        check(77, ip, Peer::Unknown);
    }
}
