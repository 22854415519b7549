//! Heads of messages, in postcard.

use std::{fmt, net::SocketAddr};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, request,
    uri::{self, Authority, PathAndQuery},
};
use postcard::ser_flavors::Flavor;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
    ser::SerializeSeq as _,
};
use smallvec::SmallVec;

use super::frame::Malformed;
use crate::loader::Peer;

/// For how many fields there is room from the beginning, at the most.
const MOST_ROOM: usize = 512;

/// A request, and what HTTP does not say of it.
#[derive(Debug)]
pub struct RequestHead {
    /// It has no body.
    pub request: Request<()>,
    /// The supervisor's number for it.
    pub id: u64,
    /// Who sent it.
    pub peer: Peer,
}

/// The beginning of an answer.
#[derive(Debug)]
pub struct ResponseHead {
    /// As HTTP has it.
    pub status: StatusCode,
    /// As HTTP has them.
    pub headers: HeaderMap,
    /// How long the body is, in bytes; `None`: that is not known yet.
    pub length: Option<u64>,
}

#[derive(Deserialize, Serialize)]
struct RequestForm<'a, F> {
    id: u64,
    peer: PeerForm,
    version: VersionForm,
    method: &'a str,
    /// Each apart, and empty where there is none: written as one, they may be read as others, or be
    /// longer than any that is taken.
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
    fields: F,
}

#[derive(Deserialize, Serialize)]
struct ResponseForm<F> {
    status: u16,
    length: Option<u64>,
    fields: F,
}

#[derive(Deserialize, Serialize)]
enum VersionForm {
    Http10,
    Http11,
    Http2,
}

#[derive(Deserialize, Serialize)]
enum PeerForm {
    Unix,
    Inet4([u8; 4], u16),
    /// With its scope, which serde's own form of an address leaves out.
    Inet6([u8; 16], u16, u32),
}

/// Fields to be written.
struct FieldsOf<'a>(&'a HeaderMap);

/// Fields as they were read.
struct Fields<'a>(SmallVec<[(&'a str, &'a [u8]); 24]>);

struct Raw<'a>(&'a [u8]);

impl RequestHead {
    pub(super) fn read(payload: &Bytes) -> Result<Self, Malformed> {
        let form: RequestForm<'_, Fields<'_>> = postcard::from_bytes(payload)?;
        let mut request = Request::new(());
        *request.method_mut() =
            Method::from_bytes(form.method.as_bytes()).map_err(http::Error::from)?;
        *request.uri_mut() = form.uri(payload)?;
        *request.version_mut() = match form.version {
            VersionForm::Http10 => Version::HTTP_10,
            VersionForm::Http11 => Version::HTTP_11,
            VersionForm::Http2 => Version::HTTP_2,
        };
        *request.headers_mut() = form.fields.headers(payload)?;
        Ok(Self {
            request,
            id: form.id,
            peer: form.peer.into(),
        })
    }
}

impl<F> RequestForm<'_, F> {
    /// Its parts are parts of the payload.
    fn uri(&self, payload: &Bytes) -> Result<Uri, http::Error> {
        let part = |text: &str| (!text.is_empty()).then(|| payload.slice_ref(text.as_bytes()));
        let path = part(self.path).map(PathAndQuery::from_maybe_shared);
        let path = path.transpose()?;
        let mut parts = uri::Parts::default();
        match path {
            // A plain path, as nearly all are.
            Some(path) if self.scheme.is_empty() && self.authority.is_empty() => {
                return Ok(path.into());
            }
            path => parts.path_and_query = path,
        }
        if !self.scheme.is_empty() {
            parts.scheme = Some(self.scheme.parse()?);
        }
        let authority = part(self.authority).map(Authority::from_maybe_shared);
        parts.authority = authority.transpose()?;
        Ok(Uri::from_parts(parts)?)
    }
}

impl ResponseHead {
    /// A head, and what comes behind it.
    pub(super) fn read(payload: &Bytes) -> Result<(Self, Bytes), Malformed> {
        let (form, data): (ResponseForm<Fields<'_>>, _) = postcard::take_from_bytes(payload)?;
        let head = Self {
            status: StatusCode::from_u16(form.status).map_err(http::Error::from)?,
            headers: form.fields.headers(payload)?,
            length: form.length,
        };
        Ok((head, payload.slice_ref(data)))
    }
}

pub(super) fn read_trailers(payload: &Bytes) -> Result<HeaderMap, Malformed> {
    let fields: Fields<'_> = postcard::from_bytes(payload)?;
    Ok(fields.headers(payload)?)
}

pub(super) fn write_request(to: &mut BytesMut, parts: &request::Parts, id: u64, peer: Peer) {
    let version = match parts.version {
        Version::HTTP_2 => VersionForm::Http2,
        Version::HTTP_10 => VersionForm::Http10,
        _ => VersionForm::Http11,
    };
    let uri = &parts.uri;
    let form = RequestForm {
        id,
        peer: peer.into(),
        version,
        method: parts.method.as_str(),
        scheme: uri.scheme_str().unwrap_or_default(),
        authority: uri.authority().map_or("", Authority::as_str),
        path: uri.path_and_query().map_or("", PathAndQuery::as_str),
        fields: FieldsOf(&parts.headers),
    };
    write(to, &form);
}

pub(super) fn write_response(to: &mut BytesMut, head: &ResponseHead) {
    let form = ResponseForm {
        status: head.status.as_u16(),
        length: head.length,
        fields: FieldsOf(&head.headers),
    };
    write(to, &form);
}

pub(super) fn write_trailers(to: &mut BytesMut, trailers: &HeaderMap) {
    write(to, &FieldsOf(trailers));
}

fn write(to: &mut BytesMut, form: &impl Serialize) {
    if postcard::serialize_with_flavor(form, Into(to)).is_err() {
        unreachable!("all lengths are known, and the buffer grows");
    }
}

/// Where postcard writes to.
struct Into<'a>(&'a mut BytesMut);

impl Flavor for Into<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.put_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl From<Peer> for PeerForm {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Unix => Self::Unix,
            Peer::Inet(SocketAddr::V4(at)) => Self::Inet4(at.ip().octets(), at.port()),
            Peer::Inet(SocketAddr::V6(at)) => {
                Self::Inet6(at.ip().octets(), at.port(), at.scope_id())
            }
        }
    }
}

impl From<PeerForm> for Peer {
    fn from(form: PeerForm) -> Self {
        use std::net::SocketAddrV6;
        match form {
            PeerForm::Unix => Self::Unix,
            PeerForm::Inet4(ip, port) => Self::Inet((ip, port).into()),
            PeerForm::Inet6(ip, port, scope) => {
                Self::Inet(SocketAddrV6::new(ip.into(), port, 0, scope).into())
            }
        }
    }
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

impl Serialize for FieldsOf<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_seq(Some(self.0.len()))?;
        for (name, value) in self.0 {
            fields.serialize_element(&(name.as_str(), Raw(value.as_bytes())))?;
        }
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Seen;

        impl<'de> Visitor<'de> for Seen {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names and values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Fields<'de>, A::Error> {
                // Not by the number that is said: it is not known to be true.
                let mut fields = SmallVec::new();
                while let Some(field) = from.next_element()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        from.deserialize_seq(Seen)
    }
}

impl Fields<'_> {
    /// The values are parts of the payload.
    fn headers(&self, payload: &Bytes) -> Result<HeaderMap, http::Error> {
        // The room is for names, of which there may be fewer, and not for more than a map takes.
        let mut headers = HeaderMap::try_with_capacity(self.0.len().min(MOST_ROOM))?;
        for (name, value) in &self.0 {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            let value = HeaderValue::from_maybe_shared(payload.slice_ref(value))?;
            headers.try_append(name, value)?;
        }
        Ok(headers)
    }
}
