//! Real children: `/bin/sh`, and this very program in one of its [`roles`].

use std::{
    fs::{self, File},
    future::Future,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::*;
use crate::config::Identity;

mod deaths;
mod identities;
mod limits;
mod outputs;
mod roles;

/// How long anything may take before a test gives up; not a measure of anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// A shell that runs a script.
fn sh(script: &str) -> ChildSpec {
    ChildSpec {
        program: Program::Path("/bin/sh".into()),
        args: vec!["-c".into(), script.into()],
        ..ChildSpec::default()
    }
}

/// A child that stops itself once it has written a line, so that it can be looked at.
fn stopped(before: &str) -> ChildSpec {
    sh(&format!("{before}\necho ready; kill -STOP $$"))
}

/// How it died, and what it wrote.
async fn run(mut spec: ChildSpec) -> (Death, Vec<Line>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&lines);
    spec.output = Some(Sink::new(move |line| to.lock().unwrap().push(line)));
    let death = in_time(spec.spawn().await.unwrap().wait()).await;
    let lines = lines.lock().unwrap().clone();
    (death, lines)
}

/// The lines of its standard output; it is to end well.
async fn output(spec: ChildSpec) -> Vec<String> {
    let (death, lines) = run(spec).await;
    assert_eq!(death, Death::Exited(0), "{lines:?}");
    let output = lines
        .into_iter()
        .filter(|line| line.stream == Stream::Output);
    output.map(|line| line.text).collect()
}

/// The step at which it was refused.
async fn refused(spec: ChildSpec) -> (Step, String) {
    match spec.spawn().await {
        Err(error @ SpawnError::Refused { step, .. }) => (step, error.to_string()),
        other => panic!("not refused, but {other:?}"),
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("takes too long")
}

/// Asks until it is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "takes too long");
        tokio::task::yield_now().await;
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Of a process: descriptor → what it leads to.
fn open_in(pid: u32) -> Vec<(i32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let mut open: Vec<(i32, String)> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect();
    open.sort_unstable();
    open
}

/// A line of its `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut fields = status.lines().filter_map(|line| line.split_once(":\t"));
    let found = fields.find(|(key, _)| *key == name).unwrap();
    found.1.trim().to_owned()
}

/// Starts it, and waits until it has stopped itself, as [`stopped`] does.
async fn look_at(spec: ChildSpec) -> Child {
    let child = spec.spawn().await.unwrap();
    until(|| status(child.pid(), "State").starts_with('T')).await;
    child
}

async fn kill(child: Child) {
    assert!(child.signal(Signal::KILL).unwrap());
    in_time(child.wait()).await;
}

#[tokio::test]
async fn a_child_has_the_descriptors_that_it_is_to_have_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| File::create(dir.path().join(name)).unwrap();
    // So many that most are where others of them are to be.
    let files: Vec<File> = (0..60).map(|number| file(&number.to_string())).collect();
    let leaked = file("leaked");
    inherited_by_children(&leaked);
    let high = rustix::io::fcntl_dupfd_cloexec(&leaked, 900).unwrap();
    inherited_by_children(&high);
    // In an order of their own.
    let mut descriptors: Vec<OwnedFd> = files.into_iter().map(OwnedFd::from).collect();
    descriptors.reverse();
    descriptors.rotate_left(7);
    let mut expected = vec![(0, "/dev/null".to_owned())];
    for descriptor in &descriptors {
        let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let target = fs::read_link(link).unwrap().to_string_lossy().into_owned();
        expected.push((expected.len() as i32 + 2, target));
    }
    let child = look_at(ChildSpec {
        descriptors,
        ..stopped("")
    })
    .await;
    let mut open = open_in(child.pid());
    let pipes: Vec<(i32, String)> = open.drain(1..3).collect();
    assert_eq!((pipes[0].0, pipes[1].0), (1, 2));
    let are_pipes = pipes.iter().all(|(_, target)| target.starts_with("pipe:"));
    assert!(are_pipes && pipes[0].1 != pipes[1].1, "{pipes:?}");
    assert_eq!(open, expected);
    kill(child).await;
}

fn inherited_by_children(file: impl AsFd) {
    rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
}

#[tokio::test]
async fn arguments_and_variables_arrive_as_they_are() {
    let script = r#"printf '%s\n' "$@" "$COLOUR" "${HOME-none}"; tr '\0' '|' < /proc/$$/cmdline"#;
    let mut spec = sh(script);
    spec.name = Some("replug: blue worker 2 of 4".into());
    spec.args.extend(["sh", "a b", ""].map(Into::into));
    spec.environment.inherit = false;
    // The later counts.
    spec.environment.set = vec![
        ("COLOUR".into(), "red".into()),
        ("COLOUR".into(), "blue=1".into()),
        ("PATH".into(), "/usr/bin:/bin".into()),
    ];
    let lines = output(spec).await;
    assert_eq!(lines[..4], ["a b", "", "blue=1", "none"]);
    assert!(lines[4].starts_with("replug: blue worker 2 of 4|-c|"));

    let mut spec = sh("echo $COLOUR; echo ${PATH-none}");
    spec.environment.set = vec![("COLOUR".into(), "blue".into())];
    let path = std::env::var("PATH").unwrap();
    assert_eq!(output(spec).await, ["blue", &path]);
}

#[tokio::test]
async fn what_no_system_could_do_is_refused_before_there_is_a_child() {
    let set = |name: &str, value: &str| ChildSpec {
        environment: Environment {
            inherit: true,
            set: vec![(name.into(), value.into())],
        },
        ..sh("")
    };
    let limits = |limits| ChildSpec { limits, ..sh("") };
    let none = Limits::default();
    let wrong = [
        sh("nu\0l"),
        set("a=b", ""),
        set("", ""),
        set("a", "\0"),
        ChildSpec {
            umask: Some(0o1000),
            ..sh("")
        },
        ChildSpec {
            nice: Some(20),
            ..sh("")
        },
        limits(Limits {
            cpu_time: Some(0),
            ..none
        }),
        ChildSpec {
            directory: Some("\0".into()),
            ..sh("")
        },
        ChildSpec {
            identity: Some(Identity {
                uid: u32::MAX,
                gid: 1,
                groups: vec![],
            }),
            ..sh("")
        },
    ];
    for spec in wrong {
        let shown = format!("{spec:?}");
        let error = spec.spawn().await.unwrap_err();
        assert!(matches!(error, SpawnError::Invalid(_)), "{error} {shown}");
    }
}

#[tokio::test]
async fn mask_nice_value_group_and_no_new_privileges_are_set_and_signals_are_not() {
    let spec = ChildSpec {
        umask: Some(0o027),
        nice: Some(7),
        no_new_privs: true,
        own_group: true,
        ..stopped("")
    };
    let child = look_at(spec).await;
    let pid = child.pid();
    assert_eq!(status(pid, "Umask"), "0027");
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    // The standard library ignores SIGPIPE here, and the thread that makes children blocks all.
    for none in ["SigIgn", "SigBlk"] {
        assert_eq!(status(pid, none), "0000000000000000", "{none}");
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let (group, nice) = (fields[5 - 3], fields[19 - 3]);
    assert_eq!((group, nice), (&*pid.to_string(), "7"));
    kill(child).await;

    let child = look_at(stopped("")).await;
    assert_eq!(status(child.pid(), "NoNewPrivs"), "0");
    let own = status(std::process::id(), "Umask");
    assert_eq!(status(child.pid(), "Umask"), own);
    kill(child).await;
}

#[tokio::test]
async fn a_child_starts_in_its_directory_and_its_program_is_found_from_here() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let here = std::env::current_dir().unwrap();
    let up: String = here.iter().skip(1).map(|_| "../").collect();
    let spec = ChildSpec {
        program: Program::Path(format!("{up}bin/sh").into()),
        directory: Some(path.clone()),
        ..sh("pwd")
    };
    assert_eq!(output(spec).await, [path.to_str().unwrap()]);
    let spec = ChildSpec {
        directory: Some(path.join("missing")),
        ..sh("pwd")
    };
    let (step, message) = refused(spec).await;
    assert_eq!(step, Step::Directory);
    assert!(message.contains("missing"), "{message}");
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    fs::write(&text, "no program").unwrap();
    for path in [Path::new("/no/such/program"), &text, dir.path()] {
        let program = Program::Path(path.to_owned());
        let (step, message) = refused(ChildSpec { program, ..sh("") }).await;
        assert_eq!(step, Step::Execute);
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
    fs::set_permissions(&text, PermissionsExt::from_mode(0o755)).unwrap();
    let program = Program::Path(text);
    let error = ChildSpec { program, ..sh("") }.spawn().await.unwrap_err();
    let SpawnError::Refused { source, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(source.raw_os_error(), Some(libc::ENOEXEC));
}

#[tokio::test]
async fn a_script_is_executed_by_its_interpreter() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    fs::write(&script, "#!/bin/sh\necho \"$1\"\n").unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let spec = ChildSpec {
        program: Program::Path(script),
        args: vec!["told".into()],
        ..ChildSpec::default()
    };
    assert_eq!(output(spec).await, ["told"]);
}
