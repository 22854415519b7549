//! Memory that a plugin held when it went.

use replug_tests::leaving::{Leaver, never_quarantined};

/// What the fixture holds.
const SIZE: u64 = 64 << 20;

#[tokio::test]
async fn what_a_static_holds_is_given_back_with_its_generation() {
    let mut leaver = Leaver::serve().await;
    leaver.leave("memory").await;
    leaver.replace().await;
    leaver.leave("memory").await;
    let before = leaver.host.memory();
    assert!(before > SIZE, "{before}");
    for _ in 0..6 {
        leaver.replace().await;
        leaver.leave("memory").await;
    }
    let grown = leaver.host.memory().saturating_sub(before);
    assert!(grown < SIZE / 2, "grown by {grown} bytes");
    never_quarantined(&leaver);
    leaver.end().await;
}
