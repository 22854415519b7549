//! Threads that go on: a library stays loaded as long as one of its is there, and no longer.

use replug_tests::{
    deploy::touch,
    leaving::{Leaver, is_quarantined_until_told, is_unloaded_after},
    until,
};

#[tokio::test]
async fn a_thread_that_is_left_running_is_waited_for_and_named() {
    is_quarantined_until_told("thread", "thread \"left-behind\" (").await;
}

#[tokio::test]
async fn a_thread_that_a_thread_started_is_waited_for_too() {
    is_quarantined_until_told("nested-thread", "thread \"grandchild\" (").await;
}

#[tokio::test]
async fn a_thread_that_still_runs_its_destructors_is_waited_for() {
    is_quarantined_until_told("thread-in-destructor", "thread \"in-destructor\" (").await;
}

#[tokio::test]
async fn a_thread_that_c_code_started_is_waited_for() {
    is_quarantined_until_told("c-thread", "thread \"of-c\" (").await;
}

#[tokio::test]
async fn a_thread_of_c11s_is_waited_for() {
    is_quarantined_until_told("c11-thread", "thread \"of-c11\" (").await;
}

#[tokio::test]
async fn a_detached_thread_may_end_later_than_its_generation() {
    is_unloaded_after("slow-thread").await.end().await;
}

#[tokio::test]
async fn threads_of_several_generations_are_told_apart() {
    let mut leaver = Leaver::serve().await;
    leaver.leave("thread").await;
    let first = leaver.reload().await;
    // It leaves nothing, and goes before the one before it.
    let second = leaver.reload().await;
    leaver.leave("c-thread").await;
    let third = leaver.reload().await;
    leaver.quarantined(first, "left-behind").await;
    leaver.quarantined(third, "of-c").await;
    leaver.host.retired("fixture-leaver", second).await;
    assert_eq!(leaver.host.mapped(), 3);
    leaver.open_gate();
    for old in [first, third] {
        leaver.host.retired("fixture-leaver", old).await;
    }
    assert_eq!(leaver.host.mapped(), 1);
    leaver.end().await;
}

#[tokio::test]
async fn a_pool_without_end_keeps_its_generation_loaded_but_not_the_host_alive() {
    let mut leaver = Leaver::serve().await;
    leaver.leave("pool").await;
    let old = leaver.reload().await;
    let quarantined = leaver.quarantined(old, "still running").await;
    // They have the name of the thread that started them.
    assert!(
        !quarantined.text("reason").contains("http-"),
        "{quarantined}"
    );
    assert_eq!(leaver.host.mapped(), 2);
    leaver.end().await;
}

#[tokio::test]
async fn a_thread_that_never_ends_does_not_keep_the_host_alive() {
    let mut leaver = Leaver::serve().await;
    leaver.leave("thread").await;
    leaver.end().await;
}

#[tokio::test]
async fn a_thread_of_a_setup_that_failed_is_waited_for() {
    let settings = ["setup=thread-and-failure", "from=2"].map(|s| format!("fixture-leaver.{s}"));
    let [setup, from] = settings.each_ref().map(String::as_str);
    let mut leaver = Leaver::serve_with(&["--set", setup, "--set", from]).await;
    touch(leaver.library());
    leaver.host.event("refused").await;
    assert_eq!(leaver.host.mapped(), 2);
    leaver.open_gate();
    until("the failed one's end", async || {
        (leaver.host.mapped() == 1).then_some(())
    })
    .await;
    leaver.end().await;
}
