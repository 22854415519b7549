//! A process's title, which can only be set as a whole by a process that has one thread.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{env, error::Error, fs};

use replug::process::{
    child::{ChildSpec, Environment},
    set_title,
};
use rustix::process::{Signal, getpid, kill_process};

const TITLE: &str = "replug: blue worker 2 of 4";
const ROLE: &str = "REPLUG_TEST_TITLE";

fn main() -> Result<(), Box<dyn Error>> {
    if env::var_os(ROLE).is_some() {
        // Whatever is told first is no part of it.
        set_title("another")?;
        set_title(TITLE)?;
        assert!(set_title("a\0b").is_err());
        return Ok(kill_process(getpid(), Signal::STOP)?);
    }
    if env::args().any(|arg| arg == "--list") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(a_title_is_what_lists_of_processes_show());
    Ok(())
}

async fn a_title_is_what_lists_of_processes_show() {
    let spec = ChildSpec {
        name: Some(TITLE.into()),
        args: vec!["worker".into(), "--of".into(), "blue".into()],
        environment: Environment {
            inherit: true,
            set: vec![(ROLE.into(), "1".into())],
        },
        ..ChildSpec::default()
    };
    let child = spec.spawn().await.unwrap();
    let of = |what: &str| fs::read_to_string(format!("/proc/{}/{what}", child.pid())).unwrap();
    while !of("status").contains("State:\tT") {
        assert_eq!(child.death(), None, "{:?}", child.last_lines());
        tokio::task::yield_now().await;
    }
    assert_eq!(of("cmdline").trim_end_matches('\0'), TITLE);
    assert_eq!(of("comm"), "replug: blue wo\n");
    child.signal(Signal::KILL).unwrap();
    child.wait().await;
}
