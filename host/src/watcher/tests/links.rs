//! Links and parents on the way to a file.

use std::os::unix::fs::symlink;

use super::*;

impl Scene {
    /// Points a link elsewhere in one step, as deploy tools do.
    fn switch(&self, name: &str, target: &str) {
        let new = self.path("link.new");
        symlink(target, &new).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }
}

#[tokio::test]
async fn a_switched_link_is_a_change() {
    let mut scene = Scene::new();
    scene.write("v1.so", "one");
    scene.write("v2.so", "two");
    symlink("v1.so", scene.path("lib.so")).unwrap();
    let path = scene.watch("lib.so");
    scene.switch("lib.so", "v2.so");
    scene.changed(&path).await;
    fs::remove_file(&path).unwrap();
    symlink("v1.so", &path).unwrap();
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_switched_directory_is_a_change() {
    let mut scene = Scene::new();
    scene.write("releases/1/bin/lib.so", "one");
    scene.write("releases/2/bin/lib.so", "two");
    symlink("releases/1", scene.path("current")).unwrap();
    let path = scene.watch("current/bin/lib.so");
    scene.switch("current", "releases/2");
    scene.changed(&path).await;
    scene.rename_in("releases/2/bin/lib.so", "three");
    scene.changed(&path).await;
    // Where the link led before is nobody's business any more.
    scene.rename_in("releases/1/bin/lib.so", "four");
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_links_target_replaced_is_a_change() {
    let mut scene = Scene::new();
    scene.write("builds/v1.so", "one");
    symlink("builds/v1.so", scene.path("first")).unwrap();
    symlink(scene.path("first"), scene.path("lib.so")).unwrap();
    let path = scene.watch("lib.so");
    scene.rename_in("builds/v1.so", "two");
    scene.changed(&path).await;
    scene.write("builds/v2.so", "three");
    scene.switch("first", "builds/v2.so");
    scene.changed(&path).await;
}

#[tokio::test]
async fn a_link_and_its_target_are_two_artifacts() {
    let mut scene = Scene::new();
    let target = scene.watched("target.so", "one").await;
    symlink("target.so", scene.path("link.so")).unwrap();
    let link = scene.watch("link.so");
    scene.rename_in("target.so", "two");
    let mut both = [scene.next().await, scene.next().await];
    both.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(
        both,
        [WatchEvent::Changed(link), WatchEvent::Changed(target)]
    );
}

#[tokio::test]
async fn a_broken_link_is_a_removal() {
    let mut scene = Scene::new();
    scene.write("v1.so", "one");
    symlink("v1.so", scene.path("lib.so")).unwrap();
    let path = scene.watch("lib.so");
    fs::remove_file(scene.path("v1.so")).unwrap();
    scene.removed(&path).await;
    scene.rename_in("v1.so", "two");
    scene.changed(&path).await;
}

#[tokio::test]
async fn a_directory_made_again_is_watched_again() {
    let mut scene = Scene::new();
    let path = scene.watched("build/release/lib.so", "one").await;
    for round in 0..5 {
        fs::remove_dir_all(scene.path("build")).unwrap();
        scene.removed(&path).await;
        scene.write("build/release/lib.so", round.to_string());
        scene.changed(&path).await;
        scene.rename_in("build/release/lib.so", format!("{round} again"));
        scene.changed(&path).await;
    }
}

#[tokio::test]
async fn a_directory_made_again_at_once_is_only_a_change() {
    let mut scene = Scene::new();
    let path = scene.watched("build/lib.so", "one").await;
    for round in 0..5 {
        fs::remove_dir_all(scene.path("build")).unwrap();
        scene.write("build/lib.so", round.to_string());
        scene.changed(&path).await;
    }
    scene.rename_in("build/lib.so", "last");
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_directory_that_does_not_exist_yet_is_waited_for() {
    let mut scene = Scene::new();
    let path = scene.watch("not/yet/there/lib.so");
    scene.write("not/yet/there/lib.so", "one");
    scene.changed(&path).await;
}

#[tokio::test]
async fn a_renamed_parent_is_seen() {
    let mut scene = Scene::new();
    let path = scene.watched("app/bin/lib.so", "one").await;
    scene.write("app.new/bin/lib.so", "two");
    fs::rename(scene.path("app"), scene.path("app.old")).unwrap();
    fs::rename(scene.path("app.new"), scene.path("app")).unwrap();
    scene.changed(&path).await;
    // The watch did not stay with the old directory.
    scene.rename_in("app.old/bin/lib.so", "three");
    scene.rename_in("app/bin/lib.so", "four");
    scene.changed(&path).await;
    scene.silent_for_long().await;
}
