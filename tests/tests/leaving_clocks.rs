//! Timers of the system's that a plugin left running.

use replug_tests::leaving::Leaver;

/// Whether the old generation goes or stays.
async fn does_not_end_the_host(what: &str) {
    let mut leaver = Leaver::serve().await;
    leaver.leave(what).await;
    let old = leaver.reload().await;
    let settled = |event: &replug_tests::log::Event| {
        ["quarantined", "retired"].contains(&event.kind())
            && event.number("generation") == Some(old)
    };
    leaver.host.log.wait_for("its end", settled).await;
    for _ in 0..5 {
        leaver.reload().await;
    }
    leaver.answers().await;
    leaver.end().await;
}

#[tokio::test]
async fn an_alarm_that_is_left_does_not_end_the_host() {
    does_not_end_the_host("alarm").await;
}

#[tokio::test]
async fn a_timer_that_starts_threads_does_not_end_the_host() {
    does_not_end_the_host("timer").await;
}
