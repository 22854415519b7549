//! Drop-in folders.

use super::*;

#[tokio::test]
async fn a_folders_libraries_are_listed_and_new_ones_are_reported() {
    let mut scene = Scene::new();
    let b = scene.artifact("plugins/b.so");
    scene.write("plugins/b.so", "1");
    scene.write("plugins/notes.txt", "1");
    scene.write("plugins/.hidden.so", "1");
    fs::create_dir(scene.path("plugins/dir.so")).unwrap();
    let found = scene
        .watcher
        .watch_directory(scene.path("plugins"))
        .unwrap();
    assert_eq!(found, std::slice::from_ref(&b));

    let a = scene.artifact("plugins/a.so");
    scene.write("plugins/.a.so", "half");
    scene.write("plugins/a.so.tmp", "half");
    fs::create_dir(scene.path("plugins/e.so")).unwrap();
    scene.silent().await;
    scene.write("plugins/a.so", "1");
    scene.changed(&a).await;
    scene.rename_in("plugins/b.so", "2");
    scene.changed(&b).await;
    fs::remove_file(&a).unwrap();
    scene.removed(&a).await;
    scene.rename_in("plugins/a.so", "2");
    scene.changed(&a).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_file_that_comes_and_goes_before_it_is_complete_is_nothing() {
    let mut scene = Scene::new();
    scene.write("plugins/b.so", "1");
    scene
        .watcher
        .watch_directory(scene.path("plugins"))
        .unwrap();
    let file = fs::File::create(scene.path("plugins/a.so")).unwrap();
    scene.silent().await;
    fs::remove_file(scene.path("plugins/a.so")).unwrap();
    drop(file);
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_folder_made_again_is_watched_again() {
    let mut scene = Scene::new();
    let a = scene.artifact("plugins/a.so");
    scene.write("plugins/a.so", "1");
    scene
        .watcher
        .watch_directory(scene.path("plugins"))
        .unwrap();
    fs::remove_dir_all(scene.path("plugins")).unwrap();
    scene.removed(&a).await;
    scene.write("plugins/a.so", "2");
    scene.changed(&a).await;
    let b = scene.artifact("plugins/b.so");
    scene.write("plugins/b.so", "1");
    scene.changed(&b).await;
}

#[tokio::test]
async fn a_folder_that_does_not_exist_yet_is_waited_for() {
    let mut scene = Scene::new();
    assert!(
        scene
            .watcher
            .watch_directory(scene.path("plugins"))
            .unwrap()
            .is_empty()
    );
    let a = scene.artifact("plugins/a.so");
    scene.write("plugins/a.so", "1");
    scene.changed(&a).await;
}

#[tokio::test]
async fn a_folder_behind_a_switched_link_has_its_new_libraries() {
    let mut scene = Scene::new();
    scene.write("v1/a.so", "1");
    scene.write("v2/b.so", "2");
    std::os::unix::fs::symlink("v1", scene.path("plugins")).unwrap();
    let (a, b) = (
        scene.artifact("plugins/a.so"),
        scene.artifact("plugins/b.so"),
    );
    let found = scene
        .watcher
        .watch_directory(scene.path("plugins"))
        .unwrap();
    assert_eq!(found, std::slice::from_ref(&a));
    std::os::unix::fs::symlink("v2", scene.path("new")).unwrap();
    fs::rename(scene.path("new"), scene.path("plugins")).unwrap();
    scene.changed(&b).await;
    scene.removed(&a).await;
    scene.write("v2/c.so", "3");
    let c = scene.artifact("plugins/c.so");
    scene.changed(&c).await;
}
