//! Calls, responses and bodies of a plugin, polled by hand.

use std::{fmt, ptr, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use replug_plugin::{
    abi,
    glue::{body::copy_headers, bytes::adopt},
};

use crate::bell::Bell;

/// A status that is no success, and what came with it.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) status: abi::Status,
    pub(crate) message: String,
    pub(crate) location: String,
}

impl Failed {
    pub(crate) fn new(status: abi::Status, failure: abi::Failure) -> Self {
        // SAFETY: filled by the plugin for us, and used once.
        let caught = unsafe { failure.adopt() };
        Self {
            status,
            message: caught.message,
            location: caught.location,
        }
    }

    /// It must be a panic of this message, in this file of the tests.
    pub(crate) fn assert_panic(&self, message: &str, file: &str) {
        assert_eq!(self.status, abi::PANICKED, "{self:?}");
        assert_eq!(self.message, message);
        assert!(self.location.contains(file), "{self:?}");
    }
}

/// A request being answered; dropped as a host drops it.
pub(crate) struct Call(pub(crate) abi::Call);

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u32,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

impl Call {
    /// `None` while it is pending.
    pub(crate) fn poll(&mut self, bell: &Arc<Bell>) -> Option<Result<Response, Failed>> {
        let mut out = abi::Response {
            size: size_of::<abi::Response>(),
            status: 0,
            header_count: 0,
            headers: ptr::null(),
            body: abi::Body::EMPTY,
            failure: abi::Failure::EMPTY,
            data: abi::Buf::EMPTY,
        };
        // SAFETY: the plugin's table is there as long as the call.
        let poll = unsafe { (*self.0.table).poll };
        let waker = bell.waker();
        // SAFETY: one call at a time, as we are borrowed mutably.
        let status = unsafe { poll(self.0.this, &raw const waker, &raw mut out) };
        match status {
            abi::PENDING => return None,
            abi::READY | abi::LAST => {}
            _ => return Some(Err(Failed::new(status, out.failure))),
        }
        let mut headers = HeaderMap::new();
        // SAFETY: valid until the call is dropped.
        unsafe { copy_headers(out.headers, out.header_count, &mut headers) }.unwrap();
        Some(Ok(Response {
            status: out.status,
            headers,
            body: if status == abi::LAST {
                Body::whole(out.data)
            } else {
                Body::new(out.body)
            },
        }))
    }

    pub(crate) fn wait(&mut self) -> Result<Response, Failed> {
        let bell = Arc::new(Bell::default());
        loop {
            match self.poll(&bell) {
                Some(result) => return result,
                None => bell.wait(),
            };
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // SAFETY: the plugin's table is there as long as the call.
        let drop = unsafe { (*self.0.table).drop };
        // SAFETY: once.
        unsafe { drop(self.0.this) };
    }
}

/// A scheduled call that is under way; dropped as a host drops it.
pub(crate) struct Task(pub(crate) abi::Task);

impl Task {
    pub(crate) fn wait(self) -> Result<(), Failed> {
        let bell = Arc::new(Bell::default());
        loop {
            let mut failure = abi::Failure::EMPTY;
            // SAFETY: the plugin's table is there as long as the task.
            let poll = unsafe { (*self.0.table).poll };
            let waker = bell.waker();
            // SAFETY: one call at a time, as nobody else has it.
            match unsafe { poll(self.0.this, &raw const waker, &raw mut failure) } {
                abi::PENDING => drop(bell.wait()),
                abi::READY => return Ok(()),
                status => return Err(Failed::new(status, failure)),
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // SAFETY: the plugin's table is there as long as the task.
        let drop = unsafe { (*self.0.table).drop };
        // SAFETY: once.
        unsafe { drop(self.0.this) };
    }
}

/// A response's body; dropped as a host drops it.
pub(crate) struct Body {
    pub(crate) raw: abi::Body,
    whole: Option<Bytes>,
    ended: bool,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&self.raw.this).finish()
    }
}

#[derive(Debug)]
pub(crate) enum Frame {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    Failed(Failed),
}

impl Body {
    pub(crate) fn new(raw: abi::Body) -> Self {
        let ended = raw.this.is_null();
        Self {
            raw,
            whole: None,
            ended,
        }
    }

    fn whole(data: abi::Buf) -> Self {
        let len = data.len as u64;
        // What is only lent has to be copied before the call is dropped.
        let data = if data.release.is_some() {
            // SAFETY: filled by the plugin for us, and used once.
            unsafe { adopt(data, ()) }
        } else {
            let lent = abi::Slice {
                ptr: data.ptr,
                len: data.len,
            };
            // SAFETY: valid until the call is dropped.
            Bytes::copy_from_slice(unsafe { lent.as_bytes() })
        };
        let raw = abi::Body {
            lower: len,
            upper: len,
            ..abi::Body::EMPTY
        };
        Self {
            raw,
            whole: Some(data),
            ended: false,
        }
    }

    /// `None` while it is pending.
    pub(crate) fn poll(&mut self, bell: &Arc<Bell>) -> Option<Frame> {
        if self.ended {
            return Some(Frame::End);
        }
        if let Some(data) = self.whole.take() {
            self.ended = true;
            return Some(Frame::Data(data));
        }
        let mut out = abi::Frame {
            size: size_of::<abi::Frame>(),
            data: abi::Buf::EMPTY,
            trailers: ptr::null(),
            trailer_count: 0,
            failure: abi::Failure::EMPTY,
        };
        // SAFETY: the plugin's table is there as long as the body.
        let poll = unsafe { (*self.raw.table).poll };
        let waker = bell.waker();
        // SAFETY: one call at a time, as we are borrowed mutably.
        let status = unsafe { poll(self.raw.this, &raw const waker, &raw mut out) };
        match status {
            abi::PENDING => None,
            abi::READY | abi::LAST => {
                self.ended = status == abi::LAST;
                // SAFETY: filled by the plugin for us, and used once.
                Some(Frame::Data(unsafe { adopt(out.data, ()) }))
            }
            abi::END => Some(Frame::End),
            abi::TRAILERS => {
                let mut trailers = HeaderMap::new();
                // SAFETY: valid until the next poll.
                unsafe { copy_headers(out.trailers, out.trailer_count, &mut trailers) }.unwrap();
                Some(Frame::Trailers(trailers))
            }
            _ => Some(Frame::Failed(Failed::new(status, out.failure))),
        }
    }

    pub(crate) fn next(&mut self) -> Frame {
        let bell = Arc::new(Bell::default());
        loop {
            match self.poll(&bell) {
                Some(frame) => return frame,
                None => bell.wait(),
            };
        }
    }

    /// All of its data; trailers and failures are not expected.
    pub(crate) fn text(mut self) -> String {
        let mut text = String::new();
        loop {
            match self.next() {
                Frame::Data(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Frame::End => return text,
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.raw.this.is_null() {
            // SAFETY: the plugin's table is there as long as the body.
            let drop = unsafe { (*self.raw.table).drop };
            // SAFETY: once.
            unsafe { drop(self.raw.this) };
        }
    }
}
