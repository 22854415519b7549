//! Pointers into a library that the C library keeps.

use replug_tests::leaving::is_unloaded_after;

#[tokio::test]
async fn the_environment_can_be_read_when_a_plugin_has_put_its_own_text_there() {
    let mut leaver = is_unloaded_after("environment").await;
    // Each runtime reads it.
    for _ in 0..5 {
        leaver.replace().await;
    }
    leaver.end().await;
}

#[tokio::test]
async fn an_exit_handler_that_is_nobodys_does_not_run_when_its_code_is_gone() {
    is_unloaded_after("on-exit").await.end().await;
}
