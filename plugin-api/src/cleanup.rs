//! What an app does before it goes.

use std::{future::Future, panic::Location, pin::Pin, time::Duration};

use crate::Reason;
use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
    time::timeout,
};

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A cleanup hook just registered, to be given a name and a time limit.
#[derive(Debug)]
pub struct Hook<'a>(&'a mut Entry);

impl Hook<'_> {
    /// Names it in the host's log. By default that is the place of its registration.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// Gives it less time than the app's `cleanup-timeout`, which all hooks share.
    pub fn time_limit(self, limit: Duration) -> Self {
        self.0.limit = Some(limit);
        self
    }
}

/// A plain or an async closure: what [`Setup::on_cleanup`](crate::Setup::on_cleanup) takes.
///
/// `Kind` only tells the two apart, and is never written.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a cleanup hook",
    note = "a hook is `FnOnce()` or `FnOnce() -> impl Future<Output = ()>`, `Send + 'static`; it may \
            take the `Reason`, as in `|reason: Reason| …`"
)]
pub trait IntoCleanup<Kind> {
    #[doc(hidden)]
    fn into_cleanup(self) -> Work;
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Plain;
#[doc(hidden)]
#[derive(Debug)]
pub struct Async;

#[doc(hidden)]
#[derive(Debug)]
pub struct PlainWithReason;
#[doc(hidden)]
#[derive(Debug)]
pub struct AsyncWithReason;

impl<F: FnOnce() + Send + 'static> IntoCleanup<Plain> for F {
    fn into_cleanup(self) -> Work {
        Work::Sync(Box::new(|_| self()))
    }
}

impl<F: FnOnce(Reason) + Send + 'static> IntoCleanup<PlainWithReason> for F {
    fn into_cleanup(self) -> Work {
        Work::Sync(Box::new(self))
    }
}

impl<F, Fut> IntoCleanup<(AsyncWithReason, Fut)> for F
where
    F: FnOnce(Reason) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn into_cleanup(self) -> Work {
        Work::Async(Box::new(move |reason| Box::pin(self(reason))))
    }
}

impl<F, Fut> IntoCleanup<(Async, Fut)> for F
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn into_cleanup(self) -> Work {
        Work::Async(Box::new(move |_| Box::pin(self())))
    }
}

#[doc(hidden)]
#[allow(
    missing_debug_implementations,
    reason = "closures have nothing to show"
)]
pub enum Work {
    Sync(Box<dyn FnOnce(Reason) + Send>),
    Async(Box<dyn FnOnce(Reason) -> BoxFuture + Send>),
}

struct Entry {
    name: String,
    limit: Option<Duration>,
    work: Work,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .finish()
    }
}

/// The hooks of an app, in the order of their registration.
#[derive(Debug, Default)]
pub(crate) struct Hooks(Vec<Entry>);

/// How the hooks ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) done: u32,
    pub(crate) failed: u32,
}

impl Hooks {
    pub(crate) fn push(&mut self, at: &Location<'_>, work: Work) -> Hook<'_> {
        let entry = Entry {
            name: format!("{}:{}", at.file(), at.line()),
            limit: None,
            work,
        };
        Hook(self.0.push_mut(entry))
    }

    /// Runs them, the last registered first, within `total`. Each runs in a task of its own in that
    /// runtime, so that one that panics or hangs does not keep the others from running. Time is kept
    /// here: a task that blocks the runtime's only worker stops its clock, too.
    pub(crate) fn run(self, runtime: &Handle, total: Duration, reason: Reason) -> Outcome {
        if self.0.is_empty() {
            return Outcome::default();
        }
        on_own_clock(runtime, self.run_on(runtime, total, reason))
    }

    async fn run_on(self, runtime: &Handle, total: Duration, reason: Reason) -> Outcome {
        let deadline = tokio::time::Instant::now() + total;
        let mut outcome = Outcome::default();
        for Entry { name, limit, work } in self.0.into_iter().rev() {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let limit = limit.map_or(left, |limit| limit.min(left));
            let mut task: JoinHandle<()> = match work {
                Work::Sync(work) => runtime.spawn_blocking(move || work(reason)),
                Work::Async(work) => runtime.spawn(async move { work(reason).await }),
            };
            match timeout(limit, &mut task).await {
                Ok(Ok(())) => {
                    outcome.done += 1;
                    continue;
                }
                // The panic itself, with its place, has been logged by the hook for panics.
                Ok(Err(error)) => tracing::error!(hook = name, %error, "cleanup hook failed"),
                Err(_) => {
                    task.abort();
                    tracing::error!(
                        hook = name,
                        limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                        "cleanup hook ran out of time",
                    );
                }
            }
            outcome.failed += 1;
        }
        outcome
    }
}

/// Awaits what tasks of that runtime come to, with a clock of its own: a task that blocks the
/// runtime's only worker stops its clock, too.
pub(crate) fn on_own_clock<T>(runtime: &Handle, future: impl Future<Output = T>) -> T {
    match Builder::new_current_thread().enable_time().build() {
        Ok(clock) => clock.block_on(future),
        Err(error) => {
            tracing::warn!(%error, "there is no clock of its own for what is timed");
            runtime.block_on(future)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn a_task_that_blocks_the_runtime_does_not_stop_the_clock_of_its_hooks() {
        let runtime = runtime();
        let (free, blocked) = std::sync::mpsc::channel::<()>();
        let (told, is_blocked) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            told.send(()).unwrap();
            let _ = blocked.recv();
        });
        is_blocked.recv().unwrap();
        let mut hooks = Hooks::default();
        hooks.push(Location::caller(), (|| async {}).into_cleanup());
        let outcome = hooks.run(runtime.handle(), Duration::from_millis(10), Reason::Reload);
        assert_eq!(outcome, Outcome { done: 0, failed: 1 });
        drop(free);
    }

    #[test]
    fn hooks_run_last_first_and_one_that_fails_stops_no_other() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut hooks = Hooks::default();
        let mark = |name: &'static str| {
            let order = Arc::clone(&order);
            move || order.lock().unwrap().push(name)
        };
        let at = Location::caller();
        hooks
            .push(at, IntoCleanup::<Plain>::into_cleanup(mark("first")))
            .name("first");
        hooks.push(at, IntoCleanup::<Plain>::into_cleanup(|| panic!("broken")));
        let stuck = || std::future::pending::<()>();
        hooks
            .push(at, stuck.into_cleanup())
            .time_limit(Duration::from_millis(1));
        let last = mark("last");
        hooks.push(at, (|| async move { last() }).into_cleanup());
        let outcome = hooks.run(runtime().handle(), Duration::from_secs(60), Reason::Reload);
        assert_eq!(*order.lock().unwrap(), ["last", "first"]);
        assert_eq!(outcome, Outcome { done: 2, failed: 2 });
    }
}
