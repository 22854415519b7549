//! What a plugin's runtime was at, and requests that were not over.

use bytes::Bytes;
use replug_tests::{
    Connection, client,
    leaving::{Leaver, is_quarantined_until_told, is_unloaded_after, never_quarantined},
    until,
};

#[tokio::test]
async fn tasks_without_end_are_dropped() {
    is_unloaded_after("tasks").await.end().await;
}

#[tokio::test]
async fn timers_are_dropped() {
    is_unloaded_after("timers").await.end().await;
}

#[tokio::test]
async fn sockets_are_closed() {
    let mut leaver = Leaver::serve().await;
    leaver.replace().await;
    let before = leaver.host.open_files();
    leaver.leave("sockets").await;
    assert!(leaver.host.open_files() > before);
    leaver.replace().await;
    until("the sockets' end", async || {
        (leaver.host.open_files() <= before).then_some(())
    })
    .await;
    never_quarantined(&leaver);
    leaver.end().await;
}

#[tokio::test]
async fn blocking_work_is_waited_for() {
    is_quarantined_until_told("blocking", "still running").await;
}

#[tokio::test]
async fn a_request_body_that_a_task_keeps_goes_with_the_task() {
    let mut leaver = Leaver::serve().await;
    let mut senders = Vec::new();
    for connection in &mut leaver.connections {
        let (pieces, mut receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        pieces.send("a piece".into()).unwrap();
        let body = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let request = connection
            .request("POST", "/leave/body")
            .body(client::streamed(body))
            .unwrap();
        // The head is the whole response; the body goes on being sent.
        let response = connection.send(request).await;
        assert_eq!(response.status(), 200);
        senders.push((pieces, response));
    }
    let old = leaver.reload().await;
    let retired = leaver.host.retired("fixture-leaver", old).await;
    assert_eq!(retired.text("outcome"), "unloaded", "{retired}");
    assert_eq!(leaver.host.mapped(), 1);
    // To nobody.
    for (pieces, _) in &senders {
        let _ = pieces.send("another".into());
    }
    never_quarantined(&leaver);
    leaver.host.get("/").await;
    leaver.end().await;
}

#[tokio::test]
async fn a_response_that_nobody_reads_is_cut() {
    let mut leaver = Leaver::serve_with(&["--drain", "100ms"]).await;
    let mut unread = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::http1_with_little_room(leaver.host.socket_address()).await;
        let response = connection.open("/leave/endless-response").await;
        unread.push((connection, response));
    }
    leaver.replace().await;
    let cut = leaver.host.event("cut").await;
    // Three bodies, and pieces of them that the kernel has not taken.
    assert!(cut.number("in_flight") >= Some(3), "{cut}");
    never_quarantined(&leaver);
    for (_, response) in unread {
        assert!(client::read(response).await.is_err());
    }
    leaver.end().await;
}
