//! Ending what an app has not ended itself when its generation's drain deadline comes.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::generation::{Generation, Lease};

/// Waits for a generation's cut. It registers with the generation only when it is first asked,
/// and it is asked only when the app itself is not ready, so that most requests never do.
#[derive(Default)]
pub(super) struct CutWatch(Option<Pin<Box<WaitForCancellationFutureOwned>>>);

impl fmt::Debug for CutWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CutWatch").field(&self.0.is_some()).finish()
    }
}

impl CutWatch {
    pub(super) fn poll(&mut self, generation: &Generation, cx: &mut Context<'_>) -> Poll<()> {
        self.0
            .get_or_insert_with(|| Box::pin(generation.cut().token().clone().cancelled_owned()))
            .as_mut()
            .poll(cx)
    }
}

pin_project! {
    /// A future that ends early, with `None`, when its generation is cut.
    pub(super) struct Cut<'a, F> {
        #[pin]
        future: F,
        lease: &'a Lease,
        watch: CutWatch,
    }
}

impl<'a, F> Cut<'a, F> {
    pub(super) fn new(lease: &'a Lease, future: F) -> Self {
        Self {
            future,
            lease,
            watch: CutWatch::default(),
        }
    }
}

impl<F: Future> Future for Cut<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        this.watch.poll(this.lease, cx).map(|()| None)
    }
}
