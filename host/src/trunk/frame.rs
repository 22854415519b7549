//! What is said on a trunk.

use bytes::Bytes;

use super::{
    head::{RequestHead, ResponseHead, read_trailers},
    inbox::Raw,
};

pub(super) const REQUEST: u8 = 1;
pub(super) const CANCEL: u8 = 2;
pub(super) const CREDIT: u8 = 3;
pub(super) const RESPONSE: u8 = 16;
pub(super) const WHOLE_RESPONSE: u8 = 17;
pub(super) const DATA: u8 = 18;
pub(super) const LAST_DATA: u8 = 19;
pub(super) const TRAILERS: u8 = 20;
pub(super) const FAILED: u8 = 21;
pub(super) const REFUSED: u8 = 22;
pub(super) const LEAVING: u8 = 23;

/// What a supervisor says, and of which stream.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are requests, and each is taken apart at once"
)]
pub enum Ask {
    /// Begins a stream.
    Request(RequestHead),
    /// The same with a request that cannot be read: its failure, and not that of those beside it.
    Unreadable(Malformed),
    /// Nobody waits for the answer any more.
    Cancel,
    /// So many more bytes of the body may be sent.
    Credit(u32),
}

/// What a worker says, and of which stream.
#[derive(Debug)]
pub enum Answer {
    /// An answer begins, and this is the first of its body, which may be nothing.
    Response(ResponseHead, Bytes),
    /// The same, and this is all of its body.
    WholeResponse(ResponseHead, Bytes),
    /// More of the body.
    Data(Bytes),
    /// The rest of the body.
    LastData(Bytes),
    /// The body has ended, and this is what comes after it.
    Trailers(http::HeaderMap),
    /// There is no answer, or no more of it: why. Also of a request that was cancelled.
    Failed(String),
    /// The request was not begun.
    Refused,
    /// No request is begun from now on. Of no stream.
    Leaving,
}

impl Answer {
    /// Whether nothing of its stream comes after it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self {
            Self::WholeResponse(..)
            | Self::LastData(_)
            | Self::Trailers(_)
            | Self::Failed(_)
            | Self::Refused => true,
            Self::Response(..) | Self::Data(_) | Self::Leaving => false,
        }
    }
}

/// What came means nothing.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// A frame that is longer than any.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// A kind that this side is not told.
    #[error("a frame of kind {0}")]
    Kind(u8),
    /// A stream that is not there.
    #[error("a frame of stream {0}, which is none")]
    Stream(u32),
    /// Its payload is not one of its kind.
    #[error("a frame's payload: {0}")]
    Payload(#[from] postcard::Error),
    /// What would be HTTP is not.
    #[error("a frame's payload: {0}")]
    Http(#[from] http::Error),
    /// The payload should be of another length.
    #[error("a frame's payload is of a wrong length")]
    PayloadLength,
}

impl Ask {
    /// What a worker gets.
    ///
    /// # Errors
    /// When it is nothing that a supervisor says.
    pub fn read(raw: Raw) -> Result<(u32, Self), Malformed> {
        let ask = match raw.kind {
            REQUEST => RequestHead::read(&raw.payload).map_or_else(Self::Unreadable, Self::Request),
            CANCEL => Self::Cancel,
            CREDIT => {
                let bytes = raw.payload.as_ref().try_into();
                Self::Credit(u32::from_le_bytes(
                    bytes.map_err(|_| Malformed::PayloadLength)?,
                ))
            }
            kind => return Err(Malformed::Kind(kind)),
        };
        Ok((raw.stream, ask))
    }
}

impl Answer {
    /// What a supervisor gets.
    ///
    /// # Errors
    /// When it is nothing that a worker says.
    pub fn read(raw: Raw) -> Result<(u32, Self), Malformed> {
        let answer = match raw.kind {
            RESPONSE => {
                let (head, data) = ResponseHead::read(&raw.payload)?;
                Self::Response(head, data)
            }
            WHOLE_RESPONSE => {
                let (head, data) = ResponseHead::read(&raw.payload)?;
                Self::WholeResponse(head, data)
            }
            DATA => Self::Data(raw.payload),
            LAST_DATA => Self::LastData(raw.payload),
            TRAILERS => Self::Trailers(read_trailers(&raw.payload)?),
            FAILED => Self::Failed(String::from_utf8_lossy(&raw.payload).into_owned()),
            REFUSED => Self::Refused,
            LEAVING => Self::Leaving,
            kind => return Err(Malformed::Kind(kind)),
        };
        Ok((raw.stream, answer))
    }
}
