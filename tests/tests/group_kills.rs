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
    Connection, Host, artifacts,
    client::{self, Answer, full},
    configured,
    host::Site,
    in_time,
    log::Event,
    process,
};
use rustix::process::Signal;
use tokio::task::JoinSet;

/// What is asked all the time, and the group that it is in.
const APPS: [(&str, &str); 3] = [("rose", "red"), ("ruby", "red"), ("sky", "blue")];

#[tokio::test]
async fn workers_killed_at_random_take_only_their_own_requests_with_them() {
    const KILLS: usize = 200;
    let site = two_groups("");
    let host = site.serve(&[]).await;
    let visits = APPS.map(|(app, _)| Visits::start(&host, app));
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
        process::signal(victim, Signal::KILL);
        killed.insert(victim);
        random.choice(&visits).unwrap().more_answers(3).await;
    }
    let seen = end(visits).await;
    host.nth_event(KILLS, "worker-died").await;
    judge(&host, &seen, &killed).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{}", host.log));
}

#[tokio::test]
async fn plugins_that_end_their_workers_harm_no_sibling_no_neighbour_and_no_other_group() {
    const ROUNDS: usize = 3;
    const WAYS: [(&str, &str); 6] = [
        ("end?how=abort", "signal 6"),
        ("end?how=overflow", "signal 6"),
        ("end?how=exit", "exited with code 3"),
        // All at once, and bit by bit.
        ("keep?mib=300", "signal 6"),
        ("end?how=exhaust", "signal 6"),
        ("spin", "signal 9"),
    ];
    let site = two_groups("memory-limit = \"256M\"\nhang-timeout = \"4s\"");
    let host = site.serve(&[]).await;
    let visits = APPS.map(|(app, _)| Visits::start(&host, app));
    let mut ended = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for (what, death) in WAYS.into_iter().cycle().take(ROUNDS * WAYS.len()) {
        let path = format!("/rose/{what}");
        let answer = host.connect().await.get(&path).await;
        let id = failed_request(&answer).unwrap_or_else(|| panic!("{path}: {answer:?}"));
        let pid = ended_worker(&host, &path, id, death).await;
        assert!(ended.insert(pid), "worker {pid} died twice");
        asked.insert(id);
        for visits in &visits {
            visits.more_answers(3).await;
        }
    }
    let mut seen = end(visits).await;
    seen[0].bad_gateways.append(&mut asked);
    // On a machine that is busy enough, one hangs by itself.
    let hung = host.log.all(|event| event.kind() == "worker-hangs");
    ended.extend(hung.iter().filter_map(|event| event.number("pid")));
    judge(&host, &seen, &ended).unwrap_or_else(|why| panic!("{why}\n{}", host.log));
    let died = host.log.all(|event| event.kind() == "worker-died");
    assert!(died.iter().all(|event| event.text("group") == "red"));
}

/// Which worker has died with that request, and that it did in that way.
async fn ended_worker(host: &Host, path: &str, id: u64, death: &str) -> u64 {
    let lost = host.log.wait_for("the request's line", |event| {
        event.kind() == "not-answered" && event.number("request") == Some(id)
    });
    let lost = lost.await;
    assert_eq!(lost.text("code"), "worker-died", "{lost}");
    let pid = lost.number("pid").unwrap();
    let died = host.log.wait_for("the worker's death", |event| {
        event.kind() == "worker-died" && event.number("pid") == Some(pid)
    });
    let died = died.await;
    assert!(died.text("death").contains(death), "{path}: {died}");
    let asked = path.split('?').next().unwrap().replacen("/rose", "", 1);
    assert!(died.text("requests").contains(&asked), "{path}: {died}");
    pid
}

/// Two groups: one with two apps and those options, and one with one app.
fn two_groups(options: &str) -> Site {
    let site = Site::new();
    let mut config = format!(
        "[groups.red]\nprocesses = 3\nthreads = 1\n{options}\n\
         [groups.blue]\nprocesses = 3\nthreads = 1\n"
    );
    for (app, group) in APPS {
        let path = site.install(app, &artifacts::probe(1));
        config += &format!("[apps.{app}]\npath = {path:?}\ngroup = \"{group}\"\n");
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

/// The request's number in the host's log, of an answer that is a 502.
fn failed_request(answer: &Answer) -> Option<u64> {
    let (_, number) = answer.text.rsplit_once("(request ")?;
    let number = number.trim_end().strip_suffix(')')?.parse().ok()?;
    (answer.status == StatusCode::BAD_GATEWAY).then_some(number)
}

async fn end(visits: [Visits; APPS.len()]) -> [Seen; APPS.len()] {
    let mut seen = <[Seen; APPS.len()]>::default();
    for visits in &visits {
        visits.shared.ended.store(true, Ordering::SeqCst);
    }
    for (seen, visits) in seen.iter_mut().zip(visits) {
        *seen = visits.end().await;
    }
    seen
}

/// Whether each failure is one of a worker that was ended, and of no other.
fn judge(host: &Host, seen: &[Seen; APPS.len()], ended: &BTreeSet<u64>) -> Result<(), String> {
    let mut held = BTreeMap::<_, u64>::new();
    for died in host.log.all(|event| event.kind() == "worker-died") {
        let pid = died.number("pid").unwrap();
        if !ended.contains(&pid) {
            return Err(format!("worker {pid} died and nobody ended it"));
        }
        *held.entry(died.text("group").to_owned()).or_default() += died.number("held").unwrap();
    }
    let mut failed = BTreeMap::<_, u64>::new();
    for ((app, group), seen) in APPS.into_iter().zip(seen) {
        if !seen.others.is_empty() {
            return Err(format!("{app}: {:?}", seen.others));
        }
        let of_app = |kind: &'static str| {
            move |event: &Event| event.kind() == kind && event.text("app") == app
        };
        let lost = host.log.all(of_app("not-answered"));
        let cut = host.log.all(of_app("body-broken"));
        let stranger = lost.iter().chain(&cut).find(|event| {
            let was_ended = event.number("pid").is_some_and(|pid| ended.contains(&pid));
            event.text("code") != "worker-died" || !was_ended
        });
        if let Some(stranger) = stranger {
            return Err(format!("not of a worker that was ended: {stranger}"));
        }
        let lost: BTreeSet<u64> = lost.iter().filter_map(|it| it.number("request")).collect();
        if lost != seen.bad_gateways {
            let bad = &seen.bad_gateways;
            return Err(format!("{app}: 502s of {bad:?}, of {lost:?} in the log"));
        }
        if cut.len() != seen.cut {
            let (cut, seen) = (cut.len(), seen.cut);
            return Err(format!("{app}: {seen} cut, {cut} in the log"));
        }
        *failed.entry(group).or_default() += (lost.len() + cut.len()) as u64;
    }
    for (group, failed) in failed {
        let held = held.get(group).copied().unwrap_or_default();
        if failed > held {
            return Err(format!(
                "{group}: {failed} failed, and the dead held {held}"
            ));
        }
    }
    Ok(())
}

/// What clients of one app have seen.
#[derive(Debug, Default)]
struct Seen {
    /// 502 and the reason: the requests' numbers.
    bad_gateways: BTreeSet<u64>,
    /// Responses that had begun and were cut.
    cut: usize,
    /// Failures that nothing excuses.
    others: Vec<String>,
}

/// Clients of one app, who ask all the time.
#[derive(Debug)]
struct Visits {
    shared: Arc<Shared>,
    clients: JoinSet<Seen>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    app: &'static str,
    ended: AtomicBool,
    answers: AtomicU64,
}

impl Visits {
    fn start(host: &Host, app: &'static str) -> Self {
        let shared = Arc::new(Shared {
            address: host.address.clone(),
            app,
            ended: AtomicBool::new(false),
            answers: AtomicU64::new(0),
        });
        let mut clients = JoinSet::new();
        for client in 0..4 {
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

    async fn end(mut self) -> Seen {
        let mut all = Seen::default();
        while let Some(one) = in_time("the clients' end", self.clients.join_next()).await {
            let one = one.unwrap();
            all.bad_gateways.extend(one.bad_gateways);
            all.cut += one.cut;
            all.others.extend(one.others);
        }
        all
    }
}

async fn run(http2: bool, shared: Arc<Shared>) -> Seen {
    const LINE: &str = "version 1\n";
    // What fails in a worker before its response has begun, and what in the middle of it; and what
    // has a connection of its own to the worker, since it has a body.
    let asked = [
        ("GET", "sleep?ms=20", 1),
        ("GET", "mixed", 8),
        ("POST", "echo", 1),
    ];
    let asked =
        asked.map(|(method, path, lines)| (method, format!("/{}/{path}", shared.app), lines));
    let mut seen = Seen::default();
    let mut kept = None;
    for (method, path, lines) in asked.iter().cycle() {
        if shared.ended.load(Ordering::SeqCst) {
            break;
        }
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None if http2 => Connection::http2(&shared.address).await,
            None => Connection::http1(&shared.address).await,
        };
        let body = if *method == "POST" { LINE } else { "" };
        let request = connection.request(method, path).body(full(body)).unwrap();
        let response = connection.send(request).await;
        let Ok(answer) = client::read(response).await else {
            seen.cut += 1;
            continue;
        };
        if answer.text == LINE.repeat(*lines) {
            shared.answers.fetch_add(1, Ordering::SeqCst);
        } else if let Some(id) = failed_request(&answer) {
            seen.bad_gateways.insert(id);
        } else {
            seen.others.push(format!("{answer:?}"));
        }
        kept = Some(connection);
    }
    seen
}
