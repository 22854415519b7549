//! From the function that `export_app!` names to something the host can call.

use std::{
    future::{Future, poll_fn, ready},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, Bytes};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{Body, BoxError, Setup};

/// A response's body, whatever the service's own type was.
pub(crate) type ResponseBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>;
pub(crate) type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, BoxError>> + Send>>;

/// A service that can be an app: any [`tower_service::Service`] from `http::Request<Body>` to
/// `http::Response`, with any [`http_body::Body`] (trailers included), that can be cloned and
/// sent. Implemented for all of them, and for nothing else.
///
/// Each request is answered by a clone of its own, as servers do it.
///
/// A function that returns anything else does not compile:
///
/// ```compile_fail,E0277
/// # use replug_plugin::{Setup, export_app};
/// # mod plugin { use super::*;
/// export_app!(app);
/// # }
///
/// fn app(_: &mut Setup) -> &'static str {
///     "not a service"
/// }
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service that Replug can call",
    label = "returned by the function that `export_app!` names",
    note = "an app is a `tower_service::Service<http::Request<replug_plugin::Body>>`, `Clone + Send + 'static`, whose response is an `http::Response` and whose future is `Send`; an axum `Router<S>` needs `with_state` to become one"
)]
pub trait AppService: Send + 'static {
    #[doc(hidden)]
    fn into_handler(self) -> Box<dyn Handler>;
}

/// A started app's service, without its type.
#[doc(hidden)]
pub trait Handler: Send + Sync {
    #[doc(hidden)]
    fn handle(&self, request: Request<Body>) -> ResponseFuture;
}

impl<S, B> AppService for S
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn into_handler(self) -> Box<dyn Handler> {
        Box::new(Shared(Mutex::new(self)))
    }
}

/// Clones under a lock, since a service need not be `Sync`.
struct Shared<S>(Mutex<S>);

impl<S, B> Handler for Shared<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn handle(&self, request: Request<Body>) -> ResponseFuture {
        // A clone that panicked once has broken nothing: the original is only read.
        let mut service = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // Nearly every service is always ready: asked on nobody's behalf, since the future that
        // would have to be woken is not there yet. One that is not ready is asked again by it.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                let future = service.call(request);
                Box::pin(Responding { future })
            }
            Poll::Ready(Err(error)) => Box::pin(ready(Err(error.into()))),
            Poll::Pending => Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx))
                    .await
                    .map_err(Into::into)?;
                let future = service.call(request);
                Responding { future }.await
            }),
        }
    }
}

pin_project! {
    /// A service's future, with its response's body and its error boxed.
    struct Responding<F> {
        #[pin]
        future: F,
    }
}

impl<F, B, E> Future for Responding<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(|result| {
            let response = result.map_err(Into::into)?;
            Ok(response.map(|body| Box::pin(Erased::new(body)) as ResponseBody))
        })
    }
}

pin_project! {
    /// A body with its data as [`Bytes`] and its error boxed.
    #[derive(Debug)]
    pub(crate) struct Erased<B> {
        #[pin]
        inner: B,
    }
}

impl<B> Erased<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self { inner }
    }
}

impl<B> http_body::Body for Erased<B>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().inner.poll_frame(cx).map(|frame| {
            let frame = frame?.map_err(Into::into);
            // `copy_to_bytes` is a copy only where the data is not `Bytes` already.
            Some(frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A function that `export_app!` can name: `fn` or `async fn`, from `&mut Setup` to an
/// [`AppService`] or a `Result` of one.
///
/// `Kind` only tells the four apart, and is never written.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function that `export_app!` can take",
    note = "write `fn app(setup: &mut Setup) -> S`, or an `async fn`, or one that returns `Result<S, E>`, where `S` is a `tower_service::Service<http::Request<replug_plugin::Body>>` such as an axum `Router`"
)]
pub trait IntoApp<Kind> {
    #[doc(hidden)]
    fn start(self, setup: &mut Setup) -> impl Future<Output = Started>;
}

/// What starting an app comes to.
#[doc(hidden)]
pub type Started = Result<Box<dyn Handler>, BoxError>;

/// The future that `export_app!`'s setup function makes.
#[doc(hidden)]
pub fn start<'a, Kind, F: IntoApp<Kind> + 'a>(
    f: F,
    setup: &'a mut Setup,
) -> Pin<Box<dyn Future<Output = Started> + 'a>>
where
    Kind: 'a,
{
    Box::pin(f.start(setup))
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Plain;
#[doc(hidden)]
#[derive(Debug)]
pub struct Fallible;
#[doc(hidden)]
#[derive(Debug)]
pub struct Async;
#[doc(hidden)]
#[derive(Debug)]
pub struct AsyncFallible;

impl<F, S> IntoApp<(Plain, S)> for F
where
    F: FnOnce(&mut Setup) -> S,
    S: AppService,
{
    async fn start(self, setup: &mut Setup) -> Started {
        Ok(self(setup).into_handler())
    }
}

impl<F, S, E> IntoApp<(Fallible, S, E)> for F
where
    F: FnOnce(&mut Setup) -> Result<S, E>,
    S: AppService,
    E: Into<BoxError>,
{
    async fn start(self, setup: &mut Setup) -> Started {
        Ok(self(setup).map_err(Into::into)?.into_handler())
    }
}

impl<F, S> IntoApp<(Async, S)> for F
where
    F: AsyncFnOnce(&mut Setup) -> S,
    S: AppService,
{
    async fn start(self, setup: &mut Setup) -> Started {
        Ok(self(setup).await.into_handler())
    }
}

impl<F, S, E> IntoApp<(AsyncFallible, S, E)> for F
where
    F: AsyncFnOnce(&mut Setup) -> Result<S, E>,
    S: AppService,
    E: Into<BoxError>,
{
    async fn start(self, setup: &mut Setup) -> Started {
        Ok(self(setup).await.map_err(Into::into)?.into_handler())
    }
}
