//! `replug.toml`, as `serve` and `validate` read it.

use std::fs;

use replug_tests::{
    artifacts, cargo,
    configured::{validate, write},
    deploy::Artifact,
    host::{Site, finish},
};

const APP: &str = "fixture-probe";

#[tokio::test]
async fn the_file_of_the_current_directory_is_taken_and_names_apps() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    fs::create_dir(site.path().join("plugins")).unwrap();
    artifacts::library("hello").install(&site.path().join("plugins/libhello.so"));
    write(
        &site,
        "[server]\nlisten = [\"127.0.0.1:0\"]\nthreads = 1\n\
         [plugins]\ndirs = [\"plugins\"]\n\
         [apps.shop]\npath = \"apps/libprobe.so\"\nreload = \"manual\"\n\
         [apps.shop.settings]\nsetup = \"ok\"\n\
         [apps.hello]\nmount = \"/hello\"\nmax-requests = 3\n",
    );
    let host = site.serve(&[]).await;
    let used = host.event("configured").await;
    assert!(used.text("path").ends_with("replug.toml"), "{used}");
    assert_eq!(host.get("/shop/").await, "version 1\n");
    assert_eq!(host.connect().await.get("/hello").await.status, 200);
    let status = site.status().await;
    let names: Vec<_> = status["apps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|app| &app["name"])
        .collect();
    assert_eq!(names, ["hello", "shop"], "{status}");
    assert_eq!(status["apps"][1]["reload"], "manual", "{status}");
    artifacts::probe(2).install(&site.library("probe"));
    host.event("changed").await;
    // Named by its name in the file.
    let ended = site.ask(&["reload", "shop", "--no-guard"]).await;
    assert_eq!(ended.stdout, "shop generation 2 serves\n", "{ended:?}");
    for _ in 0..3 {
        host.connect().await.get("/hello").await;
    }
    host.serving("hello", 2).await;
}

#[tokio::test]
async fn what_is_wrong_ends_the_start_with_its_place_and_nothing_has_run() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    write(
        &site,
        "[defaults]\ndrian = \"1s\"\n\n[apps.shop]\nguard = 3\n",
    );
    let mut command = site.command("serve");
    command.arg(site.library("probe"));
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for part in [
        "replug.toml:2:1",
        "did you mean `drain`",
        "replug.toml:5:9",
        "remedy:",
    ] {
        assert!(ended.stderr.contains(part), "{part:?} in {ended:?}");
    }
    let mut command = site.command("serve");
    command.args(["--config", "other.toml"]);
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("cannot read other.toml"), "{ended:?}");
    // It can be left alone.
    let host = site.serve_library("probe", &["--no-config"]).await;
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn without_anything_to_serve_the_start_says_so() {
    let site = Site::new();
    let ended = finish(site.command("serve")).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("nothing to serve"), "{ended:?}");
    write(&site, "[server]\nthreads = 1\n");
    let ended = finish(site.command("serve")).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
}

#[tokio::test]
async fn flags_win_over_the_file() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    write(
        &site,
        "[server]\nlisten = [\"127.0.0.1:1\"]\n[defaults]\nreload = \"manual\"\n",
    );
    let host = site
        .serve_library("probe", &["--reload", "eager", "--guard", "0s"])
        .await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
}

#[tokio::test]
async fn validate_tells_of_every_artifact_and_runs_none() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    site.install("twin", &artifacts::probe(2));
    Artifact::new("text").install(&site.library("broken"));
    write(
        &site,
        "[plugins]\ndirs = [\"apps\"]\n[apps.ghost]\ndrain = \"1s\"\n",
    );
    let ended = validate(&site, &[]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    for part in [
        "replug.toml: well-formed",
        "libprobe.so: accepted as fixture-probe at /fixture-probe",
        "libbroken.so: refused: it is a text file",
        "libtwin.so: refused: mount `/fixture-probe` of app `fixture-probe` belongs to ",
        "options or settings for app `ghost`, and no artifact is that app now",
    ] {
        assert!(ended.stdout.contains(part), "{part:?} in {}", ended.stdout);
    }
    fs::remove_file(site.library("broken")).unwrap();
    fs::remove_file(site.library("twin")).unwrap();
    write(&site, "[apps.shop]\npath = \"apps/libprobe.so\"\n");
    let ended = validate(&site, &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("accepted as shop at /shop"),
        "{ended:?}"
    );
    write(&site, "[apps.shop]\npath = 3\n");
    let ended = validate(&site, &[]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended.stderr.contains("replug.toml:2:8: `path` is `3`"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_name_that_no_app_has_is_warned_of_with_the_nearest_one() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    write(
        &site,
        "[apps.fixture-prob]\ndrain = \"1s\"\n[apps.shop]\npath = \"none.so\"\n",
    );
    let host = site.serve_library("probe", &["--set", "else.x=1"]).await;
    let warnings = host.log.all(|event| event.kind() == "no-such-app");
    let told: Vec<_> = warnings
        .iter()
        .map(|event| (event.text("app"), event.text("remedy")))
        .collect();
    let [("else", other), ("fixture-prob", near)] = told[..] else {
        panic!("{}", host.log);
    };
    assert_eq!(near, "if `fixture-probe` is meant, name that");
    assert!(
        other.starts_with("name an app as its manifest does"),
        "{other}"
    );
    let ended = validate(&site, &["apps"]).await;
    let hint = "app `fixture-prob`, and no artifact is that app now; did you mean `fixture-probe`?";
    assert!(ended.stdout.contains(hint), "{ended:?}");
    assert!(!ended.stdout.contains("app `shop`"), "{ended:?}");
}

#[tokio::test]
async fn what_a_host_would_not_start_with_is_no_start_for_validate_either() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let check = async |text: &str, reason: &str| {
        write(&site, text);
        let ended = validate(&site, &[]).await;
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stdout.contains(reason), "{reason:?} in {ended:?}");
        let ended = finish(site.command("serve")).await;
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{reason:?} in {ended:?}");
    };
    check(
        "[plugins]\ndirs = [\"apps/libprobe.so\"]\n",
        "apps/libprobe.so is no directory",
    )
    .await;
    check(
        "[apps.shop]\npath = \"apps\"\n",
        "apps is a directory, and cannot be app `shop`",
    )
    .await;
}

#[tokio::test]
async fn dev_reads_the_file_too() {
    let site = Site::new();
    write(&site, "[defaults]\ndrian = \"1s\"\n");
    let mut command = site.command("dev");
    command.arg(cargo::workspace().join("sample-plugins/hello"));
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let place = "replug.toml:2:1: unknown key `drian`; did you mean `drain`?";
    assert!(ended.stderr.contains(place), "{ended:?}");
}
