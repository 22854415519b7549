//! Clients that ask all the time, whatever is done to the app.

use std::sync::Arc;

use tokio::{
    sync::{Mutex, OwnedMutexGuard, watch},
    task::JoinSet,
};

use crate::{Connection, client, in_time, model::Version};

/// A client that asks for the version, and one that counts.
#[derive(Debug)]
pub(super) struct Clients {
    answers: watch::Receiver<Vec<Answer>>,
    taken: usize,
    counts: Arc<Mutex<Vec<u64>>>,
    /// Where the host listens, which is another place after a restart.
    address: watch::Sender<String>,
    tasks: JoinSet<()>,
}

/// A version, nothing, or why an answer is none.
type Answer = Result<Option<Version>, String>;

impl Clients {
    pub(super) fn start(address: &str, mount: &str) -> Self {
        let (address, mount) = (watch::channel(address.to_owned()).0, mount.to_owned());
        let (answered, answers) = watch::channel(Vec::new());
        let counts = Arc::new(Mutex::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(ask(address.subscribe(), mount.clone(), answered));
        tasks.spawn(count(address.subscribe(), mount, Arc::clone(&counts)));
        Self {
            answers,
            taken: 0,
            counts,
            address,
            tasks,
        }
    }

    /// The host listens there now.
    pub(super) fn moved(&self, address: &str) {
        self.address.send_replace(address.to_owned());
    }

    /// What was counted since the last time. Nobody counts as long as the guard is there.
    pub(super) async fn hold_counts(&self) -> OwnedMutexGuard<Vec<u64>> {
        in_time("a count's answer", Arc::clone(&self.counts).lock_owned()).await
    }

    /// The answers since the last time, up to one that was asked for after this call.
    pub(super) async fn take_answers(&mut self) -> Result<Vec<Option<Version>>, String> {
        // The next may have been asked for before, the one after it was not.
        let enough = self.answers.borrow().len() + 2;
        let more = self.answers.wait_for(|answers| answers.len() >= enough);
        let all = in_time("two answers", more).await;
        let all = all.map_err(|_| "the client has ended".to_owned())?;
        let new = all[self.taken..].to_vec();
        self.taken = all.len();
        new.into_iter().collect()
    }

    /// Whether one of them has ended, which is a failure.
    pub(super) fn have_ended(&mut self) -> bool {
        self.tasks.try_join_next().is_some()
    }
}

async fn ask(
    address: watch::Receiver<String>,
    mount: String,
    answered: watch::Sender<Vec<Answer>>,
) {
    let mut connection = None;
    while !answered.is_closed() {
        let answer = request(&address, &mut connection, "GET", &format!("{mount}/mixed")).await;
        let answer = answer.map_or(Ok(None), |answer| version_of(&answer));
        answered.send_modify(|answers| answers.push(answer));
        tokio::task::yield_now().await;
    }
}

async fn count(address: watch::Receiver<String>, mount: String, counts: Arc<Mutex<Vec<u64>>>) {
    let mut connection = None;
    loop {
        let mut counts = counts.lock().await;
        let answer = request(&address, &mut connection, "POST", &format!("{mount}/count")).await;
        let number = answer.and_then(|answer| answer.text.trim().parse::<u64>().ok());
        counts.extend(number);
        drop(counts);
        tokio::task::yield_now().await;
    }
}

/// `None`: no app answered, or no host.
async fn request(
    address: &watch::Receiver<String>,
    kept: &mut Option<Connection>,
    method: &str,
    path: &str,
) -> Option<client::Answer> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => {
            let address = address.borrow().clone();
            Connection::try_http1(&address).await.ok()?
        }
    };
    let request = connection
        .request(method, path)
        .body(client::empty())
        .ok()?;
    let response = in_time(path, connection.try_send(request)).await.ok()?;
    let answer = client::read(response).await.ok()?;
    *kept = Some(connection);
    let unserved = [404, 503].contains(&answer.status.as_u16());
    (!unserved).then_some(answer)
}

/// The version that the head and every line of the answer tell.
fn version_of(answer: &client::Answer) -> Answer {
    let wrong = || format!("not of one version: {answer:?}");
    let mut lines = answer.text.lines();
    let first = lines.next().ok_or_else(wrong)?;
    let version = first
        .strip_prefix("version ")
        .and_then(|it| it.parse().ok());
    if lines.any(|line| line != first) || answer.text.lines().count() != 8 {
        return Err(wrong());
    }
    version.map(Some).ok_or_else(wrong)
}
