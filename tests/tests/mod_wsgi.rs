//! mod_wsgi's mechanisms, one by one, as far as its embedded mode has them: what an operator who
//! comes from there finds here. Each has tests of its own elsewhere; these are the index.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use replug_tests::{
    artifacts,
    deploy::touch,
    host::{Host, Site},
};
use serde_json::json;

const APP: &str = "fixture-probe";

async fn probe(site: &Site, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    let all: Vec<&str> = ["--guard", "0s"]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    site.serve_library("probe", &all).await
}

fn deploy(site: &Site, version: u64) {
    artifacts::probe(version).install(&site.library("probe"));
}

async fn answers(host: &Host, version: u64) {
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/", &format!("version {version}\n"))
        .await;
}

/// `environ['mod_wsgi.process_group']`
#[tokio::test]
async fn an_app_can_tell_its_mode() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let info = host.connect().await.json("/info").await;
    assert_eq!(info["mode"], "embedded", "{info}");
    assert_eq!(info["generation"], 1, "{info}");
    assert_eq!(info["pid"], host.pid(), "{info}");
}

#[tokio::test]
async fn an_embedded_app_reloads_on_change_and_a_failure_keeps_the_old() {
    let site = Site::new();
    let set = format!("{APP}.setup-of={{2=\"error\"}}");
    let host = probe(&site, &["--set", &set]).await;
    deploy(&site, 2);
    host.event("refused").await;
    answers(&host, 1).await;
    deploy(&site, 3);
    answers(&host, 3).await;
}

#[tokio::test]
async fn requests_in_flight_at_a_reload_finish_on_the_old_generation() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin("/sleep?ms=300").await;
    deploy(&site, 2);
    answers(&host, 2).await;
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
}

#[tokio::test]
async fn not_only_the_script_reloads_but_what_it_tracks() {
    let site = Site::new();
    fs::write(site.path().join("settings"), "1").unwrap();
    let set = format!("{APP}.track=[\"settings\"]");
    let host = probe(&site, &["--set", &set]).await;
    fs::write(site.path().join("settings"), "2").unwrap();
    host.serving(APP, 2).await;
}

#[tokio::test]
async fn additive_globals_do_not_double_at_a_reload() {
    let site = Site::new();
    let set = format!("{APP}.register=[{{kind=\"menu\", key=\"Shop\", value=1}}]");
    let host = probe(&site, &["--set", &set]).await;
    for version in 2..=6 {
        deploy(&site, version);
        host.serving(APP, version).await;
        host.retired(APP, version - 1).await;
    }
    let seen = host.connect().await.json("/registrations?kind=menu").await;
    assert_eq!(seen, json!([{"key": "Shop", "value": 1, "owners": [APP]}]));
    assert_eq!(host.mapped(), 1);
}

#[tokio::test]
async fn an_app_is_keyed_to_its_absolute_path_and_the_same_bytes_elsewhere_are_another() {
    let site = Site::new();
    let artifact = artifacts::probe(1);
    let (one, two) = (
        site.install("one", &artifact),
        site.install("two", &artifact),
    );
    let mounts = [
        format!("{}=/one", one.display()),
        format!("{}=/two", two.display()),
    ];
    let host = site.serve(&[&mounts[0], &mounts[1], "--guard", "0s"]).await;
    artifacts::probe(2).install(&two);
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/two/", "version 2\n")
        .await;
    assert_eq!(host.get("/one/").await, "version 1\n");
}

#[tokio::test]
async fn nothing_but_bytes_under_a_schema_outlives_a_generation() {
    let site = Site::new();
    let set = format!("{APP}.state={{schema=1, schema-of={{3=2}}}}");
    let host = probe(&site, &["--set", &set]).await;
    host.connect().await.post("/count", "").await;
    deploy(&site, 2);
    host.serving(APP, 2).await;
    assert_eq!(host.get("/count").await, "1\n");
    deploy(&site, 3);
    let refused = host.event("refused").await;
    assert!(
        refused
            .text("reason")
            .contains("schema 1, where 2 is wanted"),
        "{refused}"
    );
}

#[tokio::test]
async fn module_data_is_deleted_by_hooks_and_the_library_is_really_unloaded() {
    let site = Site::new();
    let log = site.path().join("cleanup");
    let set = format!("{APP}.cleanup-log={}", log.display());
    let host = probe(&site, &["--set", &set]).await;
    deploy(&site, 2);
    let retired = host.retired(APP, 1).await;
    assert_eq!(retired.text("outcome"), "unloaded");
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        format!("{APP} generation 1 cleaned up\n")
    );
    assert_eq!(host.mapped(), 1);
}

/// The sample that keeps its state in a database outside.
#[tokio::test]
async fn a_script_is_a_bridge_to_state_that_lives_elsewhere() {
    let site = Site::new();
    let path = site.install("todo", &artifacts::library("todo"));
    let set = format!("todo.database={:?}", site.path().join("todo.db"));
    let host = site
        .serve_library("todo", &["--set", &set, "--guard", "0s"])
        .await;
    let mut connection = host.connect().await;
    let request = connection
        .request("POST", "/")
        .header("content-type", "application/json")
        .body(replug_tests::client::full(r#"{"text":"outlive a reload"}"#))
        .unwrap();
    let answer = connection.send(request).await;
    assert!(answer.status().is_success(), "{answer:?}");
    drop(answer);
    touch(&path);
    host.retired("todo", 1).await;
    let listed = host.connect().await.get("/").await.text;
    assert!(listed.contains("outlive a reload"), "{listed}");
}

#[tokio::test]
async fn maximum_requests_fires_under_overlapping_load() {
    let site = Site::new();
    let host = probe(&site, &["--max-requests", "5"]).await;
    let mut connection = host.connect_http2().await;
    let mut in_flight = Vec::new();
    for _ in 0..20 {
        in_flight.push(connection.start("/sleep?ms=50").await);
    }
    for answer in in_flight {
        assert_eq!(answer.answer().await.unwrap().text, "version 1\n");
    }
    host.serving(APP, 2).await;
}

/// `WSGIScriptReloading Off`
#[tokio::test]
async fn reloading_can_be_switched_off() {
    let site = Site::new();
    let host = probe(&site, &["--reload", "manual"]).await;
    deploy(&site, 2);
    host.event("changed").await;
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn touching_the_script_restarts_the_app() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    touch(&site.library("probe"));
    host.serving(APP, 2).await;
}

fn set_time(path: &Path, time: SystemTime) {
    fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

#[tokio::test]
async fn an_older_file_that_is_restored_reloads_too() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    deploy(&site, 2);
    answers(&host, 2).await;
    let old = site.path().join("old.so");
    fs::write(&old, artifacts::probe(1).bytes()).unwrap();
    set_time(&old, SystemTime::now() - Duration::from_secs(86_400));
    fs::rename(old, site.library("probe")).unwrap();
    answers(&host, 1).await;
}

#[tokio::test]
async fn other_bytes_with_the_same_mtime_are_seen() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let library = site.library("probe");
    let before = fs::metadata(&library).unwrap();
    let new = site.path().join("new.so");
    fs::write(&new, artifacts::probe(2).bytes()).unwrap();
    set_time(&new, before.modified().unwrap());
    fs::rename(&new, &library).unwrap();
    answers(&host, 2).await;
    let after = fs::metadata(&library).unwrap();
    assert_eq!(
        (after.mtime(), after.mtime_nsec()),
        (before.mtime(), before.mtime_nsec())
    );
}

#[tokio::test]
async fn a_change_during_a_load_is_never_lost() {
    for policy in ["eager", "on-request"] {
        let site = Site::new();
        let set = format!("{APP}.setup-of={{2=\"slow:400\"}}");
        let host = probe(&site, &["--set", &set, "--reload", policy]).await;
        deploy(&site, 2);
        let asked = (policy == "on-request").then(|| {
            let address = host.address.clone();
            tokio::spawn(async move {
                replug_tests::Connection::http1(&address)
                    .await
                    .text("/")
                    .await
            })
        });
        replug_tests::until("the load", async || {
            (site.status().await["apps"][0]["loading"] == true).then_some(())
        })
        .await;
        deploy(&site, 3);
        answers(&host, 3).await;
        if let Some(asked) = asked {
            asked.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_half_written_file_is_waited_for() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let new = artifacts::probe(2);
    let mut writer = new.begin_to_write(&site.library("probe")).unwrap();
    while writer.write(64 << 10) {
        assert_eq!(host.get("/").await, "version 1\n");
    }
    drop(writer);
    answers(&host, 2).await;
    assert!(
        host.log.all(|event| event.kind() == "refused").is_empty(),
        "{}",
        host.log
    );
}

#[tokio::test]
async fn a_removed_file_is_404_until_it_is_back() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    fs::rename(site.library("probe"), site.path().join("aside")).unwrap();
    host.event("unmounted").await;
    assert_eq!(host.connect().await.get("/").await.status, 404);
    fs::rename(site.path().join("aside"), site.library("probe")).unwrap();
    host.serving(APP, 2).await;
    answers(&host, 1).await;
}

/// SIGINT to the daemon process, from itself or from outside.
#[tokio::test]
async fn an_app_is_restarted_by_itself_or_from_outside() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    host.connect().await.post("/request-reload", "").await;
    host.serving(APP, 2).await;
    let ended = site.ask(&["reload", APP]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    host.serving(APP, 3).await;
}

/// The monitor thread with `track(path)` and `start(interval)`.
#[tokio::test]
async fn a_set_of_tracked_files_is_one_reload_by_events_and_by_polling() {
    for poll in ["0s", "100ms"] {
        let site = Site::new();
        for name in ["a", "b", "c"] {
            fs::write(site.path().join(name), "1").unwrap();
        }
        let set = format!("{APP}.track=[\"a\", \"b\", \"c\"]");
        let host = probe(&site, &["--set", &set, "--poll", poll, "--settle", "300ms"]).await;
        for name in ["a", "b", "c"] {
            fs::write(site.path().join(name), "2").unwrap();
        }
        host.serving(APP, 2).await;
        fs::write(site.path().join("a"), "3").unwrap();
        host.serving(APP, 3).await;
        let loads = host.log.all(|event| event.kind() == "serving").len();
        assert_eq!(loads, 3, "{}", host.log);
    }
}

/// `WSGIImportScript`, with a reload at the next request.
#[tokio::test]
async fn preload_and_reload_at_the_next_request_are_settings() {
    let site = Site::new();
    let host = probe(
        &site,
        &["--option", "preload=true", "--reload", "on-request"],
    )
    .await;
    host.serving(APP, 1).await;
    deploy(&site, 2);
    host.event("changed").await;
    assert_eq!(host.get("/").await, "version 2\n");
}

/// `ap_signal_parent(1)`, where there is no fork.
#[tokio::test]
async fn the_whole_server_is_restarted_from_within() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let pid = host.pid();
    host.connect().await.post("/request-restart", "").await;
    host.nth_event(2, "ready").await;
    assert_eq!(host.get("/").await, "version 1\n");
    assert_eq!(site.status().await["process"]["pid"], pid);
}

#[tokio::test]
async fn a_reload_of_one_app_does_not_disturb_its_neighbours() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let hello = site.install("hello", &artifacts::library("hello"));
    let host = site.serve_apps(&["--guard", "0s"]).await;
    let mut connection = host.connect_http2().await;
    let slow = connection.begin(&format!("/{APP}/sleep?ms=400")).await;
    for generation in 2..=4 {
        touch(&hello);
        host.serving("hello", generation).await;
    }
    assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
    let status = site.status().await;
    assert_eq!(status["apps"][0]["name"], APP, "{status}");
    assert_eq!(status["apps"][0]["serving"]["generation"], 1, "{status}");
}

#[tokio::test]
async fn what_fails_at_its_load_is_not_tried_again_and_again() {
    let site = Site::new();
    let set = format!("{APP}.setup-of={{2=\"panic\"}}");
    let host = probe(&site, &["--set", &set]).await;
    deploy(&site, 2);
    host.event("refused").await;
    for _ in 0..200 {
        assert_eq!(host.get("/").await, "version 1\n");
    }
    assert_eq!(
        host.log.all(|event| event.kind() == "refused").len(),
        1,
        "{}",
        host.log
    );
}

#[tokio::test]
async fn a_response_that_breaks_off_never_looks_complete() {
    let site = Site::new();
    let host = probe(&site, &[]).await;
    let mut connection = host.connect().await;
    let response = connection.open("/panic-in-body").await;
    assert!(replug_tests::client::read(response).await.is_err());
    host.event("handler-panicked").await;
}
