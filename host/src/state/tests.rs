use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _, process::ExitStatusExt as _},
    process::{Command, Stdio},
};

use bytes::Bytes;

use super::*;

fn app(path: &str) -> ArtifactPath {
    ArtifactPath::new(path).unwrap()
}

fn snapshot(schema: u32, text: &str) -> Snapshot {
    Snapshot {
        schema,
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| !path.ends_with(".lock")).collect();
    files.sort();
    files
}

#[test]
fn what_was_put_is_had_back_by_the_next_host() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (app("/srv/a/libx.so"), app("/srv/b/libx.so"));
    let store = StateStore::open(Some(dir.path())).unwrap();
    assert_eq!(store.get(&one).unwrap(), None);
    store.put(&one, 1, &snapshot(1, "old")).unwrap();
    store.put(&one, 2, &snapshot(2, "new")).unwrap();
    store.put(&two, 3, &snapshot(9, "")).unwrap();
    drop(store);
    let store = StateStore::open(Some(dir.path())).unwrap();
    assert_eq!(store.get(&one).unwrap(), Some(snapshot(2, "new")));
    assert_eq!(store.get(&two).unwrap(), Some(snapshot(9, "")));
    assert_eq!(store.get(&app("/srv/c.so")).unwrap(), None);
}

#[test]
fn an_older_generation_that_saves_later_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let one = app("/srv/libx.so");
    let store = StateStore::open(Some(dir.path())).unwrap();
    store.put(&one, 5, &snapshot(1, "newer")).unwrap();
    store.put(&one, 4, &snapshot(1, "older")).unwrap();
    assert_eq!(store.get(&one).unwrap(), Some(snapshot(1, "newer")));
    drop(store);
    let store = StateStore::open(Some(dir.path())).unwrap();
    assert_eq!(store.get(&one).unwrap(), Some(snapshot(1, "newer")));
}

#[test]
fn each_worker_has_its_own_beside_the_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let of = |worker| Owner {
        app: app("/srv/libx.so"),
        worker,
    };
    let owners = [None, Some(0), Some(1), Some(10)];
    let store = StateStore::open(Some(dir.path())).unwrap();
    for (at, worker) in owners.into_iter().enumerate() {
        store
            .put(of(worker), 7, &snapshot(1, &at.to_string()))
            .unwrap();
    }
    drop(store);
    let store = StateStore::open(Some(dir.path())).unwrap();
    for (at, worker) in owners.into_iter().enumerate() {
        let found = store.get(of(worker)).unwrap();
        assert_eq!(found, Some(snapshot(1, &at.to_string())));
    }
    assert_eq!(store.get(of(Some(2))).unwrap(), None);
}

#[test]
fn two_hosts_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = StateStore::open(Some(dir.path())).unwrap();
    let error = StateStore::open(Some(dir.path())).unwrap_err();
    assert!(matches!(error, StateError::InUse { .. }), "{error}");
    drop(first);
    StateStore::open(Some(dir.path())).unwrap();
}

#[test]
fn a_damaged_file_is_never_half_read_and_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let one = app("/srv/libx.so");
    let write = |text: &str| {
        let store = StateStore::open(Some(dir.path())).unwrap();
        store.put(&one, 1, &snapshot(1, text)).unwrap();
        files(dir.path()).pop().unwrap()
    };
    let file = write("a state of some length");
    let whole = fs::read(&file).unwrap();
    let check = |bytes: &[u8], part: &str| {
        fs::write(&file, bytes).unwrap();
        let store = StateStore::open(Some(dir.path())).unwrap();
        let error = store.get(&one).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        let aside = file.with_extension("broken");
        assert_eq!(fs::read(&aside).unwrap(), bytes);
        assert_eq!(store.get(&one).unwrap(), None);
        fs::remove_file(aside).unwrap();
    };
    for len in 0..whole.len() {
        let part = if len < 48 { "cut short" } else { "hash" };
        check(&whole[..len], part);
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let part = if bit < 16 * 8 { "this version" } else { "hash" };
        check(&flipped, part);
    }
    let mut other_version = whole.clone();
    other_version[13] = b'2';
    check(&other_version, "this version");
    let mut longer = whole.clone();
    longer.push(0);
    check(&longer, "hash");
    let foreign = file::encode(&Owner::from(&app("/srv/liby.so")), &snapshot(1, "x"));
    check(&foreign, "another app's");
}

#[test]
fn what_is_set_aside_stays_when_another_is() {
    let dir = tempfile::tempdir().unwrap();
    let one = app("/srv/libx.so");
    let store = StateStore::open(Some(dir.path())).unwrap();
    store.put(&one, 1, &snapshot(1, "x")).unwrap();
    let file = files(dir.path()).pop().unwrap();
    drop(store);
    let mut asides = Vec::new();
    for number in 0..3 {
        fs::write(&file, format!("damage {number}")).unwrap();
        let store = StateStore::open(Some(dir.path())).unwrap();
        match store.get(&one).unwrap_err() {
            StateError::Damaged { file, .. } => asides.push(file),
            other => panic!("{other}"),
        }
    }
    for (number, aside) in asides.iter().enumerate() {
        let kept = fs::read_to_string(aside).unwrap();
        assert_eq!(kept, format!("damage {number}"));
    }
    assert_eq!(files(dir.path()).len(), 3);
}

#[test]
fn any_path_has_a_file_of_its_own_that_nobody_else_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let store_dir = dir.path().join("deep/er");
    let store = StateStore::open(Some(&store_dir)).unwrap();
    let long = format!("/srv/{}.so", "ä".repeat(120));
    let paths = [
        "/srv/lib x.so",
        "/srv/lib/x.so",
        "/srv/..x",
        "/srv/\n.so",
        &long,
    ];
    let odd = OsStr::from_bytes(b"/srv/\xff\xfe.so");
    let apps: Vec<_> = paths.iter().map(OsStr::new).chain([odd]).collect();
    for (number, path) in apps.iter().enumerate() {
        let path = ArtifactPath::new(path).unwrap();
        let text = format!("{number}");
        store.put(&path, 1, &snapshot(1, &text)).unwrap();
    }
    drop(store);
    let store = StateStore::open(Some(&store_dir)).unwrap();
    for (number, path) in apps.iter().enumerate() {
        let found = store.get(&ArtifactPath::new(path).unwrap()).unwrap();
        assert_eq!(found, Some(snapshot(1, &number.to_string())));
    }
    let files = files(&store_dir);
    assert_eq!(files.len(), apps.len());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert!(files.iter().all(|file| mode(file) == 0o600));
    assert_eq!(mode(&store_dir), 0o700);
}

#[test]
fn a_state_that_cannot_be_written_is_had_in_memory_and_the_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let one = app("/srv/libx.so");
    let store = StateStore::open(Some(dir.path())).unwrap();
    store.put(&one, 1, &snapshot(1, "old")).unwrap();
    let file = files(dir.path()).pop().unwrap();
    // The directory goes: even root cannot write to it then.
    let away = dir.path().with_extension("away");
    fs::rename(dir.path(), &away).unwrap();
    let error = store.put(&one, 2, &snapshot(1, "new")).unwrap_err();
    assert!(matches!(error, StateError::File { .. }), "{error}");
    assert_eq!(store.get(&one).unwrap(), Some(snapshot(1, "new")));
    fs::rename(&away, dir.path()).unwrap();
    drop(store);
    let store = StateStore::open(Some(dir.path())).unwrap();
    assert_eq!(store.get(&one).unwrap(), Some(snapshot(1, "old")));
    assert!(file.exists());
}

#[test]
fn without_a_directory_state_lasts_as_long_as_the_host_and_can_be_copied_out() {
    let one = app("/srv/libx.so");
    let store = StateStore::open(None).unwrap();
    store.put(&one, 1, &snapshot(3, "kept")).unwrap();
    assert_eq!(store.get(&one).unwrap(), Some(snapshot(3, "kept")));
    let dir = tempfile::tempdir().unwrap();
    store.copy_to(dir.path()).unwrap();
    let next = StateStore::open(Some(dir.path())).unwrap();
    assert_eq!(next.get(&one).unwrap(), Some(snapshot(3, "kept")));
}

const WRITER: &str = "REPLUG_TEST_STATE_WRITER";

/// Not a test of its own: what the next one starts, and kills.
#[test]
fn writes_states_until_it_is_killed() {
    let Some(dir) = std::env::var_os(WRITER) else {
        return;
    };
    let one = app("/srv/libx.so");
    let store = StateStore::open(Some(Path::new(&dir))).unwrap();
    for serial in 1.. {
        let text = format!("{serial} ").repeat(2_000);
        store.put(&one, serial, &snapshot(1, &text)).unwrap();
    }
}

#[test]
fn a_host_that_is_killed_while_it_writes_leaves_a_whole_state() {
    let dir = tempfile::tempdir().unwrap();
    let one = app("/srv/libx.so");
    let mut random = fastrand::Rng::with_seed(11);
    let mut seen = 0;
    for _ in 0..200 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::tests::writes_states_until_it_is_killed"])
            .env(WRITER, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Until it has written once more, and then some instructions.
        let written = || {
            files(dir.path())
                .into_iter()
                .find(|it| it.extension().is_some_and(|it| it == "state"))
        };
        let before = written().map(|file| fs::read(file).unwrap_or_default());
        while written().map(|file| fs::read(file).unwrap_or_default()) == before {
            std::hint::spin_loop();
        }
        for _ in 0..random.u32(..200_000) {
            std::hint::spin_loop();
        }
        writer.kill().unwrap();
        assert_eq!(writer.wait().unwrap().signal(), Some(9));
        let store = StateStore::open(Some(dir.path())).unwrap();
        let found = store.get(&one).unwrap().expect("it had written");
        let text = std::str::from_utf8(&found.bytes).unwrap();
        let mut parts = text.split_whitespace();
        let first = parts.next().unwrap();
        assert!(parts.all(|part| part == first), "{text}");
        assert_eq!(files(dir.path()).len(), 1, "{:?}", files(dir.path()));
        seen += 1;
    }
    assert_eq!(seen, 200);
}
