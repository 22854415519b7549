//! What workers of a group may use, and who they are.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use replug_tests::{artifacts, configured, direct::direct, host::Host, host::Site};
use serde_json::Value;

/// A site with one group of one worker that has those options, and the probe in it.
async fn serve(options: &str) -> (Site, Host) {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let config = format!(
        "[groups.held]\nprocesses = 1\nthreads = 2\n{options}\n\
         [apps.fixture-probe]\npath = {:?}\ngroup = \"held\"\nmount = \"/\"\n",
        site.library("probe"),
    );
    configured::write(&site, &config);
    let host = site.serve(&[]).await;
    (site, host)
}

async fn process(host: &Host) -> Value {
    host.connect().await.json("/process").await
}

/// Asks what its worker dies of. That request is named, and the next one is answered by another.
async fn dies(host: &Host, nth: usize, path: &str, death: &str) {
    let answer = host.connect().await.get(path).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    let died = host.nth_event(nth, "worker-died").await;
    assert!(died.text("death").contains(death), "{died}");
    assert_eq!(died.number("held"), Some(1), "{died}");
    let (asked, _) = path.split_once('?').unwrap_or((path, ""));
    assert!(died.text("requests").contains(asked), "{died}");
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn a_worker_beyond_its_memory_limit_dies_alone_and_one_below_it_does_not() {
    let (_site, host) = serve("memory-limit = \"256M\"").await;
    // One after the other: each takes the place of the one before.
    for _ in 0..3 {
        assert_eq!(host.get("/keep?mib=100").await, "version 1\n");
    }
    assert_eq!(host.log.all(|event| event.kind() == "worker-died"), []);
    for nth in 1..=2 {
        dies(&host, nth, "/keep?mib=300", "signal 6").await;
    }
    assert_eq!(host.get("/keep?mib=100").await, "version 1\n");
}

#[tokio::test]
async fn a_handler_that_takes_processors_time_for_ever_is_ended_with_its_worker() {
    const SIGXCPU: &str = "signal 24";
    let (_site, host) = serve("cpu-time-limit = \"2s\"").await;
    dies(&host, 1, "/spin", SIGXCPU).await;
}

#[tokio::test]
async fn a_worker_has_the_mask_nice_value_home_and_variables_of_its_group() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().canonicalize().unwrap();
    let (_site, host) = serve(&format!(
        "umask = \"0027\"\nnice = 7\nhome = {home:?}\n\
         environment = {{ COLOUR = \"blue\", MIMALLOC_ARENA_EAGER_COMMIT = \"2\" }}"
    ))
    .await;
    let process = process(&host).await;
    assert_eq!(process["status"]["Umask"], "0027");
    assert_eq!(process["nice"], "7");
    assert_eq!(process["directory"], home.to_str().unwrap());
    assert_eq!(process["variables"]["COLOUR"], "blue");
    let variable = &process["variables"]["MIMALLOC_ARENA_EAGER_COMMIT"];
    assert_eq!(variable, "2", "what is configured wins");
}

#[tokio::test]
async fn a_worker_whose_requests_the_host_passes_on_interrupts_nobody() {
    const USUAL: &str = "0";
    const BATCH: &str = "3";
    for (option, expected) in [
        ("", BATCH),
        ("scheduling = \"batch\"", BATCH),
        ("scheduling = \"host\"", USUAL),
    ] {
        let (_site, host) = serve(option).await;
        assert_eq!(process(&host).await["policy"], expected, "{option}");
    }
    let site = Site::new();
    let host = direct(&site, "1", &[]).await;
    assert_eq!(
        process(&host).await["policy"],
        USUAL,
        "one that listens itself"
    );
}

#[tokio::test]
async fn a_worker_gains_no_rights_by_what_it_executes_unless_it_may() {
    for (option, expected) in [("", "1"), ("no-new-privs = false", "0")] {
        let (_site, host) = serve(option).await;
        assert_eq!(process(&host).await["status"]["NoNewPrivs"], expected);
    }
}

#[tokio::test]
async fn a_worker_of_another_user_cannot_read_what_is_not_for_that_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root may start workers as another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let allow = |path: &std::path::Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    allow(folder.path(), 0o755);
    let (secret, open) = (folder.path().join("secret"), folder.path().join("open"));
    for (path, mode) in [(&secret, 0o600), (&open, 0o644)] {
        fs::write(path, "told\n").unwrap();
        allow(path, mode);
    }
    let read = async |host: &Host, path: &std::path::Path| {
        host.get(&format!("/read?path={}", path.display())).await
    };
    let (_site, host) = serve("").await;
    assert_eq!(read(&host, &secret).await, "told\n");

    let (_site, host) =
        serve("user = \"61234\"\ngroup = \"61235\"\nsupplementary-groups = [\"61236\", \"61237\"]")
            .await;
    let status = &process(&host).await["status"];
    assert_eq!(status["Uid"], "61234\t61234\t61234\t61234");
    assert_eq!(status["Gid"], "61235\t61235\t61235\t61235");
    assert_eq!(status["Groups"], "61235 61236 61237");
    assert_eq!(status["CapEff"], "0000000000000000");
    assert_eq!(read(&host, &open).await, "told\n");
    let denied = read(&host, &secret).await;
    assert!(denied.contains("Permission denied"), "{denied}");
    // Nor can it read the host's own files.
    let environ = format!("/proc/{}/environ", host.pid());
    let denied = read(&host, environ.as_ref()).await;
    assert!(denied.contains("Permission denied"), "{denied}");
}
