//! Signal and exit handlers: what is the process's, and points into a library.

use replug_tests::{
    artifacts,
    leaving::{Leaver, is_unloaded_after},
};
use rustix::process::Signal;

#[tokio::test]
async fn a_signal_handler_that_is_left_is_taken_out() {
    let mut leaver = is_unloaded_after("signal-handler").await;
    let event = leaver.host.event("signal-handler-left").await;
    let number = u64::try_from(Signal::WINCH.as_raw()).unwrap();
    assert_eq!(event.number("signal"), Some(number), "{event}");
    leaver.host.signal(Signal::WINCH);
    leaver.answers().await;
    leaver.end().await;
}

#[tokio::test]
async fn exit_handlers_run_when_their_library_is_closed() {
    let leaver = is_unloaded_after("exit-handlers").await;
    let lines = std::fs::read_to_string(leaver.file()).unwrap();
    // The last that was registered runs first.
    assert_eq!(lines, "__cxa_atexit\natexit\n");
    leaver.end().await;
}

/// Each generation handles the signal from its setup on, when the one before still does.
async fn only_the_current_generation_gets_it(mut leaver: Leaver) {
    for _ in 0..3 {
        leaver.replace().await;
        leaver.host.signal(Signal::USR1);
        let connection = &mut leaver.connections[0];
        leaver.host.until_text(connection, "/signals", "1\n").await;
    }
    leaver.end().await;
}

#[tokio::test]
async fn a_handler_that_calls_the_one_before_it_calls_none_that_is_gone() {
    let setup = ["--set", "fixture-leaver.setup=signal-handler"];
    only_the_current_generation_gets_it(Leaver::serve_with(&setup).await).await;
}

#[tokio::test]
async fn tokios_handler_calls_none_that_is_gone() {
    let library = artifacts::library("fixture-signals");
    let leaver = Leaver::serve_app("fixture-signals", &library, &[]).await;
    only_the_current_generation_gets_it(leaver).await;
}
