//! Files that belong to an app.

use std::{fs, path::Path};

use replug_tests::{
    artifacts,
    host::{Host, Site},
};

const APP: &str = "fixture-probe";

/// A file as a deployment puts it: written elsewhere, then renamed.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// A probe that tracks a template and a file of settings of its own wish.
async fn tracking(site: &Site, args: &[&str]) -> Host {
    site.install("probe", &artifacts::probe(1));
    fs::create_dir(site.path().join("templates")).unwrap();
    put(&site.path().join("templates/page.html"), "1");
    put(&site.path().join("app.toml"), "1");
    let set = format!("{APP}.track=[\"templates\", \"app.toml\"]");
    let mut all = vec!["--set", &set, "--guard", "0s"];
    all.extend(args);
    site.serve_library("probe", &all).await
}

#[tokio::test]
async fn a_deploy_of_library_template_and_settings_in_three_steps_is_one_reload() {
    let site = Site::new();
    let host = tracking(&site, &[]).await;
    artifacts::probe(2).install(&site.library("probe"));
    put(&site.path().join("templates/page.html"), "2");
    put(&site.path().join("app.toml"), "2");
    host.serving(APP, 2).await;
    assert_eq!(host.get("/").await, "version 2\n");
    // One more change, to see that nothing of the first is left over.
    put(&site.path().join("app.toml"), "3");
    host.event("tracked-changed").await;
    host.serving(APP, 3).await;
    let loads = host.log.all(|event| event.kind() == "serving").len();
    assert_eq!(loads, 3, "{}", host.log);
}

#[tokio::test]
async fn a_tracked_file_that_changes_goes_or_comes_reloads_the_app() {
    let site = Site::new();
    let host = tracking(&site, &[]).await;
    let page = site.path().join("templates/page.html");
    put(&page, "2");
    host.serving(APP, 2).await;
    put(&site.path().join("templates/new.html"), "1");
    host.serving(APP, 3).await;
    fs::remove_file(&page).unwrap();
    host.serving(APP, 4).await;
    let told = host.nth_event(3, "tracked-changed").await;
    assert!(
        told.text("message").contains("templates/page.html"),
        "{told}"
    );
    fs::remove_dir_all(site.path().join("templates")).unwrap();
    host.serving(APP, 5).await;
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn what_is_tracked_by_the_configuration_reloads_the_app_too() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    fs::create_dir(site.path().join("pages")).unwrap();
    put(&site.path().join("pages/a.html"), "1");
    let host = site
        .serve_library(
            "probe",
            &["--option", "track=[\"pages/**/*.html\"]", "--guard", "0s"],
        )
        .await;
    put(&site.path().join("pages/a.html"), "2");
    host.serving(APP, 2).await;
    put(&site.path().join("pages/b.css"), "2");
    fs::create_dir(site.path().join("pages/sub")).unwrap();
    put(&site.path().join("pages/sub/c.html"), "2");
    host.serving(APP, 3).await;
    let told = host.nth_event(2, "tracked-changed").await;
    assert_eq!(told.number("files"), Some(1), "{told}");
}

#[tokio::test]
async fn a_tracked_file_that_is_not_there_is_warned_of_and_counts_when_it_comes() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let set = format!("{APP}.track=[\"later.toml\"]");
    let host = site
        .serve_library("probe", &["--set", &set, "--guard", "0s"])
        .await;
    let warned = host.event("track-problem").await;
    assert!(
        warned.text("message").contains("later.toml is not there"),
        "{warned}"
    );
    put(&site.path().join("later.toml"), "1");
    host.serving(APP, 2).await;
}

#[tokio::test]
async fn on_request_and_manual_note_tracked_changes_as_any_others() {
    let site = Site::new();
    let host = tracking(&site, &["--reload", "on-request"]).await;
    put(&site.path().join("app.toml"), "2");
    host.event("changed").await;
    host.get("/").await;
    host.serving(APP, 2).await;
}

#[tokio::test]
async fn after_a_rollback_a_tracked_change_reloads_what_serves_and_not_the_file() {
    let site = Site::new();
    let host = tracking(&site, &[]).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    let ended = site.ask(&["rollback", APP]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    put(&site.path().join("app.toml"), "2");
    host.serving(APP, 4).await;
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn with_polling_changes_are_seen_as_well() {
    let site = Site::new();
    let host = tracking(&site, &["--poll", "20ms"]).await;
    artifacts::probe(2).install(&site.library("probe"));
    host.serving(APP, 2).await;
    put(&site.path().join("app.toml"), "2");
    host.serving(APP, 3).await;
    put(&site.path().join("app.toml"), "3");
    host.serving(APP, 4).await;
    assert_eq!(host.log.all(|event| event.kind() == "serving").len(), 4);
}
