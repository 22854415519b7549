//! Clients that ask all the time, and judge each answer.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::task::JoinSet;

use crate::{Connection, Host};

/// Clients under way.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Tally>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    /// The newest version that has answered.
    newest: AtomicU64,
    answers: AtomicU64,
}

/// What clients have seen.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Good answers.
    pub answers: u64,
    /// Answers that were none, mixed, or of code older than the newest seen when they were asked
    /// for; each with its reason.
    pub failures: Vec<String>,
    /// All versions seen.
    pub versions: BTreeSet<u64>,
}

impl Load {
    /// Starts so many clients, each on one HTTP/1.1 connection that it keeps.
    pub async fn start(host: &Host, clients: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut set = JoinSet::new();
        for _ in 0..clients {
            set.spawn(run(host.connect().await, Arc::clone(&shared)));
        }
        Self {
            shared,
            clients: set,
        }
    }

    /// Waits until as many more answers have come.
    pub async fn more_answers(&self, count: u64) {
        let goal = self.shared.answers.load(Ordering::SeqCst) + count;
        crate::until("answers under load", async || {
            (self.shared.answers.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Ends it.
    ///
    /// # Panics
    /// When a client has panicked.
    pub async fn end(mut self) -> Tally {
        self.shared.ended.store(true, Ordering::SeqCst);
        let mut all = Tally::default();
        while let Some(one) = crate::in_time("the clients' end", self.clients.join_next()).await {
            let one = one.unwrap();
            all.answers += one.answers;
            all.failures.extend(one.failures);
            all.versions.extend(one.versions);
        }
        all
    }
}

async fn run(mut connection: Connection, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::default();
    while !shared.ended.load(Ordering::SeqCst) {
        let oldest = shared.newest.load(Ordering::SeqCst);
        match ask(&mut connection, oldest, &shared.newest).await {
            Ok(version) => {
                tally.answers += 1;
                tally.versions.insert(version);
                shared.answers.fetch_add(1, Ordering::SeqCst);
            }
            Err(failure) => {
                tally.failures.push(failure);
                // The connection may be gone; one failure a client says enough.
                return tally;
            }
        }
    }
    tally
}

/// One request to `/mixed`, whose head and every line tell the version.
async fn ask(connection: &mut Connection, oldest: u64, newest: &AtomicU64) -> Result<u64, String> {
    let request = connection
        .request("GET", "/mixed")
        .body(crate::client::empty());
    let request = request.map_err(|error| error.to_string())?;
    let response = connection.try_send(request).await;
    let response = response.map_err(|error| format!("no response: {error:?}"))?;
    let version = response
        .headers()
        .get("x-version")
        .and_then(|v| v.to_str().ok()?.parse().ok());
    let version: u64 = version.ok_or_else(|| format!("no version: {response:?}"))?;
    newest.fetch_max(version, Ordering::SeqCst);
    if version < oldest {
        return Err(format!(
            "version {version} answered after version {oldest} had"
        ));
    }
    let answer = crate::client::read(response).await;
    let answer = answer.map_err(|error| format!("broken off: {error:?}"))?;
    let line = format!("version {version}");
    let whole = answer.text.lines().count() == 8 && answer.text.lines().all(|l| l == line);
    if answer.status != http::StatusCode::OK || !whole {
        return Err(format!("a mixture: {answer:?}"));
    }
    Ok(version)
}
