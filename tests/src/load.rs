//! Clients that ask all the time, and judge each answer.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::task::JoinSet;

use crate::{Connection, Host, client};

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
    newest: Arc<AtomicU64>,
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

    /// The same of clients that connect anew for each request, and know the versions that the
    /// others have seen.
    #[must_use]
    pub fn start_new_each(host: &Host, clients: usize, others: &Self) -> Self {
        let shared = Arc::new(Shared {
            newest: Arc::clone(&others.shared.newest),
            ..Shared::default()
        });
        let mut set = JoinSet::new();
        for _ in 0..clients {
            set.spawn(run_new_each(host.address.clone(), Arc::clone(&shared)));
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
        match ask_version(&mut connection, &shared.newest).await {
            Ok(version) => {
                tally.answers += 1;
                tally.versions.insert(version);
                shared.answers.fetch_add(1, Ordering::SeqCst);
            }
            Err(failure) => {
                tally.failures.push(failure.to_string());
                // The connection may be gone; one failure a client says enough.
                return tally;
            }
        }
    }
    tally
}

async fn run_new_each(address: String, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::default();
    while !shared.ended.load(Ordering::SeqCst) {
        let asked = async {
            let connection = Connection::try_http1(&address).await;
            let mut connection = connection.map_err(|error| Failure::Failed(error.to_string()))?;
            ask_version(&mut connection, &shared.newest).await
        };
        match asked.await {
            Ok(version) => {
                tally.answers += 1;
                tally.versions.insert(version);
                shared.answers.fetch_add(1, Ordering::SeqCst);
            }
            Err(failure) => tally.failures.push(failure.to_string()),
        }
    }
    tally
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is none, or not the right one.
    Failed(String),
    /// It is of two versions, or of one that had been replaced already.
    Mixed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::Mixed(why) => write!(f, "a mixture: {why}"),
        }
    }
}

/// One request to the probe's `/mixed`, whose head and every line tell the version. `newest` is the
/// newest version that any client has seen.
///
/// # Errors
/// When the answer is none, mixed, or older than one that had come before it was asked for.
pub async fn ask_version(connection: &mut Connection, newest: &AtomicU64) -> Result<u64, Failure> {
    let failed = |what: &str, why: &dyn fmt::Debug| Failure::Failed(format!("{what}: {why:?}"));
    let oldest = newest.load(Ordering::SeqCst);
    let request = connection.request("GET", "/mixed");
    let request = request.body(client::empty());
    let request = request.map_err(|error| failed("no request", &error))?;
    let response = connection.try_send(request).await;
    let response = response.map_err(|error| failed("no response", &error))?;
    let version = response
        .headers()
        .get("x-version")
        .and_then(|v| v.to_str().ok()?.parse().ok());
    let version: u64 = version.ok_or_else(|| failed("no version", &response))?;
    newest.fetch_max(version, Ordering::SeqCst);
    if version < oldest {
        return Err(Failure::Mixed(format!(
            "version {version} answered after version {oldest} had"
        )));
    }
    let answer = client::read(response).await;
    let answer = answer.map_err(|error| failed("broken off", &error))?;
    if answer.status != http::StatusCode::OK {
        return Err(failed("not OK", &answer));
    }
    let line = format!("version {version}");
    if answer.text.lines().count() != 8 || answer.text.lines().any(|l| l != line) {
        return Err(Failure::Mixed(format!("{answer:?}")));
    }
    Ok(version)
}
