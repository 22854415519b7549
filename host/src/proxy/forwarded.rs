//! What goes along with a request that HTTP itself does not say.

use std::fmt;

use http::{HeaderName, HeaderValue, Request, Version};

use crate::loader::Peer;

/// The field in which it goes. Only workers may believe it, whose sockets only the supervisor can
/// reach: what a client says there is thrown away.
pub const FORWARDED: HeaderName = HeaderName::from_static("replug-forwarded");

/// What the worker is told of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The host's number for the request.
    pub id: u64,
    /// Who sent it.
    pub peer: Peer,
}

/// Why a request cannot be from the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardedError {
    /// The field is not there, or more than once.
    #[error("the request must have one field `replug-forwarded`, and has {0}")]
    Number(usize),
    /// It does not say what it should.
    #[error("`replug-forwarded` must say `id=NUMBER;peer=ADDRESS`, and says {0:?}")]
    Text(HeaderValue),
}

impl Forwarded {
    /// For the worker: takes it off a request, and gives the request the version that the client
    /// spoke.
    ///
    /// # Errors
    /// When the request does not come from the supervisor, which always says it.
    pub fn take<B>(request: &mut Request<B>) -> Result<Self, ForwardedError> {
        let number = request.headers().get_all(FORWARDED).iter().count();
        let value = request.headers_mut().remove(FORWARDED);
        let value = value
            .filter(|_| number == 1)
            .ok_or(ForwardedError::Number(number))?;
        let Some((forwarded, is_old)) = value.to_str().ok().and_then(parse) else {
            return Err(ForwardedError::Text(value));
        };
        if is_old {
            *request.version_mut() = Version::HTTP_10;
        }
        Ok(forwarded)
    }

    /// Adds it to a request that a client has made.
    pub(super) fn put<B>(&self, request: &mut Request<B>) {
        let text = Text(self, request.version()).to_string();
        // Digits, addresses and the names of this file.
        let value = HeaderValue::try_from(text).unwrap_or_else(|_| unreachable!("is plain text"));
        request.headers_mut().insert(FORWARDED, value);
        // Worker and host speak 1.1: in 1.0, a body's end is a connection's, and looks like a death.
        if request.version() != Version::HTTP_2 {
            *request.version_mut() = Version::HTTP_11;
        }
    }
}

struct Text<'a>(&'a Forwarded, Version);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Forwarded { id, peer }, version) = self;
        match peer {
            Peer::Inet(address) => write!(f, "id={id};peer={address}")?,
            Peer::Unix => write!(f, "id={id};peer=unix")?,
        }
        if *version == Version::HTTP_10 {
            f.write_str(";version=1.0")?;
        }
        Ok(())
    }
}

/// What it says, and whether the client spoke HTTP/1.0.
fn parse(text: &str) -> Option<(Forwarded, bool)> {
    let (text, is_old) = match text.strip_suffix(";version=1.0") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (id, peer) = text.strip_prefix("id=")?.split_once(";peer=")?;
    let peer = match peer {
        "unix" => Peer::Unix,
        address => Peer::Inet(address.parse().ok()?),
    };
    let id = id.parse().ok()?;
    Some((Forwarded { id, peer }, is_old))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(forwarded: Forwarded, version: Version) {
        let mut request = Request::new(());
        *request.version_mut() = version;
        forwarded.put(&mut request);
        assert_eq!(Forwarded::take(&mut request), Ok(forwarded));
        assert_eq!(request.version(), version);
        assert!(request.headers().is_empty());
    }

    #[test]
    fn what_is_put_is_taken() {
        for address in ["127.0.0.1:80", "[2001:db8::1]:65535", "[fe80::1%3]:1"] {
            let peer = Peer::Inet(address.parse().unwrap());
            check(Forwarded { id: 1, peer }, Version::HTTP_11);
        }
        let peer = Peer::Unix;
        check(Forwarded { id: u64::MAX, peer }, Version::HTTP_11);
        check(Forwarded { id: 0, peer }, Version::HTTP_10);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "id=1",
            "id=;peer=unix",
            "id=1;peer=",
            "id=-1;peer=unix",
            "id=1;peer=localhost:80",
            "id=18446744073709551616;peer=unix",
            "id=1;peer=unix;version=1.1",
            "id=1;peer=unix\u{e9}",
        ] {
            let mut request = Request::new(());
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            request.headers_mut().insert(FORWARDED, value);
            let taken = Forwarded::take(&mut request);
            assert!(matches!(taken, Err(ForwardedError::Text(_))), "{text}");
            assert!(request.headers().is_empty());
        }
    }

    #[test]
    fn one_that_is_missing_or_doubled_is_refused() {
        let mut request = Request::new(());
        let taken = Forwarded::take(&mut request);
        assert_eq!(taken, Err(ForwardedError::Number(0)));
        let value = HeaderValue::from_static("id=1;peer=unix");
        request.headers_mut().append(FORWARDED, value.clone());
        request.headers_mut().append(FORWARDED, value);
        let taken = Forwarded::take(&mut request);
        assert_eq!(taken, Err(ForwardedError::Number(2)));
    }
}
