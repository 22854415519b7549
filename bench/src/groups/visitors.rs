//! Clients that ask all the time which version answers, and note when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use replug_tests::Connection;
use tokio::{sync::watch, task::JoinSet};

/// Clients under way.
#[derive(Debug)]
pub(crate) struct Visitors {
    shared: Arc<Shared>,
    newest: watch::Receiver<u64>,
    clients: JoinSet<Seen>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    ended: AtomicBool,
    newest: AtomicU64,
    tell: watch::Sender<u64>,
}

/// What they have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answers: u64,
    /// Answers of a version that was not the newest that had been seen when they were asked for.
    pub(crate) stale: u64,
    /// Answers that were none, and connections that broke.
    pub(crate) errors: u64,
    /// The longest that an answer took.
    pub(crate) slowest: Duration,
}

impl Visitors {
    /// Starts so many clients, each on a connection that it keeps for as long as it can.
    pub(crate) fn start(address: &str, clients: usize) -> Self {
        let (tell, newest) = watch::channel(0);
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            ended: AtomicBool::new(false),
            newest: AtomicU64::new(0),
            tell,
        });
        let mut set = JoinSet::new();
        for _ in 0..clients {
            set.spawn(run(Arc::clone(&shared)));
        }
        Self {
            shared,
            newest,
            clients: set,
        }
    }

    /// Waits until that version has answered.
    pub(crate) async fn seen(&mut self, version: u64) {
        let seen = self.newest.wait_for(|newest| *newest >= version).await;
        assert!(seen.is_ok(), "the clients are there");
    }

    /// Ends them.
    pub(crate) async fn end(mut self) -> Seen {
        self.shared.ended.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(one) = self.clients.join_next().await {
            let one = one.unwrap();
            all.answers += one.answers;
            all.stale += one.stale;
            all.errors += one.errors;
            all.slowest = all.slowest.max(one.slowest);
        }
        all
    }
}

async fn run(shared: Arc<Shared>) -> Seen {
    let mut seen = Seen::default();
    let mut kept = None;
    while !shared.ended.load(Ordering::Relaxed) {
        let newest = shared.newest.load(Ordering::SeqCst);
        let began = Instant::now();
        let version = ask(&shared.address, &mut kept).await;
        seen.slowest = seen.slowest.max(began.elapsed());
        let Some(version) = version else {
            seen.errors += 1;
            continue;
        };
        seen.answers += 1;
        seen.stale += u64::from(version < newest);
        if shared.newest.fetch_max(version, Ordering::SeqCst) < version {
            shared.tell.send_if_modified(|told| {
                let is_newer = *told < version;
                *told = version.max(*told);
                is_newer
            });
        }
    }
    seen
}

/// The version that answers `/`; `None`: nobody does, or something else.
async fn ask(address: &str, kept: &mut Option<Connection>) -> Option<u64> {
    loop {
        let (mut connection, is_new) = match kept.take() {
            Some(connection) => (connection, false),
            None => (Connection::try_http1(address).await.ok()?, true),
        };
        let request = connection
            .request("GET", "/")
            .body(replug_tests::client::empty());
        let response = match connection.try_send(request.ok()?).await {
            Ok(response) => response,
            // Closed while it was idle, and so not asked.
            Err(error) if !is_new && (error.is_closed() || error.is_canceled()) => continue,
            Err(_) => return None,
        };
        let body = response.into_body().collect().await.ok()?.to_bytes();
        *kept = Some(connection);
        let text = std::str::from_utf8(&body).ok()?;
        return text.strip_prefix("version ")?.trim().parse().ok();
    }
}
