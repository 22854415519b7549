//! Libraries that differ in what the dynamic linker does with them.

use replug_tests::{
    artifacts,
    deploy::touch,
    host::Site,
    leaving::{Leaver, never_quarantined},
};

#[tokio::test]
async fn a_plugin_of_c_is_unloaded() {
    let mut leaver = Leaver::serve_app("plain-c", &artifacts::c_plugin(), &[]).await;
    leaver.replace().await;
    never_quarantined(&leaver);
    leaver.end().await;
}

#[tokio::test]
async fn one_library_at_two_paths_is_two_apps_that_reload_side_by_side() {
    const RELOADS: u64 = 20;
    let site = Site::new();
    let apps = ["one", "two"].map(|name| {
        let path = site.install(name, &artifacts::library("fixture-leaver"));
        let source = format!("{}=/{name}", path.display());
        (format!("/{name}"), path, source)
    });
    let [one, two] = apps.each_ref().map(|(_, _, source)| source.as_str());
    let mut host = site.serve(&[one, two, "--threads", "2"]).await;
    let mut connections = [host.connect().await, host.connect().await];
    for generation in 1..=RELOADS {
        for connection in &mut connections {
            for (mount, ..) in &apps {
                connection
                    .text(&format!("{mount}/leave/thread-locals"))
                    .await;
            }
        }
        for (_, path, _) in &apps {
            touch(path);
        }
        for (mount, ..) in &apps {
            let serves = |event: &replug_tests::log::Event| {
                event.is("serving", "fixture-leaver", generation + 1)
                    && event.text("mount") == mount
            };
            host.log.wait_for(mount, serves).await;
        }
    }
    host.nth_event(2 * RELOADS as usize, "retired").await;
    let stayed = host.log.all(|event| {
        event.kind() == "quarantined"
            || event.kind() == "retired" && event.text("outcome") != "unloaded"
    });
    assert_eq!(stayed, []);
    assert_eq!(host.mapped(), 2);
    assert_eq!(host.terminate().await.code(), Some(0));
    assert_eq!(host.log.other_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_library_with_unique_symbols_stays_loaded_and_the_log_says_why() {
    let mut leaver = Leaver::serve_app("plain-c", &artifacts::cpp_plugin(), &[]).await;
    let old = leaver.reload().await;
    leaver.quarantined(old, "unique symbol").await;
    let retired = leaver.host.retired("plain-c", old).await;
    assert_eq!(retired.text("outcome"), "quarantined", "{retired}");
    assert_eq!(leaver.host.mapped(), 2);
    leaver.end().await;
}

#[tokio::test]
async fn a_thread_that_another_library_started_for_it_keeps_a_library_loaded() {
    let library = artifacts::cpp_plugin_with_a_thread();
    let mut leaver = Leaver::serve_app("plain-c", &library, &[]).await;
    let old = leaver.reload().await;
    leaver.quarantined(old, "still running").await;
    assert_eq!(leaver.host.mapped(), 2);
    leaver.end().await;
}

#[tokio::test]
async fn a_library_that_is_linked_to_stay_is_unloaded() {
    let library = artifacts::probe(1).that_must_stay_mapped();
    let mut leaver = Leaver::serve_app("fixture-probe", &library, &[]).await;
    leaver.replace().await;
    never_quarantined(&leaver);
    leaver.end().await;
}
