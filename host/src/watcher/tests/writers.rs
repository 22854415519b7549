//! When a writer is done.

use std::io::Write;

use super::*;

#[tokio::test]
async fn a_copy_in_place_is_one_change() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    let new = scene.write("new", vec![7; 8 << 20]);
    fs::copy(new, &path).unwrap();
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_slow_writer_is_waited_for() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    let mut file = fs::File::create(&path).unwrap();
    for _ in 0..5 {
        file.write_all(&[1; 1000]).unwrap();
        file.flush().unwrap();
        scene.silent().await;
    }
    drop(file);
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_slow_writer_of_a_new_file_is_waited_for() {
    let mut scene = Scene::new();
    let path = scene.watch("lib.so");
    let mut file = fs::File::create_new(&path).unwrap();
    file.write_all(&[1; 1000]).unwrap();
    scene.silent().await;
    file.write_all(&[2; 1000]).unwrap();
    drop(file);
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn a_writer_that_never_closes_is_taken_for_done_at_last() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"two").unwrap();
    scene.changed(&path).await;
    drop(file);
    scene.silent().await;
}

#[tokio::test]
async fn cargos_unlink_and_hard_link_is_a_change() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    for round in 0..10 {
        let output = scene.write(&format!("deps/lib{round}.so"), round.to_string());
        fs::remove_file(&path).unwrap();
        fs::hard_link(output, &path).unwrap();
        scene.changed(&path).await;
    }
    scene.silent_for_long().await;
}

#[tokio::test]
async fn removed_and_copied_again_is_one_change() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    let new = scene.write("new", vec![7; 1 << 20]);
    fs::remove_file(&path).unwrap();
    fs::copy(new, &path).unwrap();
    scene.changed(&path).await;
    scene.silent_for_long().await;
}

#[tokio::test]
async fn the_same_length_and_mtime_with_other_bytes_is_a_change() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    modified_at(&path, 1);
    scene.changed(&path).await;
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all(b"two").unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1))
        .unwrap();
    drop(file);
    scene.changed(&path).await;
}

#[tokio::test]
async fn opened_for_writing_and_closed_untouched_is_nothing() {
    let mut scene = Scene::new();
    let path = scene.watched("lib.so", "one").await;
    drop(fs::File::options().append(true).open(&path).unwrap());
    scene.silent().await;
}
