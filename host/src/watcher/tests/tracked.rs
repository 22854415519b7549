//! What belongs to an artifact.

use std::{
    collections::BTreeSet,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;
use crate::watcher::{Arrangement, Tracked};

const SETTLE: Duration = Duration::from_millis(50);

impl Scene {
    fn arrange(&self, artifact: &ArtifactPath, tracked: Vec<Tracked>) {
        let arrangement = Arrangement {
            settle: SETTLE,
            poll: Duration::ZERO,
            tracked,
        };
        self.watcher.arrange(artifact, arrangement);
    }

    fn tracked(&self, name: &str) -> Tracked {
        Tracked::file_or_directory(&self.path(name))
    }

    /// The next report is of these files, and of the artifact only if they are none.
    async fn changed_with(&mut self, artifact: &ArtifactPath, files: &[&str]) {
        let files = files.iter().map(|name| self.path(name)).collect();
        let artifact = artifact.clone();
        assert_eq!(self.next().await, WatchEvent::Tracked { artifact, files });
    }

    /// An artifact and files that have been at rest for long.
    async fn library_with(&mut self, files: &[&str]) -> ArtifactPath {
        for file in files {
            self.write(file, "1");
        }
        let library = self.watched("lib.so", "1").await;
        self.silent_for_long().await;
        library
    }
}

#[tokio::test]
async fn a_deploy_in_three_steps_is_one_change_in_whatever_order() {
    let mut scene = Scene::new();
    let library = scene.library_with(&["page.html", "app.toml"]).await;
    let tracked = ["page.html", "app.toml"].map(|name| scene.tracked(name));
    scene.arrange(&library, tracked.to_vec());
    for order in [
        ["lib.so", "page.html", "app.toml"],
        ["app.toml", "lib.so", "page.html"],
        ["page.html", "app.toml", "lib.so"],
    ] {
        for name in order {
            scene.rename_in(name, order.concat());
        }
        scene.changed(&library).await;
        scene.silent_for_long().await;
    }
}

#[tokio::test]
async fn a_tracked_file_counts_when_it_changes_is_touched_goes_and_comes() {
    let mut scene = Scene::new();
    let library = scene.library_with(&["app.toml"]).await;
    let file = scene.path("app.toml");
    scene.arrange(&library, vec![scene.tracked("app.toml")]);
    fs::write(&file, "2").unwrap();
    scene.changed_with(&library, &["app.toml"]).await;
    modified_at(&file, 1_000);
    scene.changed_with(&library, &["app.toml"]).await;
    // Other bytes, and the time set back.
    fs::write(&file, "3").unwrap();
    modified_at(&file, 1_000);
    scene.changed_with(&library, &["app.toml"]).await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    scene.silent_for_long().await;
    fs::remove_file(&file).unwrap();
    scene.changed_with(&library, &["app.toml"]).await;
    scene.rename_in("app.toml", "4");
    scene.changed_with(&library, &["app.toml"]).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn the_ways_in_which_editors_save_are_one_change_each() {
    let mut scene = Scene::new();
    let library = scene.library_with(&["t/page.html"]).await;
    scene.arrange(&library, vec![scene.tracked("t")]);
    let file = scene.path("t/page.html");
    // vim, with a backup: the old one is renamed away, the new one written, the backup removed.
    let backup = scene.path("t/page.html~");
    scene.write("t/4913", "");
    fs::remove_file(scene.path("t/4913")).unwrap();
    fs::rename(&file, &backup).unwrap();
    fs::write(&file, "2").unwrap();
    fs::remove_file(backup).unwrap();
    scene.changed_with(&library, &["t/page.html"]).await;
    // Others write a hidden file, and rename it over.
    let hidden = scene.write("t/.page.html.tmp", "3");
    fs::rename(hidden, &file).unwrap();
    scene.changed_with(&library, &["t/page.html"]).await;
    // Remove and make again.
    fs::remove_file(&file).unwrap();
    fs::write(&file, "4").unwrap();
    scene.changed_with(&library, &["t/page.html"]).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_tracked_directory_is_all_that_is_below_it() {
    let mut scene = Scene::new();
    let library = scene.library_with(&["t/a.html", "t/sub/b.html"]).await;
    scene.arrange(&library, vec![scene.tracked("t")]);
    scene.rename_in("t/sub/b.html", "2");
    scene.changed_with(&library, &["t/sub/b.html"]).await;
    scene.write("t/new/deep/c.html", "1");
    scene.changed_with(&library, &["t/new/deep/c.html"]).await;
    scene.write("t/new/deep/c.html", "2");
    scene.changed_with(&library, &["t/new/deep/c.html"]).await;
    scene.write("t/.hidden/x", "1");
    scene.write("t/swap~", "1");
    scene.silent_for_long().await;
    fs::remove_dir_all(scene.path("t/new")).unwrap();
    scene.changed_with(&library, &["t/new/deep/c.html"]).await;
    fs::rename(scene.path("t"), scene.path("old")).unwrap();
    scene
        .changed_with(&library, &["t/a.html", "t/sub/b.html"])
        .await;
    // Another in its place.
    scene.write("next/z.html", "1");
    fs::rename(scene.path("next"), scene.path("t")).unwrap();
    scene.changed_with(&library, &["t/z.html"]).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_glob_is_what_matches_it_now_and_later() {
    let mut scene = Scene::new();
    let library = scene.library_with(&["t/a.html", "t/a.css"]).await;
    let pattern = scene.path("t/**/*.html");
    let glob = Tracked::glob(pattern.to_str().unwrap()).unwrap();
    scene.arrange(&library, vec![glob]);
    scene.write("t/a.css", "2");
    scene.silent_for_long().await;
    scene.write("t/b.html", "1");
    scene.changed_with(&library, &["t/b.html"]).await;
    scene.write("t/sub/c.html", "1");
    scene.changed_with(&library, &["t/sub/c.html"]).await;
}

#[tokio::test]
async fn what_changes_between_the_wish_and_the_watch_is_reported() {
    let mut scene = Scene::new();
    let library = scene
        .library_with(&["app.toml", "t/a.html", "t/b.html"])
        .await;
    let tracked = ["app.toml", "t", "later"].map(|name| scene.tracked(name));
    assert!(tracked[2].problem().unwrap().contains("is not there"));
    scene.rename_in("app.toml", "2");
    scene.rename_in("t/c.html", "1");
    fs::remove_file(scene.path("t/a.html")).unwrap();
    scene.write("later", "1");
    scene.arrange(&library, tracked.to_vec());
    let mut seen = BTreeSet::new();
    while seen.len() < 4 {
        match scene.next().await {
            WatchEvent::Tracked { artifact, files } if artifact == library => seen.extend(files),
            other => panic!("{other:?}"),
        }
    }
    let expected = ["app.toml", "later", "t/a.html", "t/c.html"];
    assert!(
        seen.iter().eq(&expected.map(|name| scene.path(name))),
        "{seen:?}"
    );
    // What was seen is not seen again with the next generation's wish.
    let tracked = ["app.toml", "t", "later"].map(|name| scene.tracked(name));
    scene.arrange(&library, tracked.to_vec());
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_switched_link_on_the_way_to_a_tracked_file_is_a_change() {
    let mut scene = Scene::new();
    scene.write("releases/1/app.toml", "1");
    scene.write("releases/2/app.toml", "2");
    symlink("releases/1", scene.path("current")).unwrap();
    let library = scene.library_with(&[]).await;
    scene.arrange(&library, vec![scene.tracked("current/app.toml")]);
    symlink("releases/2", scene.path("next")).unwrap();
    fs::rename(scene.path("next"), scene.path("current")).unwrap();
    scene.changed_with(&library, &["current/app.toml"]).await;
    scene.rename_in("releases/2/app.toml", "3");
    scene.changed_with(&library, &["current/app.toml"]).await;
    scene.rename_in("releases/1/app.toml", "3");
    scene.silent_for_long().await;
}

#[tokio::test]
async fn what_is_not_tracked_any_more_is_not_reported() {
    let mut scene = Scene::new();
    let library = scene.library_with(&["a", "b"]).await;
    scene.arrange(&library, vec![scene.tracked("a"), scene.tracked("b")]);
    scene.arrange(&library, vec![scene.tracked("b")]);
    scene.rename_in("a", "2");
    scene.silent_for_long().await;
    scene.arrange(&library, Vec::new());
    scene.rename_in("b", "2");
    scene.silent_for_long().await;
    // It tracks nothing: no time to settle.
    scene.rename_in("lib.so", "2");
    scene.changed(&library).await;
}

#[tokio::test]
async fn one_file_of_two_artifacts_is_reported_for_both() {
    let mut scene = Scene::new();
    let first = scene.library_with(&["shared"]).await;
    let second = scene.watched("other.so", "1").await;
    scene.arrange(&first, vec![scene.tracked("shared")]);
    scene.arrange(&second, vec![scene.tracked("shared")]);
    scene.rename_in("shared", "2");
    let mut reported = Vec::new();
    for _ in 0..2 {
        match scene.next().await {
            WatchEvent::Tracked { artifact, .. } => reported.push(artifact),
            other => panic!("{other:?}"),
        }
    }
    reported.sort();
    assert_eq!(reported, [first, second]);
}

#[tokio::test]
async fn a_storm_of_changes_is_few_reports_and_the_last_is_not_lost() {
    let mut scene = Scene::new();
    let library = scene.library_with(&["app.toml"]).await;
    scene.arrange(&library, vec![scene.tracked("app.toml")]);
    for round in 0..1_000 {
        scene.write("app.toml", round.to_string());
    }
    scene.changed_with(&library, &["app.toml"]).await;
    let mut reports = 1;
    // A last one, told from the storm by its own file.
    scene.write("lib.so", "last");
    loop {
        match scene.next().await {
            WatchEvent::Changed(artifact) if artifact == library => break,
            WatchEvent::Tracked { .. } => reports += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(reports < 100, "{reports} reports");
    scene.silent_for_long().await;
}

#[tokio::test]
async fn without_events_all_is_found_by_looking() {
    let mut scene = Scene::deaf();
    let library = scene.artifact("lib.so");
    scene.write("lib.so", "1");
    scene.write("app.toml", "1");
    fs::create_dir(scene.path("apps")).unwrap();
    scene.watcher.poll_all(Duration::from_millis(5));
    scene.watcher.watch_artifact(library.clone()).unwrap();
    scene.watcher.watch_directory(scene.path("apps")).unwrap();
    scene.write("lib.so", "2");
    scene.changed(&library).await;
    scene.write("apps/libnew.so", "1");
    let new = scene.artifact("apps/libnew.so");
    scene.changed(&new).await;
    fs::remove_file(&new).unwrap();
    scene.removed(&new).await;
    let arrangement = Arrangement {
        settle: SETTLE,
        poll: Duration::from_millis(5),
        tracked: vec![scene.tracked("app.toml")],
    };
    scene.watcher.arrange(&library, arrangement);
    scene.write("app.toml", "2");
    scene.changed_with(&library, &["app.toml"]).await;
    fs::remove_file(scene.path("app.toml")).unwrap();
    scene.changed_with(&library, &["app.toml"]).await;
}

/// Random changes in bursts: after each there is a report of it, and when nothing happens there is
/// none.
#[tokio::test]
async fn after_random_changes_the_last_state_has_been_reported() {
    const FILES: [&str; 4] = ["lib.so", "app.toml", "t/a.html", "t/sub/b.html"];
    let mut scene = Scene::new();
    let library = scene.library_with(&FILES[1..]).await;
    scene.arrange(
        &library,
        vec![scene.tracked("app.toml"), scene.tracked("t")],
    );
    let mut random = fastrand::Rng::with_seed(3);
    for burst in 0..12 {
        let mut touched = BTreeSet::new();
        for step in 0..random.usize(1..8) {
            let name = FILES[random.usize(..FILES.len())];
            let path = scene.path(name);
            match random.u8(..4) {
                0 => scene.rename_in(name, format!("{burst}.{step}")),
                1 => drop(scene.write(name, format!("{burst}:{step}"))),
                2 if path.exists() => modified_at(&path, 1_000 + burst * 100 + step as u64),
                _ if name != "lib.so" => {
                    let _ = fs::remove_file(&path);
                    scene.write(name, format!("{burst}-{step}"));
                }
                _ => continue,
            }
            touched.insert(path);
        }
        let mut reported = BTreeSet::new();
        while !touched.is_subset(&reported) {
            match scene.next().await {
                WatchEvent::Changed(artifact) => {
                    assert_eq!(artifact, library);
                    // One report for all that changed with it.
                    reported.extend(touched.clone());
                }
                WatchEvent::Tracked { files, .. } => reported.extend(files),
                WatchEvent::Removed(path) => panic!("{path} was never gone for long"),
            }
        }
        // What came in two sets may still come.
        while let Ok(Some(event)) = timeout(Duration::from_millis(400), scene.events.recv()).await {
            assert!(!matches!(event, WatchEvent::Removed(_)), "{event:?}");
        }
        scene.silent_for_long().await;
    }
}

#[tokio::test]
async fn no_file_is_missed_that_comes_at_once_into_a_new_directory() {
    let mut scene = Scene::new();
    let library = scene.library_with(&["pages/first.html"]).await;
    scene.arrange(&library, vec![scene.tracked("pages")]);
    // While the watcher follows: some are there before their directory is watched, some come in
    // that very moment, some after it.
    let mut missing = BTreeSet::new();
    for number in 0..300 {
        let file = scene.path(&format!("pages/{number}/a.html"));
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, "1").unwrap();
        missing.insert(file);
    }
    while !missing.is_empty() {
        let WatchEvent::Tracked { artifact, files } = scene.next().await else {
            panic!("only tracked files change");
        };
        assert_eq!(artifact, library);
        for file in files {
            missing.remove(&file);
        }
    }
}
