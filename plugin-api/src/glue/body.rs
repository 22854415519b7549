//! Message bodies across the boundary.
//!
//! [`export`] makes an [`abi::Body`] of a local source; [`Imported`] is the other side's body
//! here.

#![expect(unsafe_code, reason = "ABI glue: bodies of the other side")]

use std::{
    error::Error,
    ffi::c_void,
    fmt, ptr,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};

use crate::{
    abi,
    glue::{
        bytes::{adopt, adopt_or_copy, adopt_text, owned},
        guard::{self, Caught},
        headers, waker,
    },
};

/// Any error, as the `tower` and `hyper` worlds pass it on.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A body that this side owns and the other side polls.
pub trait BodySource: Send + 'static {
    /// Polls for the next frame with the other side's waker.
    fn poll(&mut self, waker: &abi::Waker) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>;
    /// How many bytes of data are left.
    fn size_hint(&self) -> SizeHint;
    /// Whether nothing follows, not even trailers.
    fn is_end(&self) -> bool;
}

impl abi::Body {
    /// A body without data or trailers.
    pub const EMPTY: Self = Self {
        this: ptr::null_mut(),
        table: ptr::null(),
        lower: 0,
        upper: 0,
    };
}

impl abi::Failure {
    /// Nothing failed.
    pub const EMPTY: Self = Self {
        size: size_of::<Self>(),
        message: abi::Buf::EMPTY,
        location: abi::Buf::EMPTY,
        frames: abi::Buf::EMPTY,
    };

    /// A failure that is no panic.
    #[must_use]
    pub fn error(message: String) -> Self {
        Self {
            message: owned(message.into_bytes().into()),
            ..Self::EMPTY
        }
    }

    /// Takes over the other side's failure.
    ///
    /// # Safety
    /// It must be owned by the caller and not be used again.
    #[must_use]
    pub unsafe fn adopt(self) -> Caught {
        // SAFETY: handed on to the caller.
        let message = unsafe { adopt_text(self.message) };
        // SAFETY: handed on to the caller.
        let location = unsafe { adopt_text(self.location) };
        // SAFETY: handed on to the caller.
        let frames = unsafe { adopt(self.frames, ()) };
        let frames = frames.as_chunks().0.iter();
        Caught {
            message,
            location,
            frames: frames.map(|bytes| usize::from_ne_bytes(*bytes)).collect(),
        }
    }
}

/// An error with all its causes on one line.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some wrappers, axum's among them, show their cause as their own text.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Lends header fields for the length of a call, or until `headers` changes.
pub fn lend_headers(headers: &HeaderMap, into: &mut Vec<abi::Header>) {
    into.clear();
    into.extend(headers.iter().map(|(name, value)| abi::Header {
        name: abi::Slice::lend(name.as_str().as_bytes()),
        value: abi::Slice::lend(value.as_bytes()),
    }));
}

/// Copies the other side's header fields.
///
/// # Errors
/// When a name or a value is none.
///
/// # Safety
/// `headers` must point to `count` fields that are valid during this call.
pub unsafe fn copy_headers(
    headers: *const abi::Header,
    count: usize,
    into: &mut HeaderMap,
) -> Result<(), http::Error> {
    if count == 0 {
        return Ok(());
    }
    // SAFETY: vouched for by the caller.
    let fields = unsafe { std::slice::from_raw_parts(headers, count) };
    into.reserve(count);
    for header in fields {
        // SAFETY: vouched for by the caller.
        let name = headers::name(unsafe { header.name.as_bytes() })?;
        // SAFETY: vouched for by the caller.
        let value = HeaderValue::from_bytes(unsafe { header.value.as_bytes() })?;
        into.append(name, value);
    }
    Ok(())
}

struct Exported<B> {
    source: B,
    trailers: HeaderMap,
    trailer_fields: Vec<abi::Header>,
}

/// Hands a body over.
pub fn export<B: BodySource>(source: B) -> abi::Body {
    if source.is_end() {
        return abi::Body::EMPTY;
    }
    let hint = source.size_hint();
    let exported = Exported {
        source,
        trailers: HeaderMap::new(),
        trailer_fields: Vec::new(),
    };
    abi::Body {
        this: Box::into_raw(Box::new(exported)).cast(),
        table: &const {
            abi::BodyTable {
                size: size_of::<abi::BodyTable>(),
                poll: export_poll::<B>,
                drop: export_drop::<B>,
            }
        },
        lower: hint.lower(),
        upper: hint.upper().unwrap_or(u64::MAX),
    }
}

unsafe extern "C" fn export_poll<B: BodySource>(
    this: *mut c_void,
    waker: *const abi::Waker,
    out: *mut abi::Frame,
) -> abi::Status {
    // SAFETY: the ABI: our own box, one call at a time.
    let this = unsafe { &mut *this.cast::<Exported<B>>() };
    // SAFETY: the ABI: lent for this call.
    let waker = unsafe { &*waker };
    // SAFETY: the ABI: the caller's, for this call.
    let out = unsafe { &mut *out };
    match guard::catch(|| this.source.poll(waker)) {
        Ok(Poll::Pending) => abi::PENDING,
        Ok(Poll::Ready(None)) => abi::END,
        Ok(Poll::Ready(Some(Ok(frame)))) => match frame.into_data() {
            Ok(data) => {
                out.data = owned(data);
                // Most bodies are one piece: then it is not asked again only to say no.
                if guard::catch(|| this.source.is_end()).unwrap_or(false) {
                    abi::LAST
                } else {
                    abi::READY
                }
            }
            Err(frame) => {
                this.trailers = frame.into_trailers().unwrap_or_default();
                lend_headers(&this.trailers, &mut this.trailer_fields);
                out.trailers = this.trailer_fields.as_ptr();
                out.trailer_count = this.trailer_fields.len();
                abi::TRAILERS
            }
        },
        Ok(Poll::Ready(Some(Err(error)))) => {
            out.failure = abi::Failure::error(error_chain(&*error));
            abi::ERROR
        }
        Err(caught) => {
            out.failure = caught.into_failure();
            abi::PANICKED
        }
    }
}

unsafe extern "C" fn export_drop<B: BodySource>(this: *mut c_void) {
    // SAFETY: the ABI: our own box, for the last time.
    let exported = unsafe { Box::from_raw(this.cast::<Exported<B>>()) };
    guard::contain(move || drop(exported));
}

/// Why the other side's body failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Its owner says so.
    Failed(String),
    /// The code that makes it panicked.
    Panicked(Caught),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::Panicked(caught) => caught.fmt(f),
        }
    }
}

impl Error for BodyError {}

/// The other side's body; `K` is kept until it and all of its data have been dropped.
pub struct Imported<K> {
    raw: abi::Body,
    ended: bool,
    /// All of it, if it came with its head.
    whole: Option<Bytes>,
    keep: K,
}

// SAFETY: the ABI lets a body be polled and dropped from any thread, one call at a time.
unsafe impl<K: Send> Send for Imported<K> {}

impl<K> fmt::Debug for Imported<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imported")
            .field("lower", &self.raw.lower)
            .field("upper", &self.raw.upper)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<K: Clone + Send + 'static> Imported<K> {
    /// Takes over a body.
    ///
    /// # Safety
    /// `raw` must be owned by the caller and not be used again; its owner's code must stay until
    /// `keep` and all its clones are dropped.
    pub unsafe fn new(raw: abi::Body, keep: K) -> Self {
        let ended = raw.this.is_null();
        Self {
            raw,
            ended,
            whole: None,
            keep,
        }
    }

    /// A body that came whole.
    ///
    /// # Safety
    /// As for [`Imported::new`]. Bytes without a release function must be valid during this call.
    pub unsafe fn whole(data: abi::Buf, keep: K) -> Self {
        let data = if data.release.is_none() {
            let lent = abi::Slice {
                ptr: data.ptr,
                len: data.len,
            };
            // SAFETY: vouched for by the caller.
            Bytes::copy_from_slice(unsafe { lent.as_bytes() })
        } else {
            // SAFETY: handed on to the caller.
            unsafe { adopt_or_copy(data, &keep) }
        };
        let len = data.len() as u64;
        Self {
            raw: abi::Body {
                lower: len,
                upper: len,
                ..abi::Body::EMPTY
            },
            ended: false,
            whole: Some(data),
            keep,
        }
    }

    /// What is kept with it.
    pub fn keep(&self) -> &K {
        &self.keep
    }

    /// Polls for the next frame.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(data) = self.whole.take() {
            self.ended = true;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let mut out = abi::Frame {
            size: size_of::<abi::Frame>(),
            data: abi::Buf::EMPTY,
            trailers: ptr::null(),
            trailer_count: 0,
            failure: abi::Failure::EMPTY,
        };
        let waker = waker::lend(cx.waker());
        // SAFETY: not ended, so the body has a table.
        let poll = unsafe { (*self.raw.table).poll };
        // SAFETY: the ABI: one call at a time, since we are borrowed mutably.
        let status = unsafe { poll(self.raw.this, waker.as_ptr(), &raw mut out) };
        match status {
            abi::PENDING => return Poll::Pending,
            abi::READY | abi::LAST => {
                self.ended = status == abi::LAST;
                // SAFETY: filled by the other side for us; `keep` outlives it.
                let data = unsafe { adopt_or_copy(out.data, &self.keep) };
                self.count(data.len());
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            abi::TRAILERS => {
                let mut trailers = HeaderMap::new();
                // SAFETY: valid until the next poll.
                let copied =
                    unsafe { copy_headers(out.trailers, out.trailer_count, &mut trailers) };
                let frame = copied
                    .map(|()| Frame::trailers(trailers))
                    .map_err(|error| BodyError::Failed(format!("bad trailers: {error}")));
                self.ended |= frame.is_err();
                return Poll::Ready(Some(frame));
            }
            _ => self.ended = true,
        }
        if status == abi::END {
            return Poll::Ready(None);
        }
        // SAFETY: filled by the other side for us.
        let caught = unsafe { out.failure.adopt() };
        Poll::Ready(Some(Err(if status == abi::PANICKED {
            BodyError::Panicked(caught)
        } else {
            BodyError::Failed(caught.message)
        })))
    }

    fn count(&mut self, len: usize) {
        let len = len as u64;
        self.raw.lower = self.raw.lower.saturating_sub(len);
        if self.raw.upper != u64::MAX {
            self.raw.upper = self.raw.upper.saturating_sub(len);
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.ended
    }

    /// How many bytes of data are left.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        if self.ended {
            hint.set_exact(0);
            return hint;
        }
        hint.set_lower(self.raw.lower);
        // A body that contradicts itself has no upper bound, rather than a panic in the setter.
        if self.raw.upper != u64::MAX && self.raw.upper >= self.raw.lower {
            hint.set_upper(self.raw.upper);
        }
        hint
    }
}

impl<K> Drop for Imported<K> {
    fn drop(&mut self) {
        if !self.raw.this.is_null() {
            // SAFETY: a body that is not empty has a table.
            let drop = unsafe { (*self.raw.table).drop };
            // SAFETY: owned, and dropped once; `keep` is dropped after this.
            unsafe { drop(self.raw.this) }
        }
    }
}
