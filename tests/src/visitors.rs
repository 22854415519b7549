//! Clients that ask all the time, each in its manner, of a host that goes on in fresh process
//! images: nothing may be refused, broken off or answered by anything but the app.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::header;
use tokio::task::JoinSet;

use crate::{Connection, client, in_time};

/// How a client uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Keeps one for as long as the host does.
    Kept,
    /// Has one for each request.
    Single,
    /// Keeps one of HTTP/2.
    Http2,
}

/// What clients have seen.
#[derive(Clone, Debug, Default)]
pub struct Visits {
    /// Good answers.
    pub answers: u64,
    /// Each with its reason.
    pub failures: Vec<String>,
    /// How often a client that keeps its connection had to have another.
    pub renewed: u64,
    /// The longest that a client waited from the wish for an answer to its end.
    pub slowest: Duration,
}

/// Clients under way.
#[derive(Debug)]
pub struct Visitors {
    shared: Arc<Shared>,
    clients: JoinSet<Visits>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    method: &'static str,
    path: String,
    /// `None`: any 200.
    expected: Option<String>,
    ended: AtomicBool,
    answers: AtomicU64,
}

impl Visitors {
    /// Starts so many clients of each manner, who expect that text of that path.
    #[must_use]
    pub fn start(address: &str, path: &str, expected: &str, of_each: usize) -> Self {
        Self::start_all(address, ("GET", path), Some(expected), of_each)
    }

    /// The same of clients that POST there, once for each good answer.
    #[must_use]
    pub fn start_posting(address: &str, path: &str, of_each: usize) -> Self {
        Self::start_all(address, ("POST", path), None, of_each)
    }

    fn start_all(
        address: &str,
        (method, path): (&'static str, &str),
        expected: Option<&str>,
        of_each: usize,
    ) -> Self {
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            method,
            path: path.to_owned(),
            expected: expected.map(str::to_owned),
            ended: AtomicBool::new(false),
            answers: AtomicU64::new(0),
        });
        let mut clients = JoinSet::new();
        for manner in [Manner::Kept, Manner::Single, Manner::Http2] {
            for _ in 0..of_each {
                clients.spawn(run(manner, Arc::clone(&shared)));
            }
        }
        Self { shared, clients }
    }

    /// Waits until as many more answers have come.
    pub async fn more_answers(&self, count: u64) {
        let goal = self.shared.answers.load(Ordering::SeqCst) + count;
        crate::until("answers", async || {
            (self.shared.answers.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Ends it.
    ///
    /// # Panics
    /// When a client has panicked.
    pub async fn end(mut self) -> Visits {
        self.shared.ended.store(true, Ordering::SeqCst);
        let mut all = Visits::default();
        while let Some(one) = in_time("the clients' end", self.clients.join_next()).await {
            let one = one.unwrap();
            all.answers += one.answers;
            all.failures.extend(one.failures);
            all.renewed += one.renewed;
            all.slowest = all.slowest.max(one.slowest);
        }
        all
    }
}

async fn run(manner: Manner, shared: Arc<Shared>) -> Visits {
    let mut visits = Visits::default();
    let mut kept = None;
    let mut had_one = false;
    while !shared.ended.load(Ordering::SeqCst) {
        let began = Instant::now();
        let asked = in_time("an answer", ask(manner, &shared, &mut kept)).await;
        match asked {
            Ok(()) => {
                visits.answers += 1;
                shared.answers.fetch_add(1, Ordering::SeqCst);
                visits.slowest = visits.slowest.max(began.elapsed());
            }
            Err(failure) => visits.failures.push(format!("{manner:?}: {failure}")),
        }
        if kept.is_none() && had_one {
            visits.renewed += 1;
        }
        had_one = kept.is_some();
    }
    visits
}

async fn ask(manner: Manner, shared: &Shared, kept: &mut Option<Connection>) -> Result<(), String> {
    let failed = |what: &str, why: &dyn fmt::Debug| format!("{what}: {why:?}");
    loop {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => connect(manner, &shared.address)
                .await
                .map_err(|error| failed("not connected", &error))?,
        };
        let request = connection.request(shared.method, &shared.path);
        let request = request.body(client::empty());
        let request = request.map_err(|error| failed("no request", &error))?;
        let response = match connection.try_send(request).await {
            Ok(response) => response,
            // The host closed it while nothing was asked, so that nothing was sent: every client
            // that keeps connections knows this, and takes another.
            Err(error) if error.is_closed() || error.is_canceled() => continue,
            Err(error) => return Err(failed("no response", &error)),
        };
        let is_last = response.headers().get(header::CONNECTION);
        let is_last = is_last.is_some_and(|value| value == "close");
        let answer = client::read(response).await;
        let answer = answer.map_err(|error| failed("broken off", &error))?;
        let expected = shared.expected.as_ref();
        if answer.status != 200 || expected.is_some_and(|text| answer.text != *text) {
            return Err(failed("another answer", &answer));
        }
        if manner != Manner::Single && !is_last {
            *kept = Some(connection);
        }
        return Ok(());
    }
}

async fn connect(manner: Manner, address: &str) -> std::io::Result<Connection> {
    match manner {
        Manner::Kept | Manner::Single => Connection::try_http1(address).await,
        Manner::Http2 => Connection::try_http2(address).await,
    }
}
