//! A thread that serves connections: a current-thread runtime and a queue.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::{
    runtime::Builder,
    sync::{mpsc, watch},
    task::LocalSet,
};

use super::{
    connection,
    crowd::{Crowd, Member},
    direct,
    entrance::Arrival,
    orders::Orders,
    unheard::Accepted,
};
use crate::{
    dispatch::Dispatcher,
    process::{self, Errand},
};

/// What an HTTP thread can be asked to do.
enum Job {
    Serve(Accepted, Member),
    ServeDirect(Arrival, Member),
    Run(Errand),
    Stop,
}

/// One HTTP thread.
#[derive(Debug)]
pub(super) struct HttpThread {
    name: String,
    queue: mpsc::UnboundedSender<Job>,
    connections: Crowd,
    /// Those that came after [`HttpThread::others_from_now_on`].
    later: Crowd,
    is_later: AtomicBool,
    // Closed by the thread when it ends.
    alive: watch::Receiver<()>,
}

impl HttpThread {
    pub(super) fn start(
        number: usize,
        dispatcher: Arc<Dispatcher>,
        orders: Orders,
    ) -> io::Result<Self> {
        let name = format!("http-{number}");
        let (queue, jobs) = mpsc::unbounded_channel();
        let (ended, alive) = watch::channel(());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let later = Crowd::default();
        let theirs = later.clone();
        thread::Builder::new().name(name.clone()).spawn(move || {
            process::count_alone();
            LocalSet::new().block_on(&runtime, run(jobs, dispatcher, orders, theirs));
            // What connections are left end with the runtime; then the thread has ended.
            drop(runtime);
            drop(ended);
        })?;
        Ok(Self {
            name,
            queue,
            connections: Crowd::default(),
            later,
            is_later: AtomicBool::new(false),
            alive,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn take(&self, connection: Accepted) {
        // The thread ends only when the host does; the connection is closed then.
        let _ = self.queue.send(Job::Serve(connection, self.member()));
    }

    /// The same for one that came in at a worker's own entrance.
    pub(super) fn take_arrival(&self, arrival: Arrival) {
        let _ = self.queue.send(Job::ServeDirect(arrival, self.member()));
    }

    fn member(&self) -> Member {
        match self.is_later.load(Ordering::Acquire) {
            false => self.connections.add(),
            true => self.later.add(),
        }
    }

    /// How many connections it serves.
    pub(super) fn connections(&self) -> usize {
        self.connections.number() + self.later.number()
    }

    /// Waits until it serves none.
    pub(super) async fn idle(&self) {
        self.connections.gone().await;
        self.later.gone().await;
    }

    /// Counts connections that come from now on apart from those that there are.
    pub(super) fn others_from_now_on(&self) {
        self.is_later.store(true, Ordering::Release);
    }

    /// The connections that there were when they were told apart.
    pub(super) fn earlier(&self) -> &Crowd {
        &self.connections
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
    orders: Orders,
    later: Crowd,
) {
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Serve(accepted, member) => {
                let (dispatcher, orders) = (Arc::clone(&dispatcher), orders.clone());
                let serve = connection::serve(accepted, dispatcher, orders, member, later.clone());
                tokio::task::spawn_local(serve);
            }
            Job::ServeDirect(arrival, member) => {
                tokio::task::spawn_local(direct::serve(arrival, member));
            }
            Job::Run(errand) => errand(),
            Job::Stop => return,
        }
    }
}
