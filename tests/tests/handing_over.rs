//! State that goes from one generation to the next.

use std::fs;

use replug_tests::{
    artifacts,
    host::{Host, Site, finish},
    log::Event,
};

const APP: &str = "fixture-probe";

/// A probe whose count is kept, with more settings for it.
async fn counting(site: &Site, settings: &[&str], args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    serve(site, settings, args).await
}

async fn serve(site: &Site, settings: &[&str], args: &[&str]) -> Host {
    let mut all = vec!["--guard".to_owned(), "0s".to_owned()];
    for setting in ["state={schema=1}"].iter().chain(settings) {
        all.push("--set".to_owned());
        all.push(format!("{APP}.{setting}"));
    }
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    site.serve_library("probe", &all).await
}

async fn count(host: &Host, times: u64) {
    let mut connection = host.connect().await;
    for _ in 0..times {
        connection.post("/count", "").await;
    }
}

#[tokio::test]
async fn state_goes_to_the_next_generation_after_the_last_request() {
    let site = Site::new();
    let host = counting(&site, &[], &[]).await;
    count(&host, 5).await;
    let mut slow = host.connect_http2().await;
    let in_flight = slow.begin("/sleep?ms=300").await;
    artifacts::probe(2).install(&site.library("probe"));
    host.event("pausing").await;
    // It waits, and counts in the new one.
    let mut connection = host.connect().await;
    assert_eq!(connection.post("/count", "").await.text, "6\n");
    assert_eq!(connection.text("/").await, "version 2\n");
    assert_eq!(in_flight.answer().await.unwrap().text, "version 1\n");
    artifacts::probe(3).install(&site.library("probe"));
    host.serving(APP, 3).await;
    assert_eq!(host.get("/count").await, "6\n");
}

#[tokio::test]
async fn every_count_of_many_reloads_under_load_is_there_once() {
    let site = Site::new();
    let host = counting(&site, &[], &[]).await;
    let address = host.address.clone();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, stopped) = (address.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut connection = replug_tests::Connection::http1(&address).await;
                let mut counts = Vec::new();
                while !*stopped.borrow() {
                    let answer = connection.post("/count", "").await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    counts.push(answer.text.trim().parse::<u64>().unwrap());
                }
                counts
            })
        })
        .collect();
    for version in 2..=20 {
        artifacts::probe(version).install(&site.library("probe"));
        host.serving(APP, version).await;
    }
    stop.send_replace(true);
    let mut counts = Vec::new();
    for client in clients {
        counts.extend(client.await.unwrap());
    }
    counts.sort_unstable();
    let all: Vec<u64> = (1..=counts.len() as u64).collect();
    assert_eq!(counts, all);
}

#[tokio::test]
async fn connections_keep_nothing_of_generations_whose_state_went_over() {
    let site = Site::new();
    let host = counting(&site, &[], &["--threads", "1"]).await;
    let mut connections = Vec::new();
    for _ in 0..200 {
        connections.push(host.connect().await);
    }
    let mut before = 0;
    for generation in 1..=60 {
        if generation > 1 {
            artifacts::probe(generation).install(&site.library("probe"));
            host.serving(APP, generation).await;
            host.retired(APP, generation - 1).await;
        }
        for connection in &mut connections {
            assert_eq!(
                connection.text("/").await,
                format!("version {generation}\n")
            );
        }
        if generation == 10 {
            before = host.memory();
        }
    }
    // What each connection kept of each generation was 8 MiB in all.
    let grown = host.memory().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
}

#[tokio::test]
async fn a_state_that_is_refused_leaves_the_old_generation_as_it_was() {
    let site = Site::new();
    let settings = ["restore-of={2=\"refuse\", 3=\"panic\"}"];
    let host = counting(&site, &settings, &[]).await;
    count(&host, 3).await;
    for (nth, version) in [(1, 2), (2, 3)] {
        artifacts::probe(version).install(&site.library("probe"));
        host.nth_event(nth, "refused").await;
        assert_eq!(host.get("/").await, "version 1\n");
        count(&host, 1).await;
    }
    assert_eq!(host.get("/count").await, "5\n");
    artifacts::probe(4).install(&site.library("probe"));
    host.serving(APP, 2).await;
    assert_eq!(host.get("/count").await, "5\n");
}

#[tokio::test]
async fn another_schema_is_refused_and_a_rollback_takes_the_state_back() {
    let site = Site::new();
    let settings = ["state={schema=1, schema-of={3=2}}"];
    let host = counting(&site, &settings, &[]).await;
    count(&host, 2).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    count(&host, 2).await;
    let ended = site.ask(&["rollback", APP]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(host.get("/").await, "version 1\n");
    assert_eq!(host.get("/count").await, "4\n");
    artifacts::probe(3).install(&site.library("probe"));
    let refused = host.event("refused").await;
    assert!(
        refused
            .text("reason")
            .contains("schema 1, where 2 is wanted"),
        "{refused}"
    );
    assert_eq!(host.get("/count").await, "4\n");
}

#[tokio::test]
async fn a_generation_that_cannot_save_goes_on_and_the_new_one_does_not_serve() {
    let ways = [
        ("fail", "told not to save"),
        ("panic", "panic"),
        ("hang", "longer than"),
        ("big:5000", "5000 bytes, and may have 1000"),
    ];
    for (how, part) in ways {
        let site = Site::new();
        let save = format!("save-of={{1=\"{how}\"}}");
        let args = ["--cleanup-timeout", "300ms", "--state-limit", "1000"];
        let host = counting(&site, &[&save], &args).await;
        count(&host, 2).await;
        artifacts::probe(2).install(&site.library("probe"));
        let refused = host.event("refused").await;
        assert!(refused.text("reason").contains(part), "{how}: {refused}");
        assert_eq!(host.get("/").await, "version 1\n");
        assert_eq!(host.get("/count").await, "2\n");
    }
}

#[tokio::test]
async fn without_overlap_state_goes_over_too_and_one_that_cannot_save_is_not_stopped() {
    let site = Site::new();
    let settings = ["save-of={2=\"fail\"}"];
    let host = counting(&site, &settings, &["--option", "overlap=false"]).await;
    count(&host, 3).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    assert_eq!(host.get("/count").await, "3\n");
    artifacts::probe(3).install(&site.library("probe"));
    let refused = host.event("refused").await;
    assert!(
        refused.text("reason").contains("told not to save"),
        "{refused}"
    );
    count(&host, 1).await;
    assert_eq!(host.get("/count").await, "4\n");
    assert_eq!(host.get("/").await, "version 2\n");
}

#[tokio::test]
async fn a_request_that_outlives_the_drain_time_does_not_hold_the_state_up() {
    let site = Site::new();
    let host = counting(&site, &[], &["--drain", "300ms"]).await;
    count(&host, 2).await;
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    assert_eq!(host.get("/count").await, "2\n");
    let answer = hanging.answer().await.unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[tokio::test]
async fn a_file_that_is_put_back_gets_the_state_of_the_generation_that_is_still_going() {
    let site = Site::new();
    let host = counting(&site, &[], &["--drain", "500ms"]).await;
    count(&host, 3).await;
    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    fs::remove_file(site.library("probe")).unwrap();
    host.event("unmounted").await;
    artifacts::probe(2).install(&site.library("probe"));
    let serving = |event: &Event| event.kind() == "serving";
    host.log.wait_for_nth("serving again", 2, serving).await;
    assert_eq!(host.get("/count").await, "3\n");
    assert_eq!(hanging.answer().await.unwrap().status, 503);
}

#[tokio::test]
async fn state_outlives_the_host_where_it_has_a_directory_for_it() {
    let site = Site::new();
    let dir = site.path().join("state");
    let args = ["--state-dir", dir.to_str().unwrap()];
    let mut host = counting(&site, &[], &args).await;
    count(&host, 4).await;
    assert!(host.terminate().await.success());
    let mut host = serve(&site, &[], &args).await;
    assert_eq!(host.get("/count").await, "4\n");
    // Removed, and put back: nothing is lost either.
    count(&host, 1).await;
    let library = site.library("probe");
    fs::rename(&library, site.path().join("aside")).unwrap();
    host.event("unmounted").await;
    host.retired(APP, 1).await;
    fs::rename(site.path().join("aside"), &library).unwrap();
    host.log
        .wait_for_nth("serving again", 2, |event| event.kind() == "serving")
        .await;
    assert_eq!(host.get("/count").await, "5\n");
    assert!(host.terminate().await.success());
    // A damaged file is no state, and is not lost.
    let file = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|it| it == "state"))
        .unwrap();
    fs::write(&file, "nonsense").unwrap();
    let mut command = site.command("serve");
    command.arg(site.library("probe")).args(args);
    command.args(["--set", &format!("{APP}.state={{schema=1}}")]);
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("set aside"), "{ended:?}");
    assert_eq!(
        fs::read(file.with_extension("broken")).unwrap(),
        b"nonsense"
    );
    // Told, the operator may start it all the same.
    let host = serve(&site, &[], &args).await;
    assert_eq!(host.get("/count").await, "0\n");
}
