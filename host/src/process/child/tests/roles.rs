//! What this program does as a child of a test's.
//!
//! Its standard error is what tests read: on standard output the test harness writes, too.

use rustix::process::{getpid, set_child_subreaper};

use super::*;

/// This very program, in a role.
pub(super) fn role(name: &str) -> ChildSpec {
    let test = concat!(module_path!(), "::this_program_in_a_role");
    let test = test.split_once("::").unwrap().1;
    ChildSpec {
        // On the first thread, with one alone.
        args: [
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ]
        .map(Into::into)
        .to_vec(),
        environment: Environment {
            inherit: true,
            set: vec![("REPLUG_TEST_ROLE".into(), name.into())],
        },
        ..ChildSpec::default()
    }
}

#[test]
#[ignore = "what other tests start"]
fn this_program_in_a_role() {
    let Ok(role) = std::env::var("REPLUG_TEST_ROLE") else {
        return;
    };
    match role.as_str() {
        "allocate" => allocate(),
        "parent" => run_on_a_thread(parent()),
        "parent-as-another" => run_on_a_thread(parent_as_another()),
        "many" => runtime().block_on(many()),
        "process-1" => runtime().block_on(process_1()),
        "patient" => runtime().block_on(patient()),
        other => panic!("no role {other}"),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Takes memory until there is no more.
fn allocate() {
    let mut kept = Vec::new();
    for _ in 0..4096 {
        // Touched, so that it is the memory itself that is limited.
        kept.push(vec![1_u8; 1 << 20]);
    }
    eprintln!("{} MiB", kept.len());
}

fn stop() {
    rustix::process::kill_process(getpid(), Signal::STOP).unwrap();
}

/// On a thread that ends before its children do.
fn run_on_a_thread(starting: impl Future<Output = Child> + Send + 'static) {
    let (runtime, child) = std::thread::spawn(move || {
        let runtime = runtime();
        let child = runtime.block_on(starting);
        (runtime, child)
    })
    .join()
    .unwrap();
    let status = rustix::process::waitid(
        rustix::process::WaitId::PidFd(child.as_fd()),
        rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG,
    );
    assert!(
        matches!(status, Ok(None)),
        "dead with the thread: {status:?}"
    );
    eprintln!("child {}", child.pid());
    stop();
    drop(runtime);
}

async fn parent() -> Child {
    look_at(stopped("")).await
}

async fn parent_as_another() -> Child {
    look_at(ChildSpec {
        identity: Some(identities::another()),
        ..stopped("")
    })
    .await
}

/// 500 children at once, and as many that are given up, leave nothing.
async fn many() {
    in_time(ChildSpec::spawn(sh("")).await.unwrap().wait()).await;
    let before = open_in(std::process::id());
    let children = (0..500).map(|number| async move {
        let child = sh(&format!("exit {}", number % 100)).spawn().await.unwrap();
        assert_eq!(in_time(child.wait()).await, Death::Exited(number % 100));
    });
    let failures = (0..50).map(|_| async {
        let spec = ChildSpec {
            directory: Some("/no/such".into()),
            ..sh("")
        };
        assert_eq!(refused(spec).await.0, Step::Directory);
    });
    let given_up = (0..50).map(|number| async move {
        let spawn = ChildSpec::spawn(sh("kill -STOP $$"));
        let give_up = async {
            for _ in 0..number {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            child = spawn => kill(child.unwrap()).await,
            () = give_up => {}
        }
    });
    let both = futures_util::future::join(
        futures_util::future::join_all(children),
        futures_util::future::join_all(failures),
    );
    futures_util::future::join(both, futures_util::future::join_all(given_up)).await;
    until(|| open_in(std::process::id()) == before && reaper::children().is_empty()).await;
    eprintln!("nothing left");
}

fn become_subreaper() {
    set_child_subreaper(Some(getpid())).unwrap();
    assert!(adopts_orphans());
}

/// A shell that leaves an orphan, and tells its number. The orphan ends when its input, the
/// descriptor 3, does.
async fn orphan() -> (u32, io::PipeWriter) {
    let (input, end) = io::pipe().unwrap();
    let spec = ChildSpec {
        descriptors: vec![input.into()],
        ..sh("(read end <&3; exit 3) & echo $!")
    };
    let (_, lines) = run(spec).await;
    (lines[0].text.parse().unwrap(), end)
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Reaps orphans, and takes no status from this module's children.
async fn process_1() {
    become_subreaper();
    let reaping = tokio::spawn(reaper::reap_orphans_after(Duration::ZERO));
    let mut orphans = Vec::new();
    for _ in 0..20 {
        orphans.push(orphan().await);
    }
    assert!(orphans.iter().all(|(pid, _)| exists(*pid)));
    let mut children = Vec::new();
    for code in 0..50 {
        children.push((code, sh(&format!("exit {code}")).spawn().await.unwrap()));
    }
    for (pid, end) in orphans {
        drop(end);
        until(|| !exists(pid)).await;
    }
    for (code, child) in children {
        assert_eq!(in_time(child.wait()).await, Death::Exited(code));
    }
    assert!(!reaping.is_finished());
    eprintln!("all reaped");
}

/// Leaves the children of others in peace.
async fn patient() {
    become_subreaper();
    let reaping = tokio::spawn(reaper::reap_orphans_after(DEADLINE * 60));
    let mut others = std::process::Command::new("/bin/sh")
        .args(["-c", "exit 5"])
        .spawn()
        .unwrap();
    until(|| status(others.id(), "State").starts_with('Z')).await;
    let (pid, end) = orphan().await;
    drop(end);
    until(|| status(pid, "State").starts_with('Z')).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(others.wait().unwrap().code(), Some(5));
    assert!(!reaping.is_finished());
    eprintln!("left in peace");
}
