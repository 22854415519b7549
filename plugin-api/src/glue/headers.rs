//! Header fields across the boundary, at little cost: each request has some.

use http::{HeaderMap, HeaderName, header, header::InvalidHeaderName};

use crate::abi;

/// So many fields are lent without an allocation.
const FEW: usize = 8;

/// Header fields, with what the other side is lent of them.
pub(crate) struct LentHeaders {
    headers: HeaderMap,
    few: [abi::Header; FEW],
    many: Vec<abi::Header>,
}

impl Default for LentHeaders {
    fn default() -> Self {
        const EMPTY: abi::Header = abi::Header {
            name: abi::Slice::EMPTY,
            value: abi::Slice::EMPTY,
        };
        Self {
            headers: HeaderMap::new(),
            few: [EMPTY; FEW],
            many: Vec::new(),
        }
    }
}

impl LentHeaders {
    /// Takes them, and says where they are and how many: until this is moved, lends others or is
    /// dropped.
    pub(crate) fn lend(&mut self, headers: HeaderMap) -> (*const abi::Header, usize) {
        self.headers = headers;
        let count = self.headers.len();
        let fields = self.headers.iter().map(|(name, value)| abi::Header {
            name: abi::Slice::lend(name.as_str().as_bytes()),
            value: abi::Slice::lend(value.as_bytes()),
        });
        if count > FEW {
            self.many = fields.collect();
            return (self.many.as_ptr(), count);
        }
        for (slot, field) in self.few.iter_mut().zip(fields) {
            *slot = field;
        }
        (self.few.as_ptr(), count)
    }
}

/// A field's name. The names that nearly every message has are looked up, which is several times
/// as fast as reading them letter by letter.
pub(super) fn name(bytes: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    Ok(match bytes {
        b"accept" => header::ACCEPT,
        b"accept-encoding" => header::ACCEPT_ENCODING,
        b"accept-language" => header::ACCEPT_LANGUAGE,
        b"authorization" => header::AUTHORIZATION,
        b"cache-control" => header::CACHE_CONTROL,
        b"connection" => header::CONNECTION,
        b"content-encoding" => header::CONTENT_ENCODING,
        b"content-length" => header::CONTENT_LENGTH,
        b"content-type" => header::CONTENT_TYPE,
        b"cookie" => header::COOKIE,
        b"date" => header::DATE,
        b"etag" => header::ETAG,
        b"host" => header::HOST,
        b"last-modified" => header::LAST_MODIFIED,
        b"location" => header::LOCATION,
        b"origin" => header::ORIGIN,
        b"referer" => header::REFERER,
        b"set-cookie" => header::SET_COOKIE,
        b"user-agent" => header::USER_AGENT,
        b"vary" => header::VARY,
        _ => return HeaderName::from_bytes(bytes),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn names_that_are_looked_up_are_those_that_are_read() {
        for text in [
            "accept",
            "accept-encoding",
            "accept-language",
            "authorization",
            "cache-control",
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "cookie",
            "date",
            "etag",
            "host",
            "last-modified",
            "location",
            "origin",
            "referer",
            "set-cookie",
            "user-agent",
            "vary",
            "x-request-id",
        ] {
            assert_eq!(name(text.as_bytes()).unwrap(), text);
        }
        assert_eq!(name(b"Content-Type").unwrap(), header::CONTENT_TYPE);
        assert!(name(b"no name").is_err());
    }

    #[test]
    fn few_and_many_fields_are_lent_in_their_order() {
        for count in [0, 1, FEW, FEW + 1] {
            let mut headers = HeaderMap::new();
            for number in 0..count {
                headers.append("x-many", HeaderValue::from(number));
            }
            let mut lent = LentHeaders::default();
            let (at, len) = lent.lend(headers);
            assert_eq!(len, count);
            let lent = if count > FEW {
                &lent.many[..]
            } else {
                &lent.few[..count]
            };
            assert!(std::ptr::eq(lent.as_ptr(), at));
            assert_eq!(lent.len(), count);
        }
    }
}
