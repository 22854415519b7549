//! A request on its way into a plugin.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
};

use bytes::Bytes;
use http::{Uri, Version, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use replug_plugin::{
    BoxError, abi,
    glue::body::{BodySource, export},
};
use smallvec::SmallVec;

use super::slots::{LazySlot, Slots};

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Inet(std::net::SocketAddr),
    /// A peer on a Unix socket.
    Unix,
}

impl Peer {
    fn to_abi(self) -> abi::Peer {
        let mut peer = abi::Peer {
            kind: abi::PEER_UNIX,
            port: 0,
            scope: 0,
            ip: [0; 16],
        };
        let Self::Inet(address) = self else {
            return peer;
        };
        peer.port = address.port();
        match address.ip() {
            IpAddr::V4(ip) => {
                peer.kind = abi::PEER_IPV4;
                peer.ip[..4].copy_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                peer.kind = abi::PEER_IPV6;
                peer.ip = ip.octets();
            }
        }
        if let std::net::SocketAddr::V6(address) = address {
            peer.scope = address.scope_id();
        }
        peer
    }
}

/// What a plugin is told of a request besides HTTP.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    /// The request target with the mount taken off; `None`: nothing was taken off.
    pub uri: Option<&'a str>,
    /// The request target as it came in.
    pub original_uri: &'a Uri,
    /// What was taken off it: one of the app's mounts.
    pub mount: &'a str,
    /// Who sent it.
    pub peer: Peer,
    /// The host's number for it.
    pub id: u64,
}

/// Runs `f` with the request as a message; what the message points to lives as long as `f` runs.
pub(super) fn with_message<R>(
    parts: &Parts,
    info: &RequestInfo<'_>,
    body: abi::Body,
    f: impl FnOnce(&mut abi::Request) -> R,
) -> R {
    // Most requests have fewer header fields than this, and need no allocation.
    let headers: SmallVec<[abi::Header; 24]> = parts
        .headers
        .iter()
        .map(|(name, value)| abi::Header {
            name: abi::Slice::lend(name.as_str().as_bytes()),
            value: abi::Slice::lend(value.as_bytes()),
        })
        .collect();
    // A plain path, as nearly all are, is lent as it stands.
    let written;
    let uri = info.original_uri;
    let original = match uri.path_and_query() {
        Some(path) if uri.scheme().is_none() && uri.authority().is_none() => path.as_str(),
        _ => {
            written = uri.to_string();
            &written
        }
    };
    f(&mut abi::Request {
        size: size_of::<abi::Request>(),
        method: abi::Slice::lend(parts.method.as_str().as_bytes()),
        uri: abi::Slice::lend(info.uri.unwrap_or(original).as_bytes()),
        original_uri: abi::Slice::lend(original.as_bytes()),
        headers: headers.as_ptr(),
        header_count: headers.len(),
        version: match parts.version {
            Version::HTTP_09 => 9,
            Version::HTTP_10 => 10,
            Version::HTTP_2 => 20,
            _ => 11,
        },
        peer: info.peer.to_abi(),
        request_id: info.id,
        body,
        mount: abi::Slice::lend(info.mount.as_bytes()),
    })
}

/// Hands hyper's request body to the plugin.
pub(super) fn export_body<K: Clone + Send + 'static>(
    incoming: Incoming,
    slots: &Arc<Slots>,
    keep: &K,
) -> abi::Body {
    // Asked first, so that a request without a body costs nothing here.
    if incoming.is_end_stream() {
        return abi::Body::EMPTY;
    }
    export(RequestBody {
        incoming,
        slot: LazySlot::new(slots),
        _keep: keep.clone(),
    })
}

struct RequestBody<K> {
    incoming: Incoming,
    slot: LazySlot,
    /// Tells that somebody may still read it.
    _keep: K,
}

impl<K: Send + 'static> BodySource for RequestBody<K> {
    fn poll(&mut self, waker: &abi::Waker) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let incoming = Pin::new(&mut self.incoming);
        let frame = ready!(self.slot.poll(waker, |cx| incoming.poll_frame(cx)));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    fn is_end(&self) -> bool {
        self.incoming.is_end_stream()
    }
}
