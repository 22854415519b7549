//! Descriptors that a plugin left open.

use replug_tests::leaving::{Leaver, is_unloaded_after};

#[tokio::test]
async fn descriptors_that_are_left_open_are_named() {
    let setup = ["--set", "fixture-leaver.setup=descriptors"];
    let mut leaver = Leaver::serve_with(&setup).await;
    let old = leaver.reload().await;
    leaver.unloaded(old).await;
    let event = leaver.host.event("descriptors-left").await;
    assert!(
        event.is("descriptors-left", "fixture-leaver", old),
        "{event}"
    );
    // `NUMBER TARGET, NUMBER TARGET`
    let descriptors = event.text("descriptors").split(", ");
    let mut targets: Vec<&str> = descriptors
        .map(|descriptor| descriptor.split_once(' ').unwrap().1)
        .collect();
    targets.sort_unstable();
    assert_eq!(targets[0], leaver.file().to_str().unwrap(), "{event}");
    assert_eq!(targets.len(), 3, "{event}");
    assert!(
        targets[1..]
            .iter()
            .all(|target| target.starts_with("socket:")),
        "{event}"
    );
    leaver.end().await;
}

#[tokio::test]
async fn sockets_that_went_with_the_runtime_are_not_left() {
    let leaver = is_unloaded_after("sockets").await;
    let left = leaver
        .host
        .log
        .all(|event| event.kind() == "descriptors-left");
    assert_eq!(left, []);
    leaver.end().await;
}
