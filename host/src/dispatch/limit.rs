//! The time that a request may take which a client has brought to a worker itself. (Of one that a
//! supervisor passes on, that sees to it: `proxy`.)

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version};
use http_body::{Frame, SizeHint};
use replug_plugin::BoxError;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::{
    body::AppBody,
    connection::{LINGER, State},
};
use crate::proxy;

/// When a request's time is over. Without a limit, which is usual, it is a pointer that is null.
#[derive(Default)]
pub(super) struct Time(Option<Box<Due>>);

/// The end of a request's time.
pub(super) struct Due {
    sleep: Pin<Box<Sleep>>,
    /// The connection, unless others are answered on it at the same time.
    connection: Option<Rc<State>>,
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Time").field(&self.0.is_some()).finish()
    }
}

impl Time {
    /// So much, from now on; zero: any.
    pub(super) fn new<B>(limit: Duration, request: &Request<B>, connection: &Rc<State>) -> Self {
        if limit.is_zero() {
            return Self::default();
        }
        // One that is too far away to be said is none.
        let end = Instant::now().checked_add(limit);
        let alone = request.version() < Version::HTTP_2;
        Self(end.map(|end| {
            Box::new(Due {
                sleep: Box::pin(sleep_until(end)),
                connection: alone.then(|| Rc::clone(connection)),
            })
        }))
    }

    pub(super) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Whether it is over; if it is not, the task is woken when it is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(due) => due.sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    pub(super) fn due(&mut self) -> Option<Box<Due>> {
        self.0.take()
    }
}

/// What comes of the future in that time, and what is left of it; `None`: it is over.
pub(super) async fn within<F: Future>(mut time: Time, future: F) -> (Option<F::Output>, Time) {
    let mut future = pin!(future);
    let output = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => time.poll(cx).map(|()| None),
    });
    let output = output.await;
    (output, time)
}

/// An app's body that is given up when its time is over, also while nobody asks for more of it.
pub(super) struct TimedBody {
    state: Rc<RefCell<Course>>,
    _guard: AbortOnDropHandle<()>,
}

enum Course {
    Open(Box<AppBody>, Option<Waker>),
    /// It has been given up, and the reader is not told yet.
    Over,
    Ended,
}

impl fmt::Debug for TimedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state.borrow() {
            Course::Open(..) => "Open",
            Course::Over => "Over",
            Course::Ended => "Ended",
        };
        f.debug_tuple("TimedBody").field(&state).finish()
    }
}

impl TimedBody {
    /// `waker`: of the reader, who may wait already.
    pub(super) fn new(body: AppBody, mut due: Box<Due>, waker: &Waker) -> Self {
        let open = Course::Open(Box::new(body), Some(waker.clone()));
        let state = Rc::new(RefCell::new(open));
        let watched = Rc::downgrade(&state);
        let guard = async move {
            due.sleep.as_mut().await;
            let Some(state) = watched.upgrade() else {
                return;
            };
            if let Course::Open(body, waker) = state.replace(Course::Over) {
                body.log_timed_out();
                // Before the reader's turn: it runs the app's code.
                drop(body);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            drop(state);
            // Who does not read is not told by the end of the body.
            sleep(LINGER).await;
            if let Some(connection) = &due.connection {
                tracing::debug!("closing a connection whose client does not read");
                connection.close();
            }
        };
        Self {
            state,
            _guard: AbortOnDropHandle::new(tokio::task::spawn_local(guard)),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.state.borrow_mut();
        let polled = match &mut *state {
            Course::Open(body, waker) => {
                let polled = body.poll(cx);
                if polled.is_pending() {
                    waker
                        .get_or_insert_with(|| cx.waker().clone())
                        .clone_from(cx.waker());
                }
                polled
            }
            Course::Over => Poll::Ready(Some(Err(proxy::BodyError::RequestTimeout.into()))),
            Course::Ended => Poll::Ready(None),
        };
        if let Poll::Ready(None | Some(Err(_))) = polled {
            let ended = std::mem::replace(&mut *state, Course::Ended);
            drop(state);
            drop(ended);
        }
        polled
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &*self.state.borrow() {
            Course::Open(body, _) => body.is_end_stream(),
            Course::Over => false,
            Course::Ended => true,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &*self.state.borrow() {
            Course::Open(body, _) => body.size_hint(),
            // What comes is an error, of no size.
            Course::Over => SizeHint::new(),
            Course::Ended => SizeHint::with_exact(0),
        }
    }
}
