//! What the commands print, and the codes they end with.

use replug_tests::{
    artifacts,
    deploy::Artifact,
    host::{Finished, Site, finish, replug},
};

async fn inspect(artifact: &Artifact, args: &[&str]) -> (Finished, Site) {
    let site = Site::new();
    let path = site.install("x", artifact);
    let mut command = replug(["inspect"]);
    command.arg(path).args(args);
    (finish(command).await, site)
}

#[tokio::test]
async fn inspect_prints_the_manifest_and_the_verdict() {
    let (ended, _site) = inspect(&artifacts::library("hello"), &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in [
        "hello",
        "0.1.0",
        "1.1",
        "unwind",
        std::env::consts::ARCH,
        "rustc",
        "libc.so",
    ] {
        assert!(ended.stdout.contains(part), "{part:?} in {ended:?}");
    }
    assert_eq!(ended.stderr, "");
}

#[tokio::test]
async fn inspect_prints_json_for_programs() {
    let (ended, _site) = inspect(&artifacts::probe(1), &["--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let text = report.to_string();
    for part in ["fixture-probe", "unwind", "digest"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[tokio::test]
async fn inspect_takes_a_plugin_that_is_not_of_rust() {
    let (ended, _site) = inspect(&artifacts::c_plugin(), &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("plain-c"), "{ended:?}");
}

#[tokio::test]
async fn inspect_warns_of_unique_symbols() {
    let (ended, _site) = inspect(&artifacts::cpp_plugin(), &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("unique symbols"), "{ended:?}");
    assert!(said.contains("shared_counter"), "{ended:?}");
}

#[tokio::test]
async fn inspect_says_why_a_file_would_be_refused() {
    let probe = artifacts::probe(1);
    for (artifact, reason) in [
        (Artifact::new("text"), "text file"),
        (artifacts::library("fixture-no-manifest"), "manifest"),
        (probe.cut_short(), ""),
        (probe.of_another_abi(), "ABI 9.0"),
        (probe.that_aborts_on_panic(), "abort"),
        (probe.for_another_machine(), std::env::consts::ARCH),
    ] {
        let (text, _site) = inspect(&artifact, &[]).await;
        assert_eq!(text.code, Some(4), "{text:?}");
        let said = format!("{}{}", text.stdout, text.stderr);
        assert!(said.contains(reason), "{reason:?} in {said}");
        assert!(said.contains("remedy"), "{said}");
        let (json, _site) = inspect(&artifact, &["--json"]).await;
        assert_eq!(json.code, Some(4), "{json:?}");
        assert!(
            serde_json::from_str::<serde_json::Value>(&json.stdout).is_ok(),
            "{json:?}"
        );
    }
    let ended = finish(replug(["inspect", "/no/such/file.so"])).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("/no/such/file.so"), "{ended:?}");
}

#[tokio::test]
async fn help_and_version_are_no_errors() {
    for args in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        let ended = finish(replug(args)).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("replug"), "{ended:?}");
    }
}

#[tokio::test]
async fn the_log_for_people_is_no_json_and_says_where_to_look() {
    let site = Site::new();
    let path = site.install("hello", &artifacts::library("hello"));
    let mut command = replug(["serve", "--listen", "127.0.0.1:0"]);
    command.arg(path).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = std::io::BufReader::new(child.stderr.take().unwrap());
    let url = tokio::task::spawn_blocking(move || {
        use std::io::BufRead as _;
        let mut lines = lines.lines().map_while(Result::ok);
        lines.find_map(|line| Some(line.split_once("http://")?.1.split('/').next()?.to_owned()))
    });
    let url = replug_tests::in_time("a URL", url).await.unwrap();
    let mut connection = replug_tests::Connection::http1(&url.unwrap()).await;
    assert_eq!(connection.text("/").await, "hello\n");
    child.kill().unwrap();
    child.wait().unwrap();
}
