//! A started app: its service, its runtime and its hooks.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

use crate::{
    Body, BoxError, HostHandle, Reason, Setup,
    cleanup::{Hooks, Outcome},
    forward,
    glue::guard::{self, Caught},
    host::Way,
    link::Link,
    request::{Mode, RequestInfo},
    schedule::Schedules,
    service::{Handler, ResponseBody, ResponseFuture, Started},
    setup::{Facts, Registered},
    shutdown::ShutdownSignal,
    state::Saver,
    tunnel::Tunnel,
};

/// What the host says at the start.
pub(crate) struct SetupInput {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) mount: String,
    pub(crate) generation: u64,
    pub(crate) mode: Mode,
    pub(crate) settings: Vec<u8>,
}

pub(crate) struct Instance {
    facts: Arc<Facts>,
    handler: Arc<dyn Handler>,
    hooks: Hooks,
    shutdown: ShutdownSignal,
    runtime: Runtime,
    threads: Arc<AtomicU32>,
    saver: Option<Saver>,
    schedules: Schedules,
}

/// Why an instance did not start.
pub(crate) struct StartError {
    /// The author's error, or a panic.
    pub(crate) why: Result<BoxError, Caught>,
    /// Threads of its runtime that did not end.
    pub(crate) threads_left: u32,
}

/// How an instance stopped.
pub(crate) struct Stopped {
    pub(crate) hooks: Outcome,
    pub(crate) threads_left: u32,
}

impl Instance {
    /// Makes the runtime, and on it runs the author's function.
    pub(crate) fn start<F>(input: SetupInput, link: Link, start: F) -> Result<Self, StartError>
    where
        F: for<'a> FnOnce(&'a mut Setup) -> Pin<Box<dyn Future<Output = Started> + 'a>>,
    {
        let SetupInput {
            name,
            path,
            mount,
            generation,
            mode,
            settings,
        } = input;
        let facts = Arc::new(Facts {
            name,
            path,
            mount,
            generation,
            mode,
        });
        let threads = Arc::new(AtomicU32::new(0));
        let runtime = build_runtime(&facts, &threads).map_err(|error| StartError {
            why: Ok(error),
            threads_left: 0,
        })?;
        let (signal, token) = ShutdownSignal::new();
        let host = HostHandle(Way::Host(link));
        let mut setup = Setup::new(Arc::clone(&facts), settings, token, host);
        let started = guard::catch(|| runtime.block_on(async { start(&mut setup).await }));
        let why = match started {
            Ok(Ok(handler)) => {
                let Registered {
                    hooks,
                    saver,
                    schedules,
                } = setup.finish();
                return Ok(Self {
                    facts,
                    handler: handler.into(),
                    hooks,
                    shutdown: signal,
                    runtime,
                    threads,
                    saver,
                    schedules,
                });
            }
            Ok(Err(error)) => Ok(error),
            Err(caught) => Err(caught),
        };
        // What it had set up by then is cleaned up as if it had served.
        let hooks = setup.finish().hooks;
        hooks.run(runtime.handle(), Duration::from_secs(1), Reason::Abandoned);
        runtime.shutdown_timeout(Duration::from_secs(1));
        Err(StartError {
            why,
            threads_left: threads.load(Ordering::SeqCst),
        })
    }

    pub(crate) fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    pub(crate) fn handle(&self, request: Request<Body>) -> ResponseFuture {
        self.handler.handle(request)
    }

    /// Speaks HTTP/1.1 on the tunnel, upgrades included, in a task of the plugin's runtime.
    pub(crate) fn serve_tunnel(&self, tunnel: Tunnel, info: RequestInfo) {
        let handler = Arc::clone(&self.handler);
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(info.clone());
            let request_id = info.request_id;
            let handler = Arc::clone(&handler);
            let mut future: Option<ResponseFuture> = None;
            let mut request = Some(request);
            std::future::poll_fn(move |cx| {
                let poll = || {
                    let future = future
                        .get_or_insert_with(|| handler.handle(request.take().unwrap_or_default()));
                    future.as_mut().poll(cx)
                };
                // As for any other request: a panic is a 500 for this one alone.
                guard::catch(|| forward::with_request(request_id, poll)).unwrap_or_else(|caught| {
                    forward::with_request(request_id, || {
                        forward::report_panic("panicked", &caught);
                    });
                    let mut response = Response::new(Box::pin(Body::empty()) as ResponseBody);
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    Poll::Ready(Ok(response))
                })
            })
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(tunnel, service)
            .with_upgrades();
        // Boxed, since the compiler cannot prove the bare future's lifetimes general enough.
        let connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>> =
            Box::pin(connection);
        self.runtime.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upgraded connection ended");
            }
        });
    }

    /// Its state; `None`: it saves none.
    pub(crate) fn save(
        &self,
        limit: u64,
        time: Duration,
    ) -> Option<Result<(u32, Bytes), BoxError>> {
        let saver = self.saver.as_ref()?;
        let saved = saver.run(self.runtime.handle(), limit, time);
        Some(saved.map(|bytes| (saver.schema, bytes)))
    }

    /// Begins a scheduled call; `None`: there is none of that name.
    pub(crate) fn run_schedule(&self, name: &str) -> Option<JoinHandle<Result<(), Caught>>> {
        self.schedules.run(name, self.runtime.handle())
    }

    pub(crate) fn shutdown(&self, reason: Reason) {
        self.shutdown.fire(reason);
    }

    /// Runs the hooks, drops the service, and ends the runtime, each within `timeout`.
    pub(crate) fn stop(self, reason: Reason, timeout: Duration) -> Stopped {
        self.shutdown.fire(reason);
        let hooks = self.hooks.run(self.runtime.handle(), timeout, reason);
        let handler = self.handler;
        guard::contain(|| {
            let _entered = self.runtime.enter();
            drop(handler);
        });
        self.runtime.shutdown_timeout(timeout);
        Stopped {
            hooks,
            threads_left: self.threads.load(Ordering::SeqCst),
        }
    }
}

fn build_runtime(facts: &Facts, threads: &Arc<AtomicU32>) -> Result<Runtime, BoxError> {
    let (started, stopped) = (Arc::clone(threads), Arc::clone(threads));
    // Linux shows 15 bytes of a thread's name.
    let name = format!("{}.g{}", facts.name, facts.generation);
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .on_thread_start(move || {
            started.fetch_add(1, Ordering::SeqCst);
        })
        .on_thread_stop(move || {
            stopped.fetch_sub(1, Ordering::SeqCst);
        })
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the plugin's runtime: {error}").into())
}
