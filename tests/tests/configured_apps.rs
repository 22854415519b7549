//! What `replug.toml` says of apps, and where they are.

use std::fs;

use replug_tests::{
    artifacts,
    configured::{validate, write},
    host::{Host, Site},
};

const APP: &str = "fixture-probe";

#[tokio::test]
async fn what_is_said_of_an_app_by_its_name_holds_for_one_in_a_folder() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1).that_aborts_on_panic());
    write(
        &site,
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[plugins]\ndirs = [\"apps\"]\n\
         [apps.fixture-probe]\nmount = \"/shop\"\nallow-panic-abort = true\n",
    );
    let ended = validate(&site, &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let accepted = "accepted as fixture-probe at /shop, digest";
    assert!(ended.stdout.contains(accepted), "{ended:?}");
    let host = site.serve(&[]).await;
    assert_eq!(host.get("/shop/").await, "version 1\n");
    // It holds for the next generation, too.
    let ended = site.ask(&["reload", APP, "--no-guard"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(host.get("/shop/").await, "version 1\n");
    assert_eq!(
        host.connect().await.get("/fixture-probe/").await.status,
        404
    );
}

#[tokio::test]
async fn a_lone_library_is_mounted_where_the_file_says() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    write(&site, "[apps.fixture-probe]\nmount = \"/shop\"\n");
    let host = site.serve_library("probe", &[]).await;
    assert_eq!(host.get("/shop/").await, "version 1\n");
    drop(host);
    let source = format!("{}=/here", path.display());
    let host = site.serve(&[&source]).await;
    assert_eq!(host.get("/here/").await, "version 1\n");
}

#[tokio::test]
async fn a_library_that_the_file_and_the_command_line_name_is_one_app() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    write(&site, "[apps.shop]\npath = \"apps/libprobe.so\"\n");
    let host = site.serve_library("probe", &[]).await;
    let ready = host.event("ready").await;
    assert_eq!(ready.number("serving"), Some(1), "{ready}");
    assert_eq!(host.get("/shop/").await, "version 1\n");
    assert_eq!(site.status().await["apps"][0]["name"], "shop");
}

#[tokio::test]
async fn a_folder_of_the_file_may_be_made_later() {
    let site = Site::new();
    write(
        &site,
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[plugins]\ndirs = [\"later/plugins\"]\n",
    );
    let ended = validate(&site, &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("later/plugins: no plugins"),
        "{ended:?}"
    );
    let host = site.serve(&[]).await;
    let folder = site.path().join("later/plugins");
    fs::create_dir_all(&folder).unwrap();
    artifacts::probe(1).install(&folder.join("libprobe.so"));
    host.serving(APP, 1).await;
    assert_eq!(host.get("/fixture-probe/").await, "version 1\n");
}

#[tokio::test]
async fn paths_and_globs_begin_in_the_files_own_folder() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    for folder in ["conf", "templates"] {
        fs::create_dir(site.path().join(folder)).unwrap();
    }
    let page = site.path().join("templates/page.html");
    fs::write(&page, "1").unwrap();
    let text = "[server]\nlisten = [\"unix:http.sock\"]\n[defaults]\nguard = \"0s\"\n\
                track = [\"../templates/*\"]\n\
                [apps.shop]\npath = \"../apps/libprobe.so\"\n";
    fs::write(site.path().join("conf/site.toml"), text).unwrap();
    let mut command = site.command("serve");
    command.args(["--config", "conf/site.toml"]);
    let host = Host::spawn(command, None).await;
    let socket = site.path().join("conf/http.sock");
    assert_eq!(host.address, format!("unix:{}", socket.display()));
    host.serving("shop", 1).await;
    let new = site.path().join("templates/.new");
    fs::write(&new, "2").unwrap();
    fs::rename(&new, &page).unwrap();
    host.serving("shop", 2).await;
}

#[tokio::test]
async fn settings_reach_the_app_as_they_are_and_dates_as_text() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    write(
        &site,
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[apps.shop]\npath = \"apps/libprobe.so\"\n\
         [apps.shop.settings]\nsince = 2026-11-25T10:00:00Z\nlist = [1, 2.5, true]\n\
         [apps.shop.settings.deep]\nword = \"hi\"\n",
    );
    let host = site.serve(&["--set", "shop.day=2026-11-26"]).await;
    let settings: serde_json::Value =
        serde_json::from_str(&host.get("/shop/settings").await).unwrap();
    assert_eq!(
        settings,
        serde_json::json!({
            "since": "2026-11-25T10:00:00Z",
            "day": "2026-11-26",
            "list": [1, 2.5, true],
            "deep": {"word": "hi"},
        })
    );
}

#[tokio::test]
async fn two_apps_that_call_themselves_the_same_are_told_apart_by_the_file() {
    let site = Site::new();
    site.install("one", &artifacts::probe(1));
    site.install("two", &artifacts::probe(2));
    write(
        &site,
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [apps.one]\npath = \"apps/libone.so\"\n[apps.two]\npath = \"apps/libtwo.so\"\n",
    );
    let host = site.serve(&[]).await;
    assert_eq!(host.get("/one/").await, "version 1\n");
    assert_eq!(host.get("/two/").await, "version 2\n");
}
