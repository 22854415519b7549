use super::*;

fn limited(spec: ChildSpec, limits: Limits) -> ChildSpec {
    ChildSpec { limits, ..spec }
}

const NO_CORE: Limits = Limits {
    memory: None,
    cpu_time: None,
    core: Some(0),
};

fn killed_by(death: Death) -> i32 {
    match death {
        Death::Signalled { signal, .. } => signal,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_child_that_allocates_more_than_it_may_is_stopped() {
    let limits = Limits {
        memory: Some(256 << 20),
        ..NO_CORE
    };
    let (death, lines) = run(limited(roles::role("allocate"), limits)).await;
    assert_eq!(killed_by(death), libc::SIGABRT);
    let told = |line: &Line| line.text.starts_with("memory allocation of");
    assert!(lines.iter().any(told), "{lines:?}");
}

#[tokio::test]
async fn a_child_that_spins_is_ended_by_a_signal_that_tells_why() {
    let limits = Limits {
        cpu_time: Some(1),
        ..NO_CORE
    };
    let (death, _) = run(limited(sh("while :; do :; done"), limits)).await;
    assert_eq!(killed_by(death), libc::SIGXCPU);
    // A second later by one that cannot be ignored.
    let stubborn = sh("trap '' XCPU; while :; do :; done");
    let (death, _) = run(limited(stubborn, limits)).await;
    assert_eq!(killed_by(death), libc::SIGKILL);
}

#[tokio::test]
async fn limits_are_those_that_were_asked_for_and_others_stay() {
    let shown = "for of in c d t v; do echo $of $(ulimit -S -$of) $(ulimit -H -$of); done";
    let limits = Limits {
        memory: Some(1 << 30),
        cpu_time: Some(100),
        core: Some(0),
    };
    let lines = output(limited(sh(shown), limits)).await;
    assert_eq!(lines[..3], ["c 0 0", "d 1048576 1048576", "t 100 101"]);
    let before = output(sh(shown)).await;
    assert_eq!(lines[3], before[3]);
}

#[tokio::test]
async fn a_limit_above_this_process_s_own_takes_root() {
    let own = rustix::process::getrlimit(rustix::process::Resource::Data).maximum;
    if is_root() || own.is_none() {
        return;
    }
    let limits = Limits {
        memory: Some(u64::MAX - 1),
        ..NO_CORE
    };
    let (step, message) = refused(limited(sh(""), limits)).await;
    assert_eq!(step, Step::Memory);
    assert!(message.contains("lower limit"), "{message}");
}

#[tokio::test]
async fn a_nice_value_below_this_process_s_own_takes_root() {
    let spec = ChildSpec {
        nice: Some(-5),
        ..sh("nice")
    };
    if is_root() {
        assert_eq!(output(spec).await, ["-5"]);
    } else {
        assert_eq!(refused(spec).await.0, Step::Nice);
    }
}

#[tokio::test]
async fn a_child_is_batch_work_if_that_is_wanted() {
    // `policy`, the last but a few of the fields behind the name (proc_pid_stat(5)).
    let policy = "sed 's/.*) //' /proc/self/stat | cut -d' ' -f39";
    let usual = libc::SCHED_OTHER.to_string();
    let batch = libc::SCHED_BATCH.to_string();
    for (wanted, expected) in [
        (None, usual),
        (Some(Batch::Wanted), batch.clone()),
        (Some(Batch::Required), batch),
    ] {
        let spec = ChildSpec {
            batch: wanted,
            ..sh(policy)
        };
        assert_eq!(output(spec).await, [expected]);
    }
}

/// A group below that of this process, if control groups of version 2 are there and this user's.
fn below_this() -> Option<std::path::PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|root| Path::new(root).join("cgroup.procs").exists())?;
    let directory = Path::new(root).join(own).join(
        format!("replug-test-{}-{:?}", std::process::id(), Instant::now())
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
    );
    fs::create_dir(&directory).ok()?;
    fs::remove_dir(&directory).ok()?;
    Some(directory)
}

fn grouped(spec: ChildSpec, directory: &Path, memory_max: Option<u64>) -> ChildSpec {
    ChildSpec {
        cgroup: Some(Cgroup {
            directory: directory.to_owned(),
            memory_max,
        }),
        ..spec
    }
}

#[tokio::test]
async fn a_child_lives_in_its_control_group_which_ends_with_it_and_all_in_there() {
    let Some(directory) = below_this() else {
        let cgroup = grouped(sh(""), Path::new("/proc/none"), None);
        assert_eq!(refused(cgroup).await.0, Step::Cgroup);
        return;
    };
    let name = directory.file_name().unwrap().to_str().unwrap();
    let script = "grep ^0:: /proc/self/cgroup; sleep 1000 >&- 2>&- & echo $!";
    let lines = output(grouped(sh(script), &directory, None)).await;
    assert!(lines[0].ends_with(name), "{lines:?}");
    assert!(!directory.exists());
    let left = format!("/proc/{}", lines[1]);
    until(|| {
        !Path::new(&left).exists()
            || fs::read_to_string(format!("{left}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
    // One that is refused later leaves no group, and a group that is in use is nobody's.
    let spec = ChildSpec {
        directory: Some("/no/such".into()),
        ..grouped(sh(""), &directory, None)
    };
    assert_eq!(refused(spec).await.0, Step::Directory);
    assert!(!directory.exists());
    let child = look_at(grouped(stopped(""), &directory, None)).await;
    let (step, _) = refused(grouped(sh(""), &directory, None)).await;
    assert_eq!(step, Step::Cgroup);
    kill(child).await;
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_child_that_uses_all_memory_of_its_control_group_is_known_to_have() {
    let Some(directory) = below_this() else {
        return;
    };
    let spec = grouped(roles::role("allocate"), &directory, Some(64 << 20));
    let controls = directory.parent().unwrap().join("cgroup.subtree_control");
    if fs::read_to_string(controls).unwrap().contains("memory") {
        assert_eq!(run(spec).await.0, Death::OutOfMemory);
    } else {
        let (step, message) = refused(spec).await;
        assert_eq!(step, Step::Cgroup);
        assert!(message.contains("+memory"), "{message}");
    }
    assert!(!directory.exists());
}
