use std::process::{Command, Stdio};

use super::*;
use crate::process::cgroup::files::is_populated;

/// A directory with the files of a control group, and that says of itself to have those controllers.
fn plain(controllers: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("cgroup.controllers", controllers),
        ("cgroup.events", "populated 0\n"),
        ("cgroup.procs", ""),
        ("cgroup.subtree_control", ""),
        ("cgroup.type", "domain\n"),
    ] {
        fs::write(dir.path().join(file), text).unwrap();
    }
    dir
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn control_of_memory_is_handed_on_at_both_levels() {
    let site = plain("cpuset cpu memory pids\n");
    let look = Site::of(site.path()).unwrap();
    assert!(look.limits_memory());
    assert_eq!(read(&site.path().join("cgroup.subtree_control")), "");
    let area = Area::make(&look).unwrap();
    for directory in [site.path(), area.directory()] {
        assert_eq!(read(&directory.join("cgroup.subtree_control")), "+memory");
    }
    assert!(area.directory().starts_with(site.path()));
    assert_ne!(area.place("blue"), area.place("blue"));
    // Nobody is to be moved from where nobody is.
    assert!(!site.path().join(LEAF).exists());
}

#[test]
fn a_site_without_memory_is_one_all_the_same() {
    let site = plain("cpu memory_other\n");
    let area = Area::make(&Site::of(site.path()).unwrap()).unwrap();
    assert!(!area.limits_memory());
    assert!(!area.directory().join("cgroup.subtree_control").exists());
}

#[test]
fn a_host_goes_to_a_leaf_with_all_that_it_has_started() {
    let site = plain("memory\n");
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let list = site.path().join("cgroup.procs");
    let pids = [std::process::id(), child.id()];
    fs::write(&list, format!("{}\n{}\n", pids[0], pids[1])).unwrap();
    let look = Site::of(site.path());
    child.kill().unwrap();
    child.wait().unwrap();
    look.unwrap().prepare().unwrap();
    // What was written last stays.
    let moved = read(&site.path().join(LEAF).join("cgroup.procs"));
    assert_eq!(moved, pids[1].to_string());
}

#[test]
fn processes_of_others_keep_a_site_from_being_one() {
    let site = plain("memory\n");
    let parent = std::os::unix::process::parent_id();
    fs::write(site.path().join("cgroup.procs"), format!("{parent}\n0\n")).unwrap();
    let error = Site::of(site.path()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!(" {parent} (")), "{text}");
    assert!(error.remedy().contains("without"), "{}", error.remedy());
}

#[test]
fn an_area_in_use_is_left_alone() {
    let site = plain("");
    let look = Site::of(site.path()).unwrap();
    let one = Area::make(&look).unwrap();
    let other = Area::make(&look).unwrap();
    assert_ne!(one.directory(), other.directory());
    assert!(one.directory().is_dir() && other.directory().is_dir());
}

#[test]
fn a_directory_of_another_kind_is_no_site() {
    let error = Site::look(plain("memory").path()).unwrap_err();
    assert!(matches!(error, Unusable::NotOne(_)), "{error}");
    let error = Site::look(Path::new("/no/such")).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot find /no/such"),
        "{error}"
    );
}

/// A control group of version 2 for one test, or why there can be none.
fn real() -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let root = root.and_then(|line| line.split(' ').nth(4));
    let root = root.ok_or("no cgroup of version 2 is mounted")?;
    let name = format!("test-{}-{}", std::process::id(), fastrand::u32(..));
    let directory = Path::new(root).join(name);
    let made = fs::create_dir(&directory);
    made.map_err(|error| format!("{}: {error}", directory.display()))?;
    Ok(directory)
}

#[test]
fn what_a_host_left_is_killed_and_removed_by_the_next() {
    let directory = match real() {
        Ok(directory) => directory,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let site = Site::look(&directory).unwrap();
    // As one whose process is gone: nobody has it locked.
    let left = directory.join("replug-1-1/blue-1");
    fs::create_dir_all(&left).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "echo 0 >$0/cgroup.procs; echo in; exec sleep 1000"])
        .arg(&left)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 3];
    io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
    assert!(is_populated(&left).unwrap());
    let other = directory.join("replug-others");
    fs::create_dir(&other).unwrap();

    let area = Area::make(&site).unwrap();
    assert!(!left.parent().unwrap().exists());
    let died = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&died),
        Some(libc::SIGKILL)
    );
    // What is named otherwise is somebody else's.
    assert!(other.exists());
    assert!(area.directory().exists());
    fs::remove_dir(&other).unwrap();
    drop(area);
    // Empty again.
    fs::remove_dir(&directory).unwrap();
}
