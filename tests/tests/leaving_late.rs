//! Exit handlers that begin something while their library is being closed.

use replug_tests::leaving::is_unloaded_after;

async fn does_no_harm(what: &str) {
    let mut leaver = is_unloaded_after(what).await;
    leaver.open_gate();
    // Others are mapped to where it was.
    for _ in 0..5 {
        leaver.replace().await;
    }
    leaver.end().await;
}

#[tokio::test]
async fn a_thread_local_that_an_exit_handler_makes_does_no_harm() {
    does_no_harm("thread-local-at-exit").await;
}

#[tokio::test]
async fn a_key_that_an_exit_handler_makes_does_no_harm() {
    does_no_harm("key-at-exit").await;
}

#[tokio::test]
async fn a_thread_that_an_exit_handler_starts_does_no_harm() {
    does_no_harm("thread-at-exit").await;
}
