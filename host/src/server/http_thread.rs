//! A thread that serves connections: a current-thread runtime and a queue.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    runtime::Builder,
    sync::{mpsc, watch},
    task::LocalSet,
};
use tokio_util::sync::CancellationToken;

use super::{connection, listener::Accepted};
use crate::{
    dispatch::Dispatcher,
    process::{self, Errand},
};

/// What an HTTP thread can be asked to do.
enum Job {
    Serve(Accepted, Counted),
    Run(Errand),
    Stop,
}

/// One HTTP thread.
#[derive(Debug)]
pub(super) struct HttpThread {
    name: String,
    queue: mpsc::UnboundedSender<Job>,
    connections: Count,
    // Closed by the thread when it ends.
    alive: watch::Receiver<()>,
}

impl HttpThread {
    pub(super) fn start(
        number: usize,
        dispatcher: Arc<Dispatcher>,
        draining: CancellationToken,
    ) -> io::Result<Self> {
        let name = format!("http-{number}");
        let (queue, jobs) = mpsc::unbounded_channel();
        let (ended, alive) = watch::channel(());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name(name.clone()).spawn(move || {
            process::count_alone();
            LocalSet::new().block_on(&runtime, run(jobs, dispatcher, draining));
            // What connections are left end with the runtime; then the thread has ended.
            drop(runtime);
            drop(ended);
        })?;
        Ok(Self {
            name,
            queue,
            connections: Count::default(),
            alive,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn take(&self, connection: Accepted) {
        let counted = self.connections.add();
        // The thread ends only when the host does; the connection is closed then.
        let _ = self.queue.send(Job::Serve(connection, counted));
    }

    /// How many connections it serves.
    pub(super) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Waits until it serves none.
    pub(super) async fn idle(&self) {
        self.connections.zero().await;
    }

    /// A way to have something done on it.
    pub(super) fn errands(&self) -> impl Fn(Errand) + Send + 'static {
        let queue = self.queue.clone();
        move |errand| {
            let _ = queue.send(Job::Run(errand));
        }
    }

    pub(super) fn stop(&self) {
        let _ = self.queue.send(Job::Stop);
    }

    /// Waits until it has ended.
    pub(super) async fn stopped(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }
}

async fn run(
    mut jobs: mpsc::UnboundedReceiver<Job>,
    dispatcher: Arc<Dispatcher>,
    draining: CancellationToken,
) {
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Serve(accepted, counted) => {
                let serve = connection::serve(accepted, Arc::clone(&dispatcher), draining.clone());
                tokio::task::spawn_local(async move {
                    serve.await;
                    drop(counted);
                });
            }
            Job::Run(errand) => errand(),
            Job::Stop => return,
        }
    }
}

/// Counts connections, and wakes who waits for none.
#[derive(Debug, Default)]
struct Count(Arc<CountInner>);

#[derive(Debug, Default)]
struct CountInner {
    number: AtomicUsize,
    zero: tokio::sync::Notify,
}

/// One connection's share of a [`Count`].
#[derive(Debug)]
struct Counted(Arc<CountInner>);

impl Count {
    fn add(&self) -> Counted {
        self.0.number.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(&self.0))
    }

    fn get(&self) -> usize {
        self.0.number.load(Ordering::Acquire)
    }

    async fn zero(&self) {
        loop {
            // Registered before looking, so that no last connection is missed in between.
            let notified = self.0.zero.notified();
            if self.get() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.number.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.zero.notify_waiters();
        }
    }
}
