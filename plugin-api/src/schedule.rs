//! Calls that an app wants made of it from time to time.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
};

use tokio::{runtime::Handle, task::JoinHandle};

use crate::glue::guard::{self, Caught};

type Handler = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What is called, by name.
#[derive(Default)]
pub(crate) struct Schedules(BTreeMap<String, Handler>);

impl fmt::Debug for Schedules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Schedules {
    pub(crate) fn insert<F, Fut>(&mut self, name: &str, handler: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handler: Handler = Arc::new(move || Box::pin(handler()));
        self.0.insert(name.to_owned(), handler);
    }

    /// Begins a call in a task of that runtime. `None`: there is none of that name.
    pub(crate) fn run(
        &self,
        name: &str,
        runtime: &Handle,
    ) -> Option<JoinHandle<Result<(), Caught>>> {
        let handler = Arc::clone(self.0.get(name)?);
        Some(runtime.spawn(async move {
            let mut call = guard::catch(|| handler())?;
            // A panic goes back with its place, as a handler's does.
            poll_fn(|cx| match guard::catch(|| call.as_mut().poll(cx)) {
                Ok(polled) => polled.map(Ok),
                Err(caught) => std::task::Poll::Ready(Err(caught)),
            })
            .await
        }))
    }
}
