//! Workers that end at any moment, of two groups under load: what a client may see of it, and what not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::StatusCode;
use replug_tests::{
    Connection, Host, artifacts, client, configured, host::Site, in_time, log::Event,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

const GROUPS: [&str; 2] = ["red", "blue"];

#[tokio::test]
async fn workers_killed_at_random_take_only_their_own_requests_with_them() {
    const KILLS: usize = 200;
    let site = two_groups();
    let host = site.serve(&[]).await;
    let visits = GROUPS.map(|group| Visits::start(&host, group));
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut killed = BTreeSet::new();
    while killed.len() < KILLS {
        let alive: Vec<u64> = workers(&site).await.difference(&killed).copied().collect();
        let Some(victim) = random.choice(alive) else {
            // The next ones are on their way.
            tokio::task::yield_now().await;
            continue;
        };
        kill(victim);
        killed.insert(victim);
        random.choice(&visits).unwrap().more_answers(3).await;
    }
    let counts = end(visits).await;
    let died = host
        .log
        .wait_for_nth("deaths", KILLS, |event| event.kind() == "worker-died");
    died.await;
    judge(&host, &counts, &killed).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{}", host.log));
}

#[tokio::test]
async fn plugins_that_end_their_workers_harm_no_other_group() {
    const ROUNDS: usize = 4;
    let site = two_groups();
    let host = site.serve(&[]).await;
    let visits = GROUPS.map(|group| Visits::start(&host, group));
    let ways = ["abort", "overflow", "exit"];
    let mut asked = 0;
    for way in ways.into_iter().cycle().take(ROUNDS * ways.len()) {
        let path = format!("/red/end?how={way}");
        let answer = host.connect().await.get(&path).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
        asked += 1;
        for visits in &visits {
            visits.more_answers(3).await;
        }
    }
    let [mut red, blue] = end(visits).await;
    host.nth_event(ROUNDS * ways.len(), "worker-died").await;
    red.bad_gateways += asked;
    let died = host.log.all(|event| event.kind() == "worker-died");
    assert!(died.iter().all(|event| event.text("group") == "red"));
    let killed = died
        .iter()
        .filter_map(|event| event.number("pid"))
        .collect();
    assert_eq!((blue.bad_gateways, blue.cut), (0, 0));
    judge(&host, &[red, blue], &killed).unwrap_or_else(|why| panic!("{why}\n{}", host.log));
}

/// The probe in each of two groups.
fn two_groups() -> Site {
    let site = Site::new();
    let mut config = String::new();
    for group in GROUPS {
        let path = site.install(group, &artifacts::probe(1));
        config += &format!(
            "[groups.{group}]\nprocesses = 3\nthreads = 1\n\
             [apps.{group}]\npath = {path:?}\ngroup = \"{group}\"\n"
        );
    }
    configured::write(&site, &config);
    site
}

/// The processes of all workers that serve.
async fn workers(site: &Site) -> BTreeSet<u64> {
    let status = site.status().await;
    let apps = status["apps"].as_array().unwrap();
    let workers = apps
        .iter()
        .flat_map(|app| app["workers"].as_array().unwrap());
    workers
        .map(|worker| worker["pid"].as_u64().unwrap())
        .collect()
}

fn kill(pid: u64) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

async fn end(visits: [Visits; 2]) -> [Counts; 2] {
    let [red, blue] = visits;
    [red.end().await, blue.end().await]
}

/// Whether each failure is one of a worker that was killed, and of no other.
fn judge(host: &Host, counts: &[Counts; 2], killed: &BTreeSet<u64>) -> Result<(), String> {
    let mut held = BTreeMap::new();
    for died in host.log.all(|event| event.kind() == "worker-died") {
        let group = died.text("group").to_owned();
        *held.entry(group).or_default() += died.number("held").unwrap();
        let pid = died.number("pid").unwrap();
        if !killed.contains(&pid) {
            return Err(format!("worker {pid} died and nobody killed it"));
        }
    }
    for (group, counts) in GROUPS.into_iter().zip(counts) {
        let of_group = |kind: &'static str| {
            move |event: &Event| event.kind() == kind && event.text("app") == group
        };
        if !counts.others.is_empty() {
            return Err(format!("group {group}: {:?}", counts.others));
        }
        let lost = host.log.all(of_group("not-answered"));
        let stranger = lost.iter().find(|event| {
            let was_killed = event.number("pid").is_some_and(|pid| killed.contains(&pid));
            // The news of a death may take longer than the host waits for it.
            !["worker-died", "worker-broke"].contains(&event.text("code")) || !was_killed
        });
        if let Some(stranger) = stranger {
            return Err(format!("not of a killed worker: {stranger}"));
        }
        if lost.len() != counts.bad_gateways {
            let bad = counts.bad_gateways;
            return Err(format!(
                "group {group}: {bad} 502s, {} in the log",
                lost.len()
            ));
        }
        let cut = host.log.all(of_group("body-broken")).len();
        if cut != counts.cut {
            return Err(format!(
                "group {group}: {} cut, {cut} in the log",
                counts.cut
            ));
        }
        let held: u64 = held.remove(group).unwrap_or_default();
        let failed = counts.bad_gateways + counts.cut;
        if failed as u64 > held {
            return Err(format!(
                "group {group}: {failed} failed, and the dead held {held}"
            ));
        }
    }
    Ok(())
}

/// What clients of one group have seen.
#[derive(Debug, Default)]
struct Counts {
    /// 502 and the reason.
    bad_gateways: usize,
    /// Responses that had begun and were cut.
    cut: usize,
    /// Failures that nothing excuses.
    others: Vec<String>,
}

/// Clients of one group, who ask all the time.
#[derive(Debug)]
struct Visits {
    shared: Arc<Shared>,
    clients: JoinSet<Counts>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    group: &'static str,
    ended: AtomicBool,
    answers: AtomicU64,
}

impl Visits {
    fn start(host: &Host, group: &'static str) -> Self {
        let shared = Arc::new(Shared {
            address: host.address.clone(),
            group,
            ended: AtomicBool::new(false),
            answers: AtomicU64::new(0),
        });
        let mut clients = JoinSet::new();
        for client in 0..6 {
            clients.spawn(run(client % 2 == 0, Arc::clone(&shared)));
        }
        Self { shared, clients }
    }

    /// Waits until as many more whole answers have come.
    async fn more_answers(&self, count: u64) {
        let goal = self.shared.answers.load(Ordering::SeqCst) + count;
        replug_tests::until("answers", async || {
            (self.shared.answers.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    async fn end(mut self) -> Counts {
        self.shared.ended.store(true, Ordering::SeqCst);
        let mut all = Counts::default();
        while let Some(one) = in_time("the clients' end", self.clients.join_next()).await {
            let one = one.unwrap();
            all.bad_gateways += one.bad_gateways;
            all.cut += one.cut;
            all.others.extend(one.others);
        }
        all
    }
}

async fn run(http2: bool, shared: Arc<Shared>) -> Counts {
    // What fails in a worker before its response has begun, and what in the middle of it.
    let asked = [("sleep?ms=20", 1), ("mixed", 8)];
    let asked = asked.map(|(path, lines)| (format!("/{}/{path}", shared.group), lines));
    let mut counts = Counts::default();
    let mut kept = None;
    for (path, lines) in asked.iter().cycle() {
        if shared.ended.load(Ordering::SeqCst) {
            break;
        }
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None if http2 => Connection::http2(&shared.address).await,
            None => Connection::http1(&shared.address).await,
        };
        let request = connection.request("GET", path).body(client::empty());
        // Its body broke before its head had been written: that is one that was cut, too, and must be
        // in the log as such.
        let Ok(response) = connection.try_send(request.unwrap()).await else {
            counts.cut += 1;
            continue;
        };
        match client::read(response).await {
            Ok(answer) if answer.text == "version 1\n".repeat(*lines) => {
                shared.answers.fetch_add(1, Ordering::SeqCst);
                kept = Some(connection);
            }
            Ok(answer) if answer.status == StatusCode::BAD_GATEWAY => {
                counts.bad_gateways += 1;
                kept = Some(connection);
            }
            Ok(answer) => counts.others.push(format!("{answer:?}")),
            Err(_) => counts.cut += 1,
        }
    }
    counts
}
