//! Thread-locals and keys that a plugin used on the host's threads.

use replug_tests::leaving::{Leaver, is_unloaded_after, never_quarantined};

#[tokio::test]
async fn thread_locals_are_dropped_on_every_thread_before_their_code_goes() {
    let leaver = is_unloaded_after("thread-locals").await;
    for name in ["first", "second", "third"] {
        let dropped = leaver.said(1, &format!("dropped the {name}"));
        assert_eq!(dropped, leaver.connections.len(), "{name}");
    }
    leaver.end().await;
}

#[tokio::test]
async fn a_hundred_generations_with_thread_locals_leave_nothing_for_the_end() {
    let mut leaver = Leaver::serve().await;
    for _ in 1..=100 {
        leaver.leave("thread-locals").await;
        leaver.replace().await;
    }
    leaver.leave("thread-locals").await;
    never_quarantined(&leaver);
    leaver.end().await;
}

#[tokio::test]
async fn keys_are_deleted_and_their_values_destroyed() {
    let mut leaver = Leaver::serve().await;
    // 128 keys each time; the system has 1,024.
    for generation in 1..=12 {
        leaver.leave("keys").await;
        leaver.replace().await;
        let destroyed = leaver.said(generation, "a key's first value is destroyed");
        assert_eq!(destroyed, leaver.connections.len());
    }
    never_quarantined(&leaver);
    leaver.end().await;
}

#[tokio::test]
async fn a_thread_local_that_blocks_in_its_destructor_holds_up_its_thread_alone() {
    let mut leaver = Leaver::serve().await;
    let mut other = leaver.connections.pop().unwrap();
    leaver.leave("blocking-thread-local").await;
    let old = leaver.reload().await;
    let quarantined = leaver.host.event("quarantined").await;
    assert!(
        quarantined.text("reason").contains("does not come back"),
        "{quarantined}"
    );
    assert_eq!(other.text("/").await, "generation 2\n");
    leaver.open_gate();
    leaver.unloaded(old).await;
    leaver.end().await;
}
