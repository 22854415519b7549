//! A change is seen, however it is made, and what is no change is none.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use replug_tests::{
    artifacts,
    deploy::{Way, touch},
    host::Site,
};

#[tokio::test]
async fn a_library_is_reloaded_however_it_is_put_in_place() {
    for way in Way::ALL {
        for folder in [false, true] {
            let site = Site::new();
            let path = site.library("probe");
            let first = if way == Way::SymbolicLink {
                way
            } else {
                Way::Rename
            };
            artifacts::probe(1).install_by(first, &path);
            let (host, url) = if folder {
                (site.serve_apps(&[]).await, "/fixture-probe/")
            } else {
                (site.serve_library("probe", &[]).await, "/")
            };
            let mut connection = host.connect().await;
            for version in 2..=4 {
                artifacts::probe(version).install_by(way, &path);
                host.until_text(&mut connection, url, &format!("version {version}\n"))
                    .await;
            }
            assert_eq!(
                host.log.all(|event| event.kind() == "refused"),
                [],
                "{way:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_library_dropped_into_the_folder_is_mounted() {
    for way in Way::ALL {
        let site = Site::new();
        site.install("hello", &artifacts::library("hello"));
        let host = site.serve_apps(&[]).await;
        artifacts::probe(1).install_by(way, &site.library("probe"));
        let serving = host.serving("fixture-probe", 1).await;
        assert_eq!(serving.text("mount"), "/fixture-probe", "{way:?}");
        let mut connection = host.connect().await;
        assert_eq!(connection.text("/fixture-probe/").await, "version 1\n");
        assert_eq!(connection.text("/hello").await, "hello\n");
    }
}

#[tokio::test]
async fn a_library_that_is_removed_is_drained_and_unmounted_and_comes_back() {
    for folder in [false, true] {
        let site = Site::new();
        let path = site.install("probe", &artifacts::probe(1));
        let (host, mount) = if folder {
            (site.serve_apps(&[]).await, "/fixture-probe")
        } else {
            (site.serve_library("probe", &[]).await, "")
        };
        let mut connection = host.connect_http2().await;
        let slow = connection.begin(&format!("{mount}/sleep?ms=300")).await;
        fs::remove_file(&path).unwrap();
        let unmounted = host.event("unmounted").await;
        assert_eq!(unmounted.text("app"), "fixture-probe");
        assert_eq!(unmounted.text("path"), path.to_str().unwrap());
        assert_eq!(connection.get(&format!("{mount}/")).await.status, 404);
        assert_eq!(slow.answer().await.unwrap().text, "version 1\n");
        host.retired("fixture-probe", 1).await;
        assert_eq!(host.staged(), Vec::<std::path::PathBuf>::new());
        artifacts::probe(2).install(&path);
        host.until_text(&mut connection, &format!("{mount}/"), "version 2\n")
            .await;
    }
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_waited_for() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let mut connection = host.connect().await;
    let new = artifacts::probe(2);
    let mut write = new.begin_to_write(&path).unwrap();
    let part = new.bytes().len() / 200 + 1;
    while write.write(part) {
        for _ in 0..20 {
            assert_eq!(connection.text("/").await, "version 1\n");
        }
    }
    drop(write);
    host.serving("fixture-probe", 2).await;
    assert_eq!(connection.text("/").await, "version 2\n");
    assert_eq!(host.log.all(|event| event.kind() == "refused"), []);
}

#[tokio::test]
async fn a_touch_reloads_and_a_change_of_permissions_does_not() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let mut connection = host.connect().await;
    for mode in [0o644, 0o755, 0o600] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        connection.text("/").await;
    }
    touch(&path);
    host.serving("fixture-probe", 2).await;
    assert_eq!(connection.text("/").await, "version 1\n");
    // Had the permissions counted, this would not be the third.
    artifacts::probe(2).install(&path);
    host.serving("fixture-probe", 3).await;
    assert_eq!(connection.text("/").await, "version 2\n");
}

#[tokio::test]
async fn a_touch_that_opens_nothing_reloads() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    // Seen as a change of attributes only, with no writer that closes the file.
    fs::File::open(&path)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    host.serving("fixture-probe", 2).await;
}

#[tokio::test]
async fn an_older_file_that_is_restored_is_reloaded() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let kept = site.path().join("kept.so");
    fs::hard_link(&path, &kept).unwrap();
    let host = site.serve_library("probe", &[]).await;
    let mut connection = host.connect().await;
    artifacts::probe(2).install(&path);
    host.serving("fixture-probe", 2).await;
    fs::rename(&kept, &path).unwrap();
    host.serving("fixture-probe", 3).await;
    assert_eq!(connection.text("/").await, "version 1\n");
}

#[tokio::test]
async fn a_link_to_a_folder_of_a_release_is_followed() {
    let site = Site::new();
    let release = |version: u64| {
        let folder = site.path().join(format!("release-{version}"));
        fs::create_dir(&folder).unwrap();
        artifacts::probe(version).install(&folder.join("libprobe.so"));
        folder
    };
    let current = site.path().join("current");
    std::os::unix::fs::symlink(release(1), &current).unwrap();
    let path = current.join("libprobe.so");
    let host = site.serve(&[path.to_str().unwrap()]).await;
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/").await, "version 1\n");
    switch(&current, &release(2));
    host.until_text(&mut connection, "/", "version 2\n").await;
}

fn switch(link: &Path, target: &Path) {
    let new = link.with_extension("new");
    std::os::unix::fs::symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

#[tokio::test]
async fn many_changes_in_a_row_end_with_the_last_version() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let mut connection = host.connect().await;
    for version in 2..=60 {
        let way = Way::ALL[usize::try_from(version).unwrap() % Way::ALL.len()];
        // A copy in place goes through a link to the file behind it, which is another app's then.
        let way = if way == Way::SymbolicLink {
            Way::Rename
        } else {
            way
        };
        artifacts::probe(version).install_by(way, &path);
    }
    host.until_text(&mut connection, "/", "version 60\n").await;
    host.log
        .wait_for("only one generation left", |event| {
            event.kind() == "retired" && host.staged().len() == 1
        })
        .await;
    assert_eq!(host.log.other_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn files_that_are_no_libraries_are_left_alone() {
    let site = Site::new();
    site.install("hello", &artifacts::library("hello"));
    fs::write(site.apps().join("README.md"), "read me").unwrap();
    fs::create_dir(site.apps().join("folder.so")).unwrap();
    let host = site.serve_apps(&[]).await;
    fs::write(site.apps().join("notes.txt"), "more").unwrap();
    fs::write(site.apps().join(".libprobe.so.tmp"), "being written").unwrap();
    site.install("probe", &artifacts::probe(1));
    host.serving("fixture-probe", 1).await;
    assert_eq!(host.log.all(|event| event.kind() == "refused"), []);
}
