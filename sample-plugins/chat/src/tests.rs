use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use super::*;

type Visitor = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Serves the room without a host.
async fn open(setup: &mut Setup) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let router = app(setup);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn visit(url: &str) -> Visitor {
    connect_async(url).await.unwrap().0
}

async fn hear(visitor: &mut Visitor) -> Message {
    visitor.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn what_one_says_all_hear() {
    let mut setup = Setup::detached("chat");
    let url = open(&mut setup).await;
    let (mut ann, mut bob) = (visit(&url).await, visit(&url).await);
    ann.send(Message::text("hello")).await.unwrap();
    assert_eq!(hear(&mut ann).await, Message::text("hello"));
    assert_eq!(hear(&mut bob).await, Message::text("hello"));
}

#[tokio::test]
async fn draining_closes_the_room_politely() {
    let mut setup = Setup::detached("chat");
    let url = open(&mut setup).await;
    let mut ann = visit(&url).await;
    // Without a host, draining begins when the setup is dropped.
    drop(setup);
    let Message::Close(Some(frame)) = hear(&mut ann).await else {
        panic!("not closed");
    };
    assert_eq!(u16::from(frame.code), close_code::RESTART);
}
