//! No more than a bounded number of generations is quarantined.

use replug_tests::{deploy::touch, leaving::Leaver};

/// Has it reload once more, which must be refused.
async fn is_refused(leaver: &mut Leaver) {
    touch(leaver.library());
    let refused = leaver.host.event("refused").await;
    assert!(refused.text("reason").contains("stay loaded"), "{refused}");
    let remedy = refused.text("remedy");
    assert!(remedy.contains("process group"), "{refused}");
    leaver.answers().await;
}

#[tokio::test]
async fn a_reload_beyond_the_bound_is_refused() {
    let mut leaver = Leaver::serve_with(&["--max-quarantined", "2"]).await;
    for _ in 0..2 {
        leaver.leave("pool").await;
        let old = leaver.reload().await;
        leaver.quarantined(old, "still running").await;
    }
    leaver.leave("pool").await;
    is_refused(&mut leaver).await;
    assert_eq!(leaver.host.get("/").await, "generation 3\n");
    assert_eq!(leaver.host.mapped(), 3);
    leaver.end().await;
}

#[tokio::test]
async fn a_reload_is_taken_again_when_a_quarantine_has_ended() {
    let mut leaver = Leaver::serve_with(&["--max-quarantined", "1"]).await;
    leaver.leave("thread").await;
    let old = leaver.reload().await;
    leaver.quarantined(old, "left-behind").await;
    is_refused(&mut leaver).await;
    leaver.open_gate();
    let retired = leaver.host.retired("fixture-leaver", old).await;
    assert_eq!(retired.text("outcome"), "unloaded", "{retired}");
    // Nobody touches the file again.
    leaver.host.serving("fixture-leaver", 3).await;
    assert_eq!(leaver.host.get("/").await, "generation 3\n");
    leaver.end().await;
}
