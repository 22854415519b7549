//! What cannot be served is refused with file, reason and remedy, and what serves goes on.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use replug_tests::{
    artifacts,
    deploy::Artifact,
    host::{self, Site, finish},
    log::Event,
};

/// Starts `replug serve` on that path alone, which must end by itself with that code, and say
/// the file, the reason and a remedy.
async fn check_start(site: &Site, path: &Path, code: i32, reason: &str) {
    let mut command = site.command("serve");
    command.args(["--listen", "127.0.0.1:0"]).arg(path);
    check_end(command, path, code, reason).await;
}

async fn check_end(command: Command, path: &Path, code: i32, reason: &str) {
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let path = path.to_str().unwrap();
    assert!(ended.stderr.contains(path), "{path:?} in {ended:?}");
    assert!(ended.stderr.contains(reason), "{reason:?} in {ended:?}");
    assert!(ended.stderr.contains("\"remedy\":\""), "{ended:?}");
    assert!(!ended.stderr.contains("panicked at"), "{ended:?}");
}

/// Puts a bad file in the place of one that serves: it is refused, the old one serves on, on the
/// same connection, and a good one that comes after is served.
async fn check_replacement(bad: &Artifact, args: &[&str], reason: &str) {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", args).await;
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/").await, "version 1\n");
    bad.install(&path);
    let refused = host.event("refused").await;
    check_refusal(&refused, &path, reason);
    assert_eq!(connection.text("/").await, "version 1\n");
    artifacts::probe(9).install(&path);
    host.until_text(&mut connection, "/", "version 9\n").await;
    assert_eq!(host.log.all(|event| event.kind() == "refused").len(), 1);
    host.retired("fixture-probe", 1).await;
    assert_eq!(host.staged().len(), 1, "{:?}", host.staged());
}

fn check_refusal(refused: &Event, path: &Path, reason: &str) {
    assert_eq!(refused.text("path"), path.to_str().unwrap(), "{refused}");
    assert!(
        refused.text("reason").contains(reason),
        "{reason:?} in {refused}"
    );
    assert!(!refused.text("remedy").is_empty(), "{refused}");
}

#[tokio::test]
async fn a_missing_file_is_refused() {
    let site = Site::new();
    check_start(&site, &site.library("missing"), 4, "does not exist").await;
}

#[tokio::test]
async fn a_missing_file_beside_a_good_one_is_served_when_it_comes() {
    let site = Site::new();
    let good = site.install("good", &artifacts::probe(1));
    let late = site.library("late");
    let sources = [
        format!("{}=/good", good.display()),
        format!("{}=/late", late.display()),
    ];
    let host = site.serve(&[&sources[0], &sources[1]]).await;
    check_refusal(&host.event("refused").await, &late, "does not exist");
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/good/").await, "version 1\n");
    artifacts::probe(2).install(&late);
    host.until_text(&mut connection, "/late/", "version 2\n")
        .await;
}

#[tokio::test]
async fn a_directory_without_plugins_is_said_to_be_one_and_waits_for_them() {
    let site = Site::new();
    let host = site.serve_apps(&[]).await;
    let said = host.event("no-plugins").await;
    assert_eq!(said.text("path"), site.apps().to_str().unwrap());
    assert!(
        !said.text("reason").is_empty() && !said.text("remedy").is_empty(),
        "{said}"
    );
    let mut connection = host.connect().await;
    assert_eq!(connection.get("/hello").await.status, 404);
    site.install("hello", &artifacts::library("hello"));
    host.serving("hello", 1).await;
    assert_eq!(connection.text("/hello").await, "hello\n");
}

#[tokio::test]
async fn a_directory_with_nothing_but_bad_files_is_refused_with_each_of_them() {
    let site = Site::new();
    site.install("one", &Artifact::new("text"));
    site.install("two", &artifacts::library("fixture-no-manifest"));
    let mut command = site.command("serve");
    command.args(["--listen", "127.0.0.1:0"]).arg(site.apps());
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    for name in ["one", "two"] {
        assert!(
            ended.stderr.contains(site.library(name).to_str().unwrap()),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn a_bad_file_in_a_directory_leaves_the_others_serving() {
    let site = Site::new();
    let bad = site.install("bad", &Artifact::new("not a library\n"));
    site.install("hello", &artifacts::library("hello"));
    let host = site.serve_apps(&[]).await;
    check_refusal(&host.event("refused").await, &bad, "");
    assert_eq!(host.get("/hello").await, "hello\n");
}

#[tokio::test]
async fn a_text_file_is_refused() {
    let text = Artifact::new("I am no library\n");
    let site = Site::new();
    let path = site.install("text", &text);
    check_start(&site, &path, 4, "text file").await;
    check_replacement(&text, &[], "text file").await;
}

#[tokio::test]
async fn an_empty_file_is_no_library_and_a_good_one_after_it_is_served() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    Artifact::new("").install(&path);
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/").await, "version 1\n");
    artifacts::probe(2).install(&path);
    host.until_text(&mut connection, "/", "version 2\n").await;
}

#[tokio::test]
async fn a_library_without_a_manifest_is_refused() {
    let bare = artifacts::library("fixture-no-manifest");
    let site = Site::new();
    let path = site.install("bare", &bare);
    check_start(&site, &path, 4, "manifest").await;
    check_replacement(&bare, &[], "manifest").await;
}

#[tokio::test]
async fn a_library_that_was_cut_short_is_refused_unopened() {
    for parts in [2, 3, 10, 100] {
        let bytes = artifacts::probe(2);
        let cut = Artifact::new(&bytes.bytes()[..bytes.bytes().len() * (parts - 1) / parts]);
        check_replacement(&cut, &[], "").await;
    }
    check_replacement(&artifacts::probe(2).cut_short(), &[], "").await;
}

#[tokio::test]
async fn a_library_for_another_machine_is_refused() {
    let foreign = artifacts::probe(2).for_another_machine();
    let site = Site::new();
    let path = site.install("foreign", &foreign);
    check_start(&site, &path, 4, std::env::consts::ARCH).await;
    check_replacement(&foreign, &[], std::env::consts::ARCH).await;
}

#[tokio::test]
async fn a_library_of_another_abi_is_refused() {
    check_replacement(&artifacts::probe(2).of_another_abi(), &[], "ABI 9.0").await;
}

#[tokio::test]
async fn a_library_that_aborts_on_panic_is_refused_unless_allowed() {
    let aborting = artifacts::probe(2).that_aborts_on_panic();
    check_replacement(&aborting, &[], "abort").await;
    let site = Site::new();
    site.install("probe", &aborting);
    let host = site.serve_library("probe", &["--allow-panic-abort"]).await;
    assert_eq!(host.get("/").await, "version 2\n");
}

#[tokio::test]
async fn two_plugins_of_one_name_are_both_named_and_one_serves() {
    let site = Site::new();
    let one = site.install("a", &artifacts::probe(1));
    let two = site.install("b", &artifacts::probe(2));
    let host = site.serve_apps(&[]).await;
    let refused = host.event("refused").await;
    check_refusal(&refused, &two, one.to_str().unwrap());
    assert!(
        refused.text("reason").contains("fixture-probe"),
        "{refused}"
    );
    assert_eq!(host.get("/fixture-probe/").await, "version 1\n");
}

#[tokio::test]
async fn an_unreadable_file_is_refused() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    // A superuser can read everything; then the host is run as nobody.
    let program = site.path().join("replug");
    artifacts::copy_replug(&program);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    let mut command = Command::new(program);
    command
        .args(["serve", "--log-format", "json", "--listen", "127.0.0.1:0"])
        .arg(&path);
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt as _;
        command.uid(65534).gid(65534).current_dir("/");
        for folder in [site.path(), &site.apps()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    check_end(command, &path, 4, "Permission denied").await;
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_start_before_any_code_is_run() {
    let site = Site::new();
    let log = site.path().join("cleanup.log");
    let path = site.install("probe", &artifacts::probe(1));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = site.command("serve");
    command.args(["--listen", &address, "--set"]);
    command
        .arg(format!("fixture-probe.cleanup-log={}", log.display()))
        .arg(&path);
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains(&address), "{ended:?}");
    assert!(ended.stderr.contains("in use"), "{ended:?}");
    assert!(!log.exists());
}

#[tokio::test]
async fn a_setup_that_fails_is_refused_with_its_error() {
    let setting = r#"fixture-probe.setup-of={ "2" = "error" }"#;
    check_replacement(
        &artifacts::probe(2),
        &["--set", setting],
        "the probe was told to fail",
    )
    .await;
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let mut command = site.command("serve");
    command
        .args([
            "--listen",
            "127.0.0.1:0",
            "--set",
            "fixture-probe.setup=error",
        ])
        .arg(&path);
    check_end(command, &path, 4, "the probe was told to fail").await;
}

#[tokio::test]
async fn a_setup_that_panics_is_refused_with_its_message() {
    let setting = r#"fixture-probe.setup-of={ "2" = "panic" }"#;
    check_replacement(
        &artifacts::probe(2),
        &["--set", setting],
        "the probe was told to panic",
    )
    .await;
}

#[tokio::test]
async fn settings_that_the_app_cannot_read_are_refused() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let mut command = site.command("serve");
    command
        .args(["--listen", "127.0.0.1:0", "--set", "fixture-probe.setup=7"])
        .arg(&path);
    check_end(command, &path, 4, "string").await;
}

#[tokio::test]
async fn a_setup_that_never_ends_is_given_up() {
    let setting = r#"fixture-probe.setup-of={ "2" = "hang" }"#;
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site
        .serve_library("probe", &["--setup-timeout", "200ms", "--set", setting])
        .await;
    let mut connection = host.connect().await;
    artifacts::probe(2).install(&path);
    check_refusal(&host.event("refused").await, &path, "200ms");
    assert_eq!(connection.text("/").await, "version 1\n");
    artifacts::probe(3).install(&path);
    host.until_text(&mut connection, "/", "version 3\n").await;
}

#[tokio::test]
async fn a_setup_of_ten_seconds_is_reported_and_served_when_it_is_done() {
    let setting = r#"fixture-probe.setup-of={ "2" = "slow:10000" }"#;
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--set", setting]).await;
    let mut connection = host.connect().await;
    artifacts::probe(2).install(&path);
    let slow = host.event("setup-slow").await;
    assert_eq!(slow.text("path"), path.to_str().unwrap());
    assert!(slow.number("seconds").is_some(), "{slow}");
    assert_eq!(connection.text("/").await, "version 1\n");
    host.serving("fixture-probe", 2).await;
    assert_eq!(connection.text("/").await, "version 2\n");
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_a_usage_error() {
    for args in [
        &["serve"][..],
        &["serve", "x.so", "--listen", "nowhere"],
        &["serve", "x.so", "--threads", "0"],
        &["serve", "x.so", "--drain", "soon"],
        &["serve", "x.so=/a//b"],
        &["serve", "x.so", "--set", "nonsense"],
        &["reload-everything"],
    ] {
        let ended = finish(host::replug(args)).await;
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains("error:"), "{args:?}: {ended:?}");
    }
}
