//! Signal and exit handlers: what is the process's, and points into a library.

use replug_tests::leaving::is_unloaded_after;
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
