//! A client's request body on its way to a worker, and on its way once more if it must.

use std::{
    cell::RefCell,
    fmt,
    future::Future as _,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use replug_plugin::BoxError;
use smallvec::SmallVec;
use tokio::time::{Sleep, sleep};

/// How much of what was taken of a body is kept until a response begins, in bytes.
const KEPT: usize = 8192;

/// How long a client that waits to be told to send its body waits for a worker to say so. It may
/// send it unasked, and most do after about as long (RFC 9110, 10.1.1).
const CONTINUE: Duration = Duration::from_secs(1);

/// A request's body. Clones are the same body.
#[derive(Clone, Debug)]
pub(super) struct Upload(Option<Rc<RefCell<State>>>);

struct State {
    source: Incoming,
    /// What was taken of it; `None`: more than is kept, or no data.
    kept: Option<SmallVec<[Bytes; 2]>>,
    kept_bytes: usize,
    is_touched: bool,
    has_failed: bool,
    hold_back: HoldBack,
    /// Which sending of it is the current one.
    turn: u32,
    waker: Option<Waker>,
}

/// Whether the client's body is not asked for yet.
enum HoldBack {
    No,
    /// Until the worker asks, or some time has passed.
    Until(Arc<Gate>, Pin<Box<Sleep>>),
    /// The worker has answered without asking.
    ForGood,
    /// And its answer has ended.
    Over,
}

/// A worker's word that it wants the body.
#[derive(Debug, Default)]
pub(super) struct Gate {
    is_open: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("is_touched", &self.is_touched)
            .field("kept", &self.kept_bytes)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

impl Upload {
    /// `expects_continue`: the client sends it only when it is asked for it.
    pub(super) fn new(source: Option<Incoming>, expects_continue: bool) -> Self {
        // Most requests have none, and need nothing of all this.
        let Some(source) = source.filter(|source| !source.is_end_stream()) else {
            return Self(None);
        };
        let hold_back = if expects_continue {
            HoldBack::Until(Arc::default(), Box::pin(sleep(CONTINUE)))
        } else {
            HoldBack::No
        };
        Self(Some(Rc::new(RefCell::new(State {
            source,
            kept: Some(SmallVec::new()),
            kept_bytes: 0,
            is_touched: false,
            has_failed: false,
            hold_back,
            turn: 0,
            waker: None,
        }))))
    }

    /// The body from its beginning, to be sent; any that was made before ends with an error. And
    /// the gate that lets it begin, if it has one.
    pub(super) fn body(&self) -> (Outgoing, Option<Arc<Gate>>) {
        let Some(state) = &self.0 else {
            return (Outgoing(None), None);
        };
        let mut borrowed = state.borrow_mut();
        borrowed.turn += 1;
        let gate = match &borrowed.hold_back {
            HoldBack::Until(gate, _) => Some(Arc::clone(gate)),
            _ => None,
        };
        let sending = Sending {
            state: Rc::clone(state),
            turn: borrowed.turn,
            repeated: 0,
        };
        (Outgoing(Some(sending)), gate)
    }

    /// Whether there is no body.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether there is a body of which it is not known how long it is.
    pub(super) fn is_of_unknown_length(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|state| state.borrow().source.size_hint().exact().is_none())
    }

    /// Whether nothing was taken of the client's body.
    pub(super) fn is_untouched(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|state| !state.borrow().is_touched)
    }

    /// Whether it can be sent from its beginning.
    pub(super) fn can_repeat(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|state| state.borrow().kept.is_some())
    }

    /// Whether the client ended it with an error.
    pub(super) fn has_failed(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|state| state.borrow().has_failed)
    }

    /// A response has begun: it is not sent again. If it was not asked for by now, it never is.
    pub(super) fn answered(&self) {
        let Some(state) = &self.0 else { return };
        let mut state = state.borrow_mut();
        state.kept = None;
        if let HoldBack::Until(gate, _) = &state.hold_back
            && !gate.is_open.load(Ordering::Acquire)
        {
            state.hold_back = HoldBack::ForGood;
        }
    }

    /// The response has ended. `false`: the body never was asked for, so that its connection takes
    /// no other request.
    pub(super) fn response_ended(&self) -> bool {
        let Some(state) = &self.0 else { return true };
        let mut state = state.borrow_mut();
        if !matches!(state.hold_back, HoldBack::ForGood) {
            return true;
        }
        state.hold_back = HoldBack::Over;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        false
    }
}

impl State {
    /// Waits until the body is asked for.
    fn poll_hold_back(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.hold_back {
            HoldBack::No => return Poll::Ready(Ok(())),
            HoldBack::Over => return Poll::Ready(Err("nobody asked for the body".into())),
            HoldBack::ForGood => {}
            HoldBack::Until(gate, time) => {
                gate.waker.register(cx.waker());
                let is_open = gate.is_open.load(Ordering::Acquire);
                if is_open || time.as_mut().poll(cx).is_ready() {
                    self.hold_back = HoldBack::No;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        self.is_touched = true;
        let Some(kept) = &mut self.kept else { return };
        match frame.data_ref() {
            Some(data) if self.kept_bytes + data.len() <= KEPT => {
                self.kept_bytes += data.len();
                kept.push(data.clone());
            }
            _ => self.kept = None,
        }
    }
}

/// A body that is being sent.
#[derive(Debug)]
pub(super) struct Outgoing(Option<Sending>);

#[derive(Debug)]
struct Sending {
    state: Rc<RefCell<State>>,
    turn: u32,
    /// How many of the kept pieces were sent, in a repetition.
    repeated: usize,
}

impl Sending {
    /// What was kept and is still to be sent again.
    fn left<'a>(&self, state: &'a State) -> &'a [Bytes] {
        let kept = state.kept.as_deref().unwrap_or_default();
        if self.turn == 1 {
            return &[];
        }
        kept.get(self.repeated..).unwrap_or_default()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(sending) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let state = Rc::clone(&sending.state);
        let mut state = state.borrow_mut();
        if state.turn != sending.turn {
            return Poll::Ready(Some(Err("the request is sent anew".into())));
        }
        ready!(state.poll_hold_back(cx))?;
        if let [data, ..] = sending.left(&state) {
            let data = data.clone();
            sending.repeated += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let polled = ready!(Pin::new(&mut state.source).poll_frame(cx));
        Poll::Ready(polled.map(|polled| match polled {
            Ok(frame) => {
                state.keep(&frame);
                sending.repeated += 1;
                Ok(frame)
            }
            Err(error) => {
                state.has_failed = true;
                Err(error.into())
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|sending| {
            let state = sending.state.borrow();
            sending.left(&state).is_empty() && state.source.is_end_stream()
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(sending) = &self.0 else {
            return SizeHint::with_exact(0);
        };
        let state = sending.state.borrow();
        let left: u64 = sending.left(&state).iter().map(|it| it.len() as u64).sum();
        let mut hint = state.source.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + left);
        }
        hint.set_lower(hint.lower() + left);
        hint
    }
}
