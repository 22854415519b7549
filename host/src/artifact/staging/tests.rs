use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use super::*;

struct Place {
    dir: TempDir,
    area: StagingArea,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let area = StagingArea::new(Some(dir.path())).unwrap();
        Self { dir, area }
    }

    fn path(&self, name: &str) -> ArtifactPath {
        ArtifactPath::new(self.dir.path().join(name)).unwrap()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> ArtifactPath {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn refused(&self, path: &ArtifactPath) -> StageError {
        let error = self.area.stage(path, 1).unwrap_err();
        assert!(error.to_string().contains(&path.to_string()), "{error}");
        assert!(!error.remedy().is_empty());
        assert_eq!(
            fs::read_dir(self.area.path()).unwrap().count(),
            0,
            "left something"
        );
        error
    }
}

#[test]
fn a_copy_has_a_new_name_a_new_inode_and_the_same_bytes() {
    let place = Place::new();
    let source = place.file("libhello.so", b"bytes");
    let first = place.area.stage(&source, 6).unwrap();
    let second = place.area.stage(&source, 7).unwrap();
    assert_eq!(second.path().file_name().unwrap(), "libhello.7.so");
    assert_eq!(fs::read(second.path()).unwrap(), b"bytes");
    assert_eq!(*second.digest(), Digest::from(blake3::hash(b"bytes")));
    assert_eq!(
        *second.fingerprint(),
        Fingerprint::of_path(source.as_path()).unwrap()
    );
    assert_eq!(second.size(), 5);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_ne!(inode(first.path()), inode(second.path()));
    assert_ne!(inode(source.as_path()), inode(second.path()));
}

#[test]
fn a_copy_keeps_its_bytes_when_the_original_is_overwritten() {
    let place = Place::new();
    let source = place.file("libhello.so", b"old");
    let staged = place.area.stage(&source, 1).unwrap();
    fs::write(&source, b"new bytes").unwrap();
    assert_eq!(fs::read(staged.path()).unwrap(), b"old");
}

#[test]
fn copies_go_with_their_owner_and_are_for_one_user() {
    let place = Place::new();
    let source = place.file("libhello.so", b"bytes");
    let staged = place.area.stage(&source, 1).unwrap();
    let copy = staged.path().to_owned();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&copy), 0o600);
    assert_eq!(mode(place.area.path()), 0o700);
    drop(staged);
    assert!(!copy.exists());
    let area = place.area.path().to_owned();
    drop(place.area);
    assert!(!area.exists());
}

#[test]
fn a_link_is_followed() {
    let place = Place::new();
    place.file("libhello-v2.so", b"two");
    let link = place.path("libhello.so");
    symlink("libhello-v2.so", &link).unwrap();
    let staged = place.area.stage(&link, 1).unwrap();
    assert_eq!(staged.source(), &link);
    assert_eq!(fs::read(staged.path()).unwrap(), b"two");
}

#[test]
fn what_is_no_readable_file_is_refused_by_name() {
    let place = Place::new();
    let missing = place.refused(&place.path("missing.so"));
    assert!(matches!(
        missing,
        StageError::Open(OpenError::Missing { .. })
    ));
    let below_a_file = place.file("file", b"x").as_path().join("x.so");
    let below_a_file = place.refused(&ArtifactPath::new(below_a_file).unwrap());
    assert!(matches!(
        below_a_file,
        StageError::Open(OpenError::Missing { .. })
    ));

    fs::create_dir(place.path("dir.so")).unwrap();
    let directory = place.refused(&place.path("dir.so"));
    assert!(
        directory.to_string().contains("is a directory"),
        "{directory}"
    );

    let socket = place.path("socket.so");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let socket = place.refused(&socket);
    assert!(socket.to_string().contains("is a socket"), "{socket}");
    assert!(!socket.maybe_incomplete());
}

#[test]
fn an_empty_file_may_be_a_linkers_beginning() {
    let place = Place::new();
    let empty = place.refused(&place.file("empty.so", b""));
    assert!(matches!(empty, StageError::Open(OpenError::Empty { .. })));
    assert!(empty.maybe_incomplete());
}

#[test]
fn an_unreadable_file_is_refused_as_such() {
    // Nothing is unreadable to root.
    if rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let source = place.file("secret.so", b"bytes");
    fs::set_permissions(&source, Permissions::from_mode(0o000)).unwrap();
    let error = place.refused(&source);
    assert!(matches!(
        error,
        StageError::Open(OpenError::Unreadable { .. })
    ));
    assert!(error.remedy().contains("right to read"));
}

#[test]
fn a_file_that_is_being_written_is_changing_or_has_its_length() {
    const SIZE: usize = 4 << 20;
    let place = Place::new();
    let source = place.file("libhello.so", &vec![0; SIZE]);
    let target = source.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let file = OpenOptions::new().write(true).open(&target).unwrap();
        for round in 1..=u8::MAX {
            for at in (0..SIZE).step_by(SIZE / 64) {
                let bytes = vec![round; SIZE / 64];
                std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at as u64).unwrap();
            }
            if stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                return;
            }
        }
    });
    for serial in 0..20 {
        match place.area.stage(&source, serial) {
            Ok(staged) => assert_eq!(fs::metadata(staged.path()).unwrap().len(), SIZE as u64),
            Err(error) => assert!(matches!(error, StageError::Changing { .. }), "{error}"),
        }
    }
    stop.send(()).ok();
    writer.join().unwrap();
    assert!(place.area.stage(&source, 99).is_ok());
}

#[test]
fn a_staging_directory_that_cannot_be_made_is_named() {
    let error = StagingArea::new(Some(Path::new("/nonexistent/place"))).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/place"));
    assert!(error.remedy().contains("--staging-dir"));
}

#[test]
fn long_and_odd_names_still_give_a_file_name() {
    assert_eq!(staged_name(Path::new("/x/libhello.so"), 7), "libhello.7.so");
    assert_eq!(staged_name(Path::new("/x/libhello"), 7), "libhello.7");
    assert_eq!(staged_name(Path::new("/"), 7), "artifact.7");
    let long = format!("/x/{}.so", "y".repeat(250));
    assert_eq!(staged_name(Path::new(&long), 7), "artifact.7.so");
}

#[test]
fn what_another_process_has_copied_is_taken_itself_and_left_to_it() {
    let place = Place::new();
    let source = place.file("libx.so", b"bytes");
    let made = place.area.stage(&source, 1).unwrap();
    let other = StagingArea::new(Some(place.dir.path())).unwrap();
    let handed = other.handed(made.path(), &source, *made.digest()).unwrap();
    assert_eq!(handed.path(), made.path());
    assert_eq!(handed.source(), &source);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
    drop(handed);
    assert_eq!(fs::read(made.path()).unwrap(), b"bytes");
    let gone = made.path().to_owned();
    drop(made);
    let error = other.handed(&gone, &source, blake3::hash(b"").into());
    assert!(error.unwrap_err().to_string().contains("libx.so"));
}
