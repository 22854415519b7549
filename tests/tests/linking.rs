//! Plugins that are linked to libraries of their own.

use std::fs;

use replug_tests::{artifacts, deploy::Artifact, host::Site};

const APP: &str = "plain-c";

fn put(site: &Site, library: &Artifact) {
    let dir = site.path().join("lib");
    fs::create_dir_all(&dir).unwrap();
    library.install(&dir.join("liblinked.so"));
}

#[tokio::test]
async fn a_new_version_of_a_library_that_a_plugin_is_linked_to_is_taken_by_a_reload() {
    let site = Site::new();
    put(&site, &artifacts::linked_to("hello from 1\n"));
    site.install("plain", &artifacts::linked_plugin());
    let host = site.serve_library("plain", &["--guard", "0s"]).await;
    assert_eq!(host.get("/").await, "hello from 1\n");
    for version in 2..=4 {
        let text = format!("hello from {version}\n");
        put(&site, &artifacts::linked_to(&text));
        host.serving(APP, version).await;
        assert_eq!(host.get("/").await, text);
        let retired = host.retired(APP, version - 1).await;
        assert_eq!(retired.text("outcome"), "unloaded");
    }
    // Back to one that has been there: its copy is open still.
    put(&site, &artifacts::linked_to("hello from 4\n"));
    host.serving(APP, 5).await;
    assert_eq!(host.get("/").await, "hello from 4\n");
    assert!(
        host.log.all(|event| event.kind() == "linked").is_empty(),
        "{}",
        host.log
    );
}

#[tokio::test]
async fn two_apps_that_are_linked_to_two_versions_have_each_its_own() {
    let site = Site::new();
    let plugin = artifacts::linked_plugin();
    let mut sources = Vec::new();
    for name in ["one", "two"] {
        let dir = site.path().join(name);
        fs::create_dir_all(dir.join("apps")).unwrap();
        fs::create_dir_all(dir.join("lib")).unwrap();
        let text = format!("hello frm {name:.2}\n");
        artifacts::linked_to(&text).install(&dir.join("lib/liblinked.so"));
        let path = dir.join("apps/libplain.so");
        plugin.install(&path);
        sources.push(format!("{}=/{name}", path.display()));
    }
    let host = site.serve(&[&sources[0], &sources[1]]).await;
    assert_eq!(host.get("/one/").await, "hello frm on\n");
    assert_eq!(host.get("/two/").await, "hello frm tw\n");
}
