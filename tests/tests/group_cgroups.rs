//! Control groups of workers, in one of version 2 that is made for a test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use replug_tests::{
    artifacts, configured,
    host::{Finished, Host, Site, finish},
    process, until,
};
use rustix::{
    fs::{XattrFlags, setxattr},
    process::Signal,
};

/// A control group, killed and removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None`, and says why, where there can be none.
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let Some(root) = root.and_then(|line| line.split(' ').nth(4)) else {
            eprintln!("not run: no cgroup of version 2 is mounted here");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("replug.test.{}.{number}", std::process::id());
        let directory = Path::new(root).join(name);
        if let Err(error) = fs::create_dir(&directory) {
            eprintln!("not run: cannot make {}: {error}", directory.display());
            return None;
        }
        Some(Self(directory))
    }

    /// One that is said to be delegated, as systemd says it.
    fn delegated() -> Option<Self> {
        let cgroup = Self::new()?;
        setxattr(&cgroup.0, "user.delegate", b"1", XattrFlags::empty()).unwrap();
        Some(cgroup)
    }

    fn controls_memory(&self) -> bool {
        let controllers = fs::read_to_string(self.0.join("cgroup.controllers")).unwrap();
        controllers.split_whitespace().any(|it| it == "memory")
    }

    /// What is below it.
    fn below(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        let groups = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        groups
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    }

    /// `replug serve` for that site, begun in there.
    fn command(&self, site: &Site) -> Command {
        let serve = site.command("serve");
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 >\"$0\"/cgroup.procs && exec \"$@\""])
            .arg(&self.0)
            .arg(serve.get_program())
            .args(serve.get_args())
            .args(["--listen", "127.0.0.1:0"])
            .current_dir(site.path());
        command
    }

    async fn serve(&self, site: &Site) -> Host {
        let host = Host::spawn(self.command(site), None).await;
        host.event("ready").await;
        host
    }

    /// Where a process is, from here on.
    fn place_of(&self, process: &str) -> String {
        let name = self.0.file_name().unwrap().to_str().unwrap();
        let line = process.lines().find(|line| line.starts_with("0::"));
        let (_, place) = line.unwrap().split_once(name).unwrap_or_else(|| {
            panic!("{line:?} is not below {name}");
        });
        place.trim_start_matches('/').to_owned()
    }

    /// Where a worker is.
    async fn place_of_worker(&self, host: &Host) -> String {
        self.place_of(&host.get("/read?path=/proc/self/cgroup").await)
    }

    fn place_of_host(&self, host: &Host) -> String {
        let path = format!("/proc/{}/cgroup", host.pid());
        self.place_of(&fs::read_to_string(path).unwrap())
    }

    /// A process of nobody's in one of those below.
    fn leave(&self, place: &str) -> Child {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let list = self.0.join(place).join("cgroup.procs");
        fs::write(list, child.id().to_string()).unwrap();
        child
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fn remove(directory: &Path) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove(&entry.path());
                }
            }
            let _ = fs::remove_dir(directory);
        }
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let events = self.0.join("cgroup.events");
        while fs::read_to_string(&events).is_ok_and(|text| text.contains("populated 1")) {
            std::thread::yield_now();
        }
        remove(&self.0);
    }
}

fn site(options: &str) -> Site {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let config = format!(
        "[groups.held]\nthreads = 2\n{options}\n\
         [apps.fixture-probe]\npath = {:?}\ngroup = \"held\"\nmount = \"/\"\n",
        site.library("probe"),
    );
    configured::write(&site, &config);
    site
}

async fn ended(mut child: Child) {
    until("the end of what was left", async || {
        child.try_wait().unwrap()
    })
    .await;
}

#[tokio::test]
async fn workers_of_a_delegated_host_have_a_control_group_each_which_ends_with_them() {
    let Some(cgroup) = Cgroup::delegated() else {
        return;
    };
    let site = site("memory-limit = \"512M\"");
    let mut host = cgroup.serve(&site).await;
    let limits = host.event("limits").await;
    let limits = limits.text("message").to_owned();
    assert!(limits.contains("a control group for each"), "{limits}");
    assert_eq!(limits.contains("memory.max"), cgroup.controls_memory());
    assert_eq!(cgroup.place_of_host(&host), "replug-supervisor");

    let place = cgroup.place_of_worker(&host).await;
    let area = format!("replug-{}-1", host.pid());
    assert_eq!(place, format!("{area}/held-0-1"));
    if cgroup.controls_memory() {
        let limit = fs::read_to_string(cgroup.0.join(&place).join("memory.max"));
        assert_eq!(limit.unwrap(), "536870912\n");
    }
    // Nothing is in the way of controllers, of which one is enough to show that.
    let controllers = fs::read_to_string(cgroup.0.join("cgroup.controllers")).unwrap();
    match controllers.split_whitespace().next() {
        Some(one) => {
            fs::write(cgroup.0.join("cgroup.subtree_control"), format!("+{one}")).unwrap();
        }
        None => eprintln!("not tried: no controller is here"),
    }
    // What a worker has left goes with it, and the next one has a group of its own.
    let left = cgroup.leave(&place);
    let pid = site.status().await["apps"][0]["workers"][0]["pid"].clone();
    process::signal(pid.as_u64().unwrap(), Signal::KILL);
    ended(left).await;
    host.event("worker-started").await;
    assert_eq!(
        cgroup.place_of_worker(&host).await,
        format!("{area}/held-0-2")
    );
    assert!(!cgroup.0.join(&place).exists());

    // The next image is in that leaf from its beginning on.
    let restarted = site.ask(&["restart"]).await;
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    assert_eq!(cgroup.place_of_host(&host), "replug-supervisor");
    let place = cgroup.place_of_worker(&host).await;
    assert!(place.ends_with("/held-0-1"), "{place}");

    assert!(host.terminate().await.success());
    assert_eq!(cgroup.below(), ["replug-supervisor"]);
    assert_eq!(host.log.all(|event| event.kind() == "cgroup-left"), []);
}

#[tokio::test]
async fn what_a_killed_host_leaves_in_control_groups_is_removed_by_the_next_start() {
    let Some(cgroup) = Cgroup::delegated() else {
        return;
    };
    let site = site("cgroup = \"required\"");
    let mut host = cgroup.serve(&site).await;
    let place = cgroup.place_of_worker(&host).await;
    let left = cgroup.leave(&place);
    host.signal(Signal::KILL);
    assert!(!host.exit().await.success());
    let area = format!("replug-{}-1", host.pid());
    assert!(cgroup.below().contains(&area), "{:?}", cgroup.below());
    drop(host);

    // From elsewhere, by its path. Another host's is left alone.
    let path = cgroup.0.to_str().unwrap();
    let site = self::site(&format!("cgroup = {path:?}"));
    let mut host = site.serve(&[]).await;
    host.event("cgroup-swept").await;
    ended(left).await;
    assert!(!cgroup.below().contains(&area), "{:?}", cgroup.below());
    let place = cgroup.place_of_worker(&host).await;
    assert!(place.ends_with("/held-0-1"), "{place}");
    let other = self::site(&format!("cgroup = {path:?}"));
    let other = other.serve(&[]).await;
    assert_eq!(cgroup.place_of_worker(&host).await, place);
    assert_ne!(cgroup.place_of_worker(&other).await, place);
    drop(other);
    assert!(host.terminate().await.success());
    let area = format!("replug-{}-1", host.pid());
    assert!(!cgroup.below().contains(&area), "{:?}", cgroup.below());
}

#[tokio::test]
async fn a_container_s_own_control_group_is_the_host_s() {
    let Some(cgroup) = Cgroup::new() else {
        return;
    };
    let site = site("cgroup = \"required\"");
    // As a container has it: the highest that it sees, mounted there.
    let mounted = site.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let mount = "mount -t cgroup2 none \"$0\"";
    let contained = |command: &str| {
        let mut contained = Command::new("unshare");
        let inner = format!("{mount} && {command}");
        contained.args(["--cgroup", "--mount", "sh", "-c", &inner]);
        contained.arg(&mounted);
        contained
    };
    let may = contained("true").output();
    if !may.as_ref().is_ok_and(|it| it.status.success()) {
        eprintln!("not run: there are no namespaces of control groups here: {may:?}");
        return;
    }
    let contained = contained("exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo 0 >\"$0\"/cgroup.procs && exec \"$@\""])
        .arg(&cgroup.0)
        .arg(contained.get_program())
        .args(contained.get_args());
    let serve = site.command("serve");
    command
        .arg(serve.get_program())
        .args(serve.get_args())
        .args(["--listen", "127.0.0.1:0"])
        .current_dir(site.path());
    let mut host = Host::spawn(command, None).await;
    host.event("ready").await;
    assert_eq!(cgroup.place_of_host(&host), "replug-supervisor");
    let seen = host.get("/read?path=/proc/self/cgroup").await;
    let place = format!("0::/replug-{}-1/held-0-1", host.pid());
    assert!(seen.lines().any(|line| line == place), "{seen}");
    assert!(host.terminate().await.success());
    assert_eq!(cgroup.below(), ["replug-supervisor"]);
}

#[tokio::test]
async fn control_groups_that_must_be_and_cannot_are_no_start() {
    let Some(cgroup) = Cgroup::new() else {
        return;
    };
    let check = async |cgroup: &Cgroup, options: &str, words: &[&str]| {
        let site = site(options);
        let serve: Finished = finish(cgroup.command(&site)).await;
        assert_eq!(serve.code, Some(3), "{serve:?}");
        for word in words {
            assert!(serve.stderr.contains(word), "{word:?} in {serve:?}");
        }
        assert_eq!(cgroup.below(), [""; 0]);
    };
    let required = "cgroup = \"required\"";
    let missing = ["group `held`", "is not delegated", "Delegate=yes"];
    check(&cgroup, required, &missing).await;
    let elsewhere = format!("cgroup = {:?}", std::env::temp_dir());
    check(&cgroup, &elsewhere, &["is no control group of version 2"]).await;

    let Some(cgroup) = Cgroup::delegated() else {
        return;
    };
    if cgroup.controls_memory() {
        eprintln!("not run: memory is controlled here");
    } else {
        let limited = format!("{required}\nmemory-limit = \"512M\"");
        let missing = ["has no controller of memory", "Delegate=yes"];
        check(&cgroup, &limited, &missing).await;
    }
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(cgroup.0.join("cgroup.procs"), other.id().to_string()).unwrap();
    let named = format!(" {} (sleep)", other.id());
    check(&cgroup, required, &[&named, "without processes"]).await;
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn a_host_to_which_nothing_is_delegated_does_without_and_says_by_what_its_limits_hold() {
    let Some(cgroup) = Cgroup::new() else {
        return;
    };
    let site = site("memory-limit = \"512M\"\ncpu-time-limit = \"60s\"");
    let host = cgroup.serve(&site).await;
    let limits = host.event("limits").await;
    for words in [
        "memory-limit 512.0 MiB by RLIMIT_DATA, cpu-time-limit 1m by RLIMIT_CPU",
        "; no control groups: the control group ",
        " is not delegated",
    ] {
        assert!(limits.text("message").contains(words), "{limits}");
    }
    assert_eq!(cgroup.place_of_worker(&host).await, "");
    assert_eq!(cgroup.place_of_host(&host), "");
    assert_eq!(cgroup.below(), [""; 0]);
    let validated = configured::validate(&site, &["--group-option=cgroup=required"]).await;
    assert_eq!(validated.code, Some(0), "{validated:?}");
    let validated = configured::validate(&site, &["--group-option=cgroup=off"]).await;
    let line =
        "  from here: memory-limit 512.0 MiB by RLIMIT_DATA, cpu-time-limit 1m by RLIMIT_CPU\n";
    assert!(validated.stdout.contains(line), "{validated:?}");
}
