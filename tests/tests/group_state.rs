//! State that goes from the workers of a group to those that come after them.

use std::{collections::BTreeMap, fs};

use replug_tests::{
    artifacts,
    host::{Host, Site},
    load::Load,
    log::Event,
    process,
};
use rustix::process::{Signal, kill_process};

const APP: &str = "fixture-probe";

/// A probe whose count is kept, in so many workers, with more settings for it.
async fn counting(site: &Site, processes: &str, settings: &[&str], args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    serve(site, processes, settings, args).await
}

async fn serve(site: &Site, processes: &str, settings: &[&str], args: &[&str]) -> Host {
    let mut all = vec!["--guard".to_owned(), "0s".to_owned()];
    for setting in ["state={schema=1}"].iter().chain(settings) {
        all.push("--set".to_owned());
        all.push(format!("{APP}.{setting}"));
    }
    all.extend(["--processes".to_owned(), processes.to_owned()]);
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    site.serve_library("probe", &all).await
}

async fn count(host: &Host, times: u64) {
    let mut connection = host.connect().await;
    for _ in 0..times {
        let answer = connection.post("/count", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The count and the process of each worker, by its number.
async fn workers(host: &Host, processes: usize) -> BTreeMap<u64, (u64, u64)> {
    let mut found = BTreeMap::new();
    replug_tests::until("an answer of each worker", async || {
        let told = host.connect().await.json("/count/whose").await;
        let number = |key: &str| told[key].as_u64().unwrap();
        found.insert(number("worker"), (number("count"), number("pid")));
        (found.len() == processes).then_some(())
    })
    .await;
    found
}

async fn counts(host: &Host, processes: usize) -> Vec<u64> {
    let workers = workers(host, processes).await;
    workers.values().map(|(count, _)| *count).collect()
}

/// Counts until the workers differ, so that a mix-up is seen.
async fn count_unevenly(host: &Host, processes: usize) -> Vec<u64> {
    let mut others = 0;
    replug_tests::until("counts that differ", async || {
        count(host, 1).await;
        // Workers take turns: out of step, else they stay even.
        others = (others + 1) % 7;
        for _ in 0..others % 4 {
            host.get("/").await;
        }
        let counts = counts(host, processes).await;
        let mut sorted = counts.clone();
        sorted.sort_unstable();
        sorted.dedup();
        (sorted.len() == processes && sorted[0] > 0).then_some(counts)
    })
    .await
}

fn is_hosts(kind: &str, event: &Event) -> bool {
    event.kind() == kind && event.number("worker").is_none()
}

async fn nth_refusal(host: &Host, nth: usize) -> Event {
    host.log
        .wait_for_nth("refused", nth, |event| is_hosts("refused", event))
        .await
}

#[tokio::test]
async fn each_worker_has_the_state_of_the_one_of_its_number() {
    let site = Site::new();
    let host = counting(&site, "3", &[], &[]).await;
    let before = count_unevenly(&host, 3).await;
    let mut slow = host.connect_http2().await;
    let in_flight = slow.begin("/sleep?ms=300").await;
    artifacts::probe(2).install(&site.library("probe"));
    host.event("pausing").await;
    // It waits for the new ones, and this one for nobody.
    assert_eq!(host.get("/").await, "version 2\n");
    assert_eq!(in_flight.answer().await.unwrap().text, "version 1\n");
    assert_eq!(counts(&host, 3).await, before);
    artifacts::probe(3).install(&site.library("probe"));
    host.serving(APP, 3).await;
    assert_eq!(counts(&host, 3).await, before);
}

#[tokio::test]
async fn every_count_of_deploys_under_load_is_there_once_and_no_request_fails() {
    let site = Site::new();
    let host = counting(&site, "2", &[], &[]).await;
    let load = Load::start(&host, 4).await;
    let address = host.address.clone();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, stopped) = (address.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut connection = replug_tests::Connection::http1(&address).await;
                let mut number = 0;
                while !*stopped.borrow() {
                    let answer = connection.post("/count", "").await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    number += 1;
                }
                number
            })
        })
        .collect();
    for version in 2..=12 {
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
    }
    stop.send_replace(true);
    let mut made = 0;
    for client in clients {
        made += client.await.unwrap();
    }
    let tally = load.end().await;
    assert_eq!(tally.failures, Vec::<String>::new());
    assert_eq!(counts(&host, 2).await.iter().sum::<u64>(), made);
}

#[tokio::test]
async fn a_state_that_is_refused_or_of_another_schema_leaves_the_old_workers_as_they_were() {
    let site = Site::new();
    let settings = [
        "restore-of={2=\"refuse\", 3=\"panic\"}",
        "state={schema=1, schema-of={4=2}}",
    ];
    let host = counting(&site, "2", &settings, &[]).await;
    let before = workers(&host, 2).await;
    let mut made = 0;
    for (nth, version) in [(1, 2), (2, 3), (3, 4)] {
        count(&host, 4).await;
        made += 4;
        artifacts::probe(version).install(&site.library("probe"));
        nth_refusal(&host, nth).await;
        assert_eq!(host.get("/").await, "version 1\n");
        let now = workers(&host, 2).await;
        assert_eq!(now.values().map(|(count, _)| count).sum::<u64>(), made);
        let pids = |of: &BTreeMap<u64, (u64, u64)>| -> Vec<u64> {
            of.values().map(|(_, pid)| *pid).collect()
        };
        assert_eq!(pids(&now), pids(&before));
    }
    let counted = counts(&host, 2).await;
    artifacts::probe(5).install(&site.library("probe"));
    replug_tests::until("version 5", async || {
        (host.get("/").await == "version 5\n").then_some(())
    })
    .await;
    assert_eq!(counts(&host, 2).await, counted);
}

#[tokio::test]
async fn workers_that_cannot_save_go_on_and_new_ones_do_not_serve() {
    let ways = [
        ("fail", "told not to save"),
        ("hang", "longer than"),
        ("big:5000", "5000 bytes, and may have 1000"),
    ];
    for (how, part) in ways {
        let site = Site::new();
        let save = format!("save-of={{1=\"{how}\"}}");
        let args = ["--cleanup-timeout", "300ms", "--state-limit", "1000"];
        let host = counting(&site, "2", &[&save], &args).await;
        count(&host, 2).await;
        let before = counts(&host, 2).await;
        artifacts::probe(2).install(&site.library("probe"));
        let refused = nth_refusal(&host, 1).await;
        assert!(refused.text("reason").contains(part), "{how}: {refused}");
        assert_eq!(host.get("/").await, "version 1\n");
        assert_eq!(counts(&host, 2).await, before);
    }
}

#[tokio::test]
async fn a_state_of_some_megabytes_goes_over() {
    let site = Site::new();
    // Zeros, which are the number 0.
    let save = "save-of={1=\"big:9000000\"}";
    let host = counting(&site, "2", &[save], &[]).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    assert_eq!(counts(&host, 2).await, [0, 0]);
    host.retired(APP, 1).await;
}

#[tokio::test]
async fn a_worker_that_is_worn_or_ended_leaves_its_state_to_its_successor() {
    let site = Site::new();
    let host = counting(&site, "2", &[], &[]).await;
    let before = count_unevenly(&host, 2).await;
    for (nth, number) in [(1, 0), (2, 1)] {
        let pid = workers(&host, 2).await[&number].1;
        let mut slow = host.connect_http2().await;
        let in_flight = slow.begin("/sleep?ms=300").await;
        process::signal(pid, Signal::TERM);
        host.nth_event(nth, "worker-started").await;
        assert_eq!(in_flight.answer().await.unwrap().status, 200);
        let now = workers(&host, 2).await;
        assert_ne!(now[&number].1, pid);
        let counts: Vec<u64> = now.values().map(|(count, _)| *count).collect();
        assert_eq!(counts, before);
    }
    assert_eq!(host.log.all(|it| it.kind() == "worker-died"), []);
    // One after so many requests, with others in flight.
    let site = Site::new();
    for processes in ["1", "2"] {
        let limit = ["--group-option", "max-requests=30"];
        let host = counting(&site, processes, &[], &limit).await;
        let load = Load::start(&host, 3).await;
        let mut made = 0;
        while host.log.all(|it| it.kind() == "worker-started").len() < 3 {
            count(&host, 1).await;
            made += 1;
        }
        assert_eq!(load.end().await.failures, Vec::<String>::new());
        let all = counts(&host, processes.parse().unwrap()).await;
        assert_eq!(all.iter().sum::<u64>(), made);
    }
}

#[tokio::test]
async fn a_successor_that_refuses_the_state_leaves_the_worn_worker_at_work() {
    let site = Site::new();
    let gate = site.path().join("gate");
    let settings = [
        "restore-of={1=\"refuse-unless\"}".to_owned(),
        format!("restore-if={gate:?}"),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let limit = ["--group-option", "max-requests=10"];
    let host = counting(&site, "1", &settings, &limit).await;
    count(&host, 12).await;
    host.event("worker-failed").await;
    // It has come back, as it was.
    let mut made = 12;
    count(&host, 1).await;
    made += 1;
    assert_eq!(counts(&host, 1).await, [made]);
    fs::write(&gate, "").unwrap();
    host.event("worker-started").await;
    assert_eq!(counts(&host, 1).await, [made]);
    assert_eq!(host.log.all(|it| it.kind() == "worker-died"), []);
}

#[tokio::test]
async fn one_that_was_killed_is_followed_by_one_with_what_was_handed_over_last() {
    let site = Site::new();
    let host = counting(&site, "1", &[], &[]).await;
    count(&host, 2).await;
    process::signal(workers(&host, 1).await[&0].1, Signal::KILL);
    host.event("worker-started").await;
    assert_eq!(counts(&host, 1).await, [0]);
    count(&host, 5).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    count(&host, 3).await;
    process::signal(workers(&host, 1).await[&0].1, Signal::KILL);
    host.nth_event(2, "worker-started").await;
    assert_eq!(counts(&host, 1).await, [5]);
}

#[tokio::test]
async fn a_worker_that_is_killed_while_it_hands_over_holds_no_deploy_up() {
    let site = Site::new();
    // The one at the gate never saves.
    let save = "save-of={2=\"hang\"}";
    let args = ["--cleanup-timeout", "60s"];
    let host = counting(&site, "2", &[save], &args).await;
    let handed = count_unevenly(&host, 2).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    count(&host, 4).await;
    let before = workers(&host, 2).await;
    artifacts::probe(3).install(&site.library("probe"));
    host.nth_event(2, "pausing").await;
    for (_, pid) in before.values() {
        process::signal(*pid, Signal::KILL);
    }
    host.serving(APP, 3).await;
    // What the two had been handed, as any that came in their places.
    assert_eq!(counts(&host, 2).await, handed);
}

#[tokio::test]
async fn deploys_come_through_though_workers_die_all_the_time() {
    for more in [&[][..], &["--option", "overlap=false"]] {
        let site = Site::new();
        let host = counting(&site, "3", &[], more).await;
        let (stop, stopped) = tokio::sync::watch::channel(());
        let killing = async {
            let mut random = fastrand::Rng::with_seed(5);
            let mut killed = 0;
            loop {
                let status = site.status().await;
                let workers = status["apps"][0]["workers"].as_array().cloned();
                let workers = workers.unwrap_or_default();
                if !workers.is_empty() {
                    let pid = workers[random.usize(..workers.len())]["pid"].as_u64();
                    // It may have gone by itself.
                    let _ = kill_process(process::pid(pid.unwrap()), Signal::KILL);
                    killed += 1;
                }
                // So that most live long enough to be ready.
                for _ in 0..random.u32(..300) {
                    host.connect().await.get("/").await;
                }
                if stopped.has_changed().is_err() {
                    return killed;
                }
            }
        };
        let deploying = async {
            for version in 2..=12 {
                artifacts::probe(version).install(&site.library("probe"));
                host.serving(APP, version).await;
            }
            drop(stop);
        };
        let (killed, ()) = tokio::join!(killing, deploying);
        assert!(killed > 0);
        replug_tests::until("the last version", async || {
            (host.connect().await.get("/").await.text == "version 12\n").then_some(())
        })
        .await;
        assert_eq!(workers(&host, 3).await.len(), 3);
    }
}

#[tokio::test]
async fn state_outlives_the_host_worker_by_worker() {
    let site = Site::new();
    let dir = site.path().join("states");
    let args = ["--state-dir", dir.to_str().unwrap()];
    let mut host = counting(&site, "2", &[], &args).await;
    let before = count_unevenly(&host, 2).await;
    assert_eq!(host.terminate().await.code(), Some(0));
    drop(host);
    // Those who had no one before them begin anew.
    let mut host = serve(&site, "3", &[], &args).await;
    let now = counts(&host, 3).await;
    assert_eq!(now, [before[0], before[1], 0]);
    assert_eq!(host.terminate().await.code(), Some(0));
    drop(host);
    let host = serve(&site, "2", &[], &args).await;
    assert_eq!(counts(&host, 2).await, before);
}

#[tokio::test]
async fn workers_that_sleep_or_make_room_leave_their_state() {
    let site = Site::new();
    let args = ["--group-option", "inactivity-timeout=200ms"];
    let host = counting(&site, "1", &[], &args).await;
    count(&host, 4).await;
    host.event("worker-sleeps").await;
    assert_eq!(host.get("/count").await, "4\n");
    // All of them asleep.
    host.nth_event(2, "worker-sleeps").await;
    host.nth_event(2, "worker-ended").await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    assert_eq!(host.get("/count").await, "4\n");

    let site = Site::new();
    let settings = ["setup-of={3=\"error-in:0\"}"];
    let host = counting(&site, "2", &settings, &["--option", "overlap=false"]).await;
    let before = count_unevenly(&host, 2).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    host.event("worker-started").await;
    assert_eq!(counts(&host, 2).await, before);
    artifacts::probe(3).install(&site.library("probe"));
    nth_refusal(&host, 1).await;
    host.nth_event(2, "worker-started").await;
    assert_eq!(counts(&host, 2).await, before);
}

#[tokio::test]
async fn an_app_that_is_removed_and_put_back_has_what_its_workers_had() {
    for neighbour in [false, true] {
        let site = Site::new();
        site.install("probe", &artifacts::probe(1));
        if neighbour {
            // The workers stay, for this one.
            site.install("other", &artifacts::library("hello"));
        }
        let set = format!("{APP}.state={{schema=1}}");
        let slow = format!("{APP}.save-of={{1=\"slow:500\"}}");
        let host = site
            .serve_apps(&["--processes", "1", "--set", &set, "--set", &slow])
            .await;
        let path = format!("/{APP}/count");
        for _ in 0..3 {
            assert_eq!(host.connect().await.post(&path, "").await.status, 200);
        }
        fs::remove_file(site.library("probe")).unwrap();
        host.event("unmounted").await;
        artifacts::probe(2).install(&site.library("probe"));
        replug_tests::until("the count", async || {
            (host.connect().await.get(&path).await.text == "3\n").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_neighbour_without_a_deploy_of_its_own_takes_its_state_along() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let other = site.install("other", &artifacts::library("hello"));
    let set = format!("{APP}.state={{schema=1}}");
    let set = ["--processes", "2", "--set", &set];
    let host = site.serve_apps(&set).await;
    let post = async |times: u64| {
        let mut connection = host.connect().await;
        for _ in 0..times {
            let path = format!("/{APP}/count");
            assert_eq!(connection.post(&path, "").await.status, 200);
        }
    };
    let total = async || {
        let mut found = BTreeMap::new();
        replug_tests::until("an answer of each worker", async || {
            let path = format!("/{APP}/count/whose");
            let told = host.connect().await.json(&path).await;
            found.insert(told["worker"].to_string(), told["count"].as_u64().unwrap());
            (found.len() == 2).then_some(())
        })
        .await;
        found.values().sum::<u64>()
    };
    post(5).await;
    artifacts::library("hello").numbered(1).install(&other);
    host.serving(APP, 2).await;
    assert_eq!(total().await, 5);
    // A neighbour that cannot be loaded leaves it where it is.
    fs::write(&other, "no library").unwrap();
    nth_refusal(&host, 1).await;
    post(2).await;
    artifacts::library("hello").numbered(2).install(&other);
    host.serving(APP, 3).await;
    assert_eq!(total().await, 7);
}
