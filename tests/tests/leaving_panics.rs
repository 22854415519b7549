//! Destructors and hooks that panic while a generation goes.

use replug_tests::{
    leaving::{Leaver, is_unloaded_after},
    log::Event,
};

/// Holds that the panic is in the log, as that generation's.
async fn logged(leaver: &Leaver, what: &str) {
    let message = format!("panicked: {what} panics when it is dropped");
    let wanted = |event: &Event| event.text("message") == message;
    let event = leaver.host.log.wait_for(&message, wanted).await;
    assert_eq!(event.number("generation"), Some(1), "{event}");
}

async fn with_setup(setup: &str) -> Leaver {
    Leaver::serve_with(&["--set", &format!("fixture-leaver.setup={setup}")]).await
}

#[tokio::test]
async fn a_panic_in_a_cleanup_hook_is_logged() {
    let mut leaver = with_setup("panicking-hook").await;
    let retired = leaver.replace().await;
    assert_eq!(retired.number("hooks_failed"), Some(1), "{retired}");
    logged(&leaver, "a hook's value").await;
    leaver.end().await;
}

#[tokio::test]
async fn a_panic_while_the_service_is_dropped_is_logged() {
    let mut leaver = with_setup("panicking-service").await;
    leaver.replace().await;
    logged(&leaver, "the service").await;
    leaver.end().await;
}

#[tokio::test]
async fn a_panic_while_a_task_is_dropped_is_logged() {
    let leaver = is_unloaded_after("panicking-task").await;
    logged(&leaver, "a task's value").await;
    leaver.end().await;
}

/// The standard library ends the process when a thread-local's destructor panics.
async fn the_library_stays_and_the_host_too(what: &str) {
    let mut leaver = Leaver::serve().await;
    leaver.leave(what).await;
    let old = leaver.reload().await;
    leaver.quarantined(old, "thread-local").await;
    let retired = leaver.host.retired("fixture-leaver", old).await;
    assert_eq!(retired.text("outcome"), "quarantined", "{retired}");
    assert_eq!(leaver.host.mapped(), 2);
    // The next one has nothing to do with it.
    let old = leaver.reload().await;
    let retired = leaver.host.retired("fixture-leaver", old).await;
    assert_eq!(retired.text("outcome"), "unloaded", "{retired}");
    leaver.answers().await;
    assert_eq!(leaver.host.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_panic_in_a_thread_local_of_a_host_thread_does_not_end_the_host() {
    the_library_stays_and_the_host_too("panicking-thread-local").await;
}

#[tokio::test]
async fn a_panic_in_a_thread_local_of_the_plugins_thread_does_not_end_the_host() {
    the_library_stays_and_the_host_too("thread-that-panics-at-its-end").await;
}
