use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::*;

#[tokio::test]
async fn a_death_is_what_it_was() {
    for code in [0, 1, 255] {
        let (death, _) = run(sh(&format!("exit {code}"))).await;
        assert_eq!(death, Death::Exited(code));
    }
    let no_core = Limits {
        core: Some(0),
        ..Limits::default()
    };
    for (name, number) in [
        ("TERM", libc::SIGTERM),
        ("KILL", libc::SIGKILL),
        ("SEGV", libc::SIGSEGV),
        ("PIPE", libc::SIGPIPE),
    ] {
        let spec = ChildSpec {
            limits: no_core,
            ..sh(&format!("kill -{name} $$"))
        };
        let (death, _) = run(spec).await;
        let text = format!("was killed by SIG{name}");
        assert!(death.to_string().starts_with(&text), "{death}");
        assert!(matches!(death, Death::Signalled { signal, .. } if signal == number));
    }
}

#[tokio::test]
async fn a_signal_reaches_the_child_and_nobody_once_it_is_dead() {
    let child = look_at(stopped("trap 'exit 9' TERM")).await;
    assert_eq!(child.death(), None);
    assert!(child.signal(Signal::TERM).unwrap());
    assert!(child.signal(Signal::CONT).unwrap());
    let waiting = child.clone();
    let (first, second) = tokio::join!(in_time(child.wait()), in_time(waiting.wait()));
    assert_eq!((first, second), (Death::Exited(9), Death::Exited(9)));
    assert_eq!(child.wait().await, Death::Exited(9));
    assert_eq!(child.death(), Some(Death::Exited(9)));
    assert!(!child.signal(Signal::KILL).unwrap());
}

#[tokio::test]
async fn a_child_whose_handle_is_gone_is_watched_all_the_same() {
    let child = look_at(stopped("")).await;
    let pid = child.pid();
    let process = pidfd(pid);
    drop(child);
    pidfd_send_signal(&process, Signal::KILL).unwrap();
    until(|| !Path::new(&format!("/proc/{pid}")).exists()).await;
}

#[tokio::test]
async fn a_status_that_something_else_took_is_not_made_up() {
    let child = look_at(stopped("")).await;
    pidfd_send_signal(&child, Signal::KILL).unwrap();
    // Before the runtime gets to it.
    let id = rustix::process::WaitId::PidFd(child.as_fd());
    rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED).unwrap();
    assert_eq!(in_time(child.wait()).await, Death::Unknown);
}

fn pidfd(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

/// Waits for the death of a process that is no child.
async fn is_gone(process: OwnedFd) {
    let polled = tokio::task::spawn_blocking(move || {
        let timeout = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)).unwrap()
    });
    assert_eq!(polled.await.unwrap(), 1, "takes too long");
}

/// Ends with its parent, but not with the thread that had it started.
async fn check_parent_death(role: &str) {
    let parent = look_at(roles::role(role)).await;
    until(|| child_of(&parent).is_some()).await;
    let child = pidfd(child_of(&parent).unwrap());
    kill(parent).await;
    is_gone(child).await;
}

/// The number that it has written.
fn child_of(parent: &Child) -> Option<u32> {
    let lines = parent.last_lines();
    let mut numbers = lines
        .iter()
        .filter_map(|line| line.text.strip_prefix("child "));
    numbers.next()?.parse().ok()
}

#[tokio::test]
async fn a_child_is_killed_when_its_parent_dies_and_not_when_a_thread_ends() {
    check_parent_death("parent").await;
}

#[tokio::test]
async fn a_child_of_another_user_is_killed_when_its_parent_dies() {
    if is_root() {
        check_parent_death("parent-as-another").await;
    }
}

async fn check_role(role: &str, told: &str) {
    let (death, lines) = run(roles::role(role)).await;
    assert_eq!(death, Death::Exited(0), "{lines:?}");
    assert!(lines.iter().any(|line| line.text == told), "{lines:?}");
}

#[tokio::test]
async fn five_hundred_children_at_once_leave_nothing() {
    check_role("many", "nothing left").await;
}

#[tokio::test]
async fn process_1_reaps_orphans_and_no_child() {
    check_role("process-1", "all reaped").await;
}

#[tokio::test]
async fn process_1_leaves_the_children_of_others_to_them() {
    check_role("patient", "left in peace").await;
}
