//! WebSockets and gRPC, across reloads.

use futures_util::StreamExt as _;
use replug_tests::{
    artifacts,
    deploy::touch,
    grpc::Greeter,
    host::Site,
    in_time,
    socket::{End, Socket},
};
use tonic::Code;

#[tokio::test]
async fn a_websocket_stays_on_its_generation_until_it_closes() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let mut old = Socket::open(&host, "/ws").await;
    assert_eq!(old.ask("a").await, "version 1: a");
    artifacts::probe(2).install(&path);
    host.serving("fixture-probe", 2).await;
    let mut new = Socket::open(&host, "/ws").await;
    assert_eq!(new.ask("b").await, "version 2: b");
    assert_eq!(old.ask("c").await, "version 1: c");
    assert_eq!(host.log.all(|event| event.kind() == "retired"), []);
    old.close().await;
    host.retired("fixture-probe", 1).await;
    assert_eq!(new.ask("d").await, "version 2: d");
}

#[tokio::test]
async fn a_websocket_is_cut_at_the_drain_deadline() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--drain", "100ms"]).await;
    let mut socket = Socket::open(&host, "/ws").await;
    assert_eq!(socket.ask("a").await, "version 1: a");
    artifacts::probe(2).install(&path);
    let cut = host.event("cut").await;
    assert!(cut.is("cut", "fixture-probe", 1), "{cut}");
    assert!(matches!(socket.end().await, End::Cut));
    host.retired("fixture-probe", 1).await;
}

#[tokio::test]
async fn an_app_can_say_goodbye_when_draining_begins() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let mut socket = Socket::open(&host, "/ws?polite=1").await;
    assert_eq!(socket.ask("a").await, "version 1: a");
    artifacts::probe(2).install(&path);
    assert_eq!(socket.hear().await, "bye");
    assert!(matches!(socket.end().await, End::Closed(_)));
    host.retired("fixture-probe", 1).await;
    assert_eq!(host.log.all(|event| event.kind() == "cut"), []);
}

#[tokio::test]
async fn a_long_message_comes_through_a_websocket_whole() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    let mut socket = Socket::open(&host, "/ws").await;
    let long = "0123456789abcdef".repeat(1 << 14);
    for _ in 0..8 {
        assert_eq!(socket.ask(&long).await, format!("version 1: {long}"));
    }
}

#[tokio::test]
async fn what_is_said_in_the_chat_all_hear_until_the_room_is_replaced() {
    let site = Site::new();
    let path = site.install("chat", &artifacts::library("chat"));
    let host = site.serve_library("chat", &[]).await;
    assert!(host.get("/").await.contains("WebSocket"));
    let (mut ann, mut bob) = (
        Socket::open(&host, "/ws").await,
        Socket::open(&host, "/ws").await,
    );
    ann.say("hello").await;
    assert_eq!(ann.hear().await, "hello");
    assert_eq!(bob.hear().await, "hello");
    touch(&path);
    for visitor in [ann, bob] {
        let End::Closed(Some(frame)) = visitor.end().await else {
            panic!("the room closes with a reason");
        };
        assert_eq!(u16::from(frame.code), 1012);
    }
    host.retired("chat", 1).await;
}

#[tokio::test]
async fn grpc_works_with_its_statuses_and_streams() {
    let site = Site::new();
    let path = site.install("grpc", &artifacts::library("grpc"));
    let host = site.serve_library("grpc", &[]).await;
    let mut greeter = Greeter::connect(&host).await;
    assert_eq!(greeter.greet("Ann").await.unwrap(), "Hello, Ann!");
    let status = greeter.greet("").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "who is to be greeted?");
    let greetings = greeter.greet_many("Bob", 100, 0).await.unwrap();
    let greetings: Vec<_> = in_time("the greetings", greetings.collect()).await;
    assert_eq!(greetings.len(), 100);
    assert!(
        greetings
            .iter()
            .all(|greeting| greeting.as_ref().unwrap() == "Hello, Bob!")
    );

    // A stream that a reload meets ends with a status, and the connection goes on.
    let mut endless = greeter.greet_many("Eve", u32::MAX, 1).await.unwrap();
    assert_eq!(
        in_time("a greeting", endless.next())
            .await
            .unwrap()
            .unwrap(),
        "Hello, Eve!"
    );
    touch(&path);
    let status = in_time("the stream's end", async {
        loop {
            if let Some(Err(status)) = endless.next().await {
                return status;
            }
        }
    })
    .await;
    assert_eq!(status.code(), Code::Unavailable);
    host.serving("grpc", 2).await;
    assert_eq!(greeter.greet("Ann").await.unwrap(), "Hello, Ann!");
    host.retired("grpc", 1).await;
}
