//! One file in one directory.

use std::{fs::Permissions, os::unix::fs::PermissionsExt};

use super::*;

#[tokio::test]
async fn a_rename_into_place_is_a_change() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    scene.rename_in("lib.so", "two");
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_file_that_did_not_exist_is_a_change() {
    let mut scene = Scene::new();
    let path = scene.watch("lib.so");
    scene.write("lib.so", "one");
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_touch_is_a_change() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    modified_at(&path, 2_000_000_000);
    scene.changed(&path).await;
    scene.silent().await;
    let touched = std::process::Command::new("touch")
        .arg(path.as_path())
        .status()
        .unwrap();
    assert!(touched.success());
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn an_older_mtime_restored_is_a_change() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    scene.write("old", "one");
    modified_at(scene.path("old"), 1);
    fs::rename(scene.path("old"), &path).unwrap();
    scene.changed(&path).await;
    scene.rename_in("lib.so", "two");
    scene.changed(&path).await;
    modified_at(&path, 1);
    scene.changed(&path).await;
    scene.silent().await;
}

#[tokio::test]
async fn chmod_and_reading_are_silent() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    for mode in [0o600, 0o755, 0o400] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        fs::read(&path).unwrap();
    }
    scene.silent().await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn chmod_of_a_file_that_could_not_be_read_is_a_change() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    scene.rename_in("lib.so", "two");
    scene.changed(&path).await;
    scene.watcher.unread(&path);
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    scene.changed(&path).await;
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    scene.silent().await;
}

#[tokio::test]
async fn a_removal_is_reported_once() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    fs::remove_file(&path).unwrap();
    scene.removed(&path).await;
    scene.silent_for_long().await;
    scene.rename_in("lib.so", "one");
    scene.changed(&path).await;
}

#[tokio::test]
async fn moving_away_is_a_removal() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    fs::rename(&path, scene.path("elsewhere")).unwrap();
    scene.removed(&path).await;
}

#[tokio::test]
async fn removed_and_put_back_is_only_a_change() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    fs::remove_file(&path).unwrap();
    scene.silent().await;
    scene.rename_in("lib.so", "two");
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn moved_away_and_back_is_nothing() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    fs::rename(&path, scene.path("aside")).unwrap();
    fs::rename(scene.path("aside"), &path).unwrap();
    scene.silent_for_long().await;
}

#[tokio::test]
async fn neighbours_do_not_disturb_each_other() {
    let mut scene = Scene::new();
    let (one, two) = (
        scene.watched("one.so", "1").await,
        scene.watched("two.so", "1").await,
    );
    for round in 0..20 {
        scene.rename_in("one.so", round.to_string());
        scene.changed(&one).await;
        scene.rename_in("two.so", round.to_string());
        scene.changed(&two).await;
    }
    fs::remove_file(&one).unwrap();
    scene.rename_in("two.so", "last");
    scene.changed(&two).await;
    scene.removed(&one).await;
    scene.silent().await;
}

#[tokio::test]
async fn the_last_of_many_replacements_is_always_reported() {
    const LAST: u32 = 500;
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "0").await;
    let dir = scene.dir.path().to_owned();
    let writer = std::thread::spawn(move || {
        for round in 1..=LAST {
            fs::write(dir.join("new"), round.to_string()).unwrap();
            fs::rename(dir.join("new"), dir.join("lib.so")).unwrap();
        }
    });
    let mut seen = 0;
    while seen < LAST {
        scene.changed(&path).await;
        seen = fs::read_to_string(&path).unwrap().parse().unwrap();
    }
    writer.join().unwrap();
}

#[tokio::test]
async fn what_is_not_watched_any_more_is_silent() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    scene.watcher.unwatch(&path);
    scene.rename_in("lib.so", "two");
    scene.silent().await;
}

#[tokio::test]
async fn a_set_of_files_is_replaced_as_a_whole() {
    let mut scene = Scene::new();
    scene.write("src/a.rs", "1");
    scene.write("src/b.rs", "1");
    let (a, b) = (scene.artifact("src/a.rs"), scene.artifact("src/b.rs"));
    let artifact = scene.watched("lib.so", "1").await;
    scene.watcher.watch_files([a.clone()]).unwrap();
    scene.rename_in("src/b.rs", "2");
    scene.rename_in("src/a.rs", "2");
    scene.changed(&a).await;
    scene.watcher.watch_files([b.clone()]).unwrap();
    scene.rename_in("src/a.rs", "3");
    scene.rename_in("src/b.rs", "3");
    scene.changed(&b).await;
    scene.rename_in("lib.so", "2");
    scene.changed(&artifact).await;
}

#[tokio::test]
async fn what_no_event_told_is_found_when_events_were_lost() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    {
        let mut watching = scene.watcher.lock();
        watching.directories.keep(|_| false);
        scene.rename_in("lib.so", "two");
        watching.rescan(std::time::Instant::now());
    }
    // Wakes the task, which would have made the call above.
    scene.write("nudge", "");
    scene.changed(&path).await;
    scene.rename_in("lib.so", "three");
    scene.changed(&path).await;
}
