//! Bodies of any size, at the pace of whoever reads them.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use replug_tests::{
    Connection, Host, artifacts,
    client::{self, next, streamed},
    host::Site,
    in_time, until,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What a body of any size may add to the host's memory.
const ROOM: u64 = 32 * MIB;

async fn probe(site: &Site) -> Host {
    site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &[]).await;
    assert_eq!(host.get("/").await, "version 1\n");
    host
}

#[tokio::test]
async fn a_response_of_one_gibibyte_streams_through() {
    let site = Site::new();
    let host = probe(&site).await;
    let before = host.memory();
    let mut connection = host.connect().await;
    let mut response = connection.open(&format!("/source?bytes={GIB}")).await;
    assert_eq!(response.headers()["content-length"], GIB.to_string());
    let (mut seen, mut checked, mut most) = (0, 0, before);
    while let Some(frame) = in_time("a frame", response.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        assert_eq!(u64::from(data[0]), seen % 251, "at {seen}");
        seen += data.len() as u64;
        if seen - checked > 16 * MIB {
            checked = seen;
            most = most.max(host.memory());
        }
    }
    assert_eq!(seen, GIB);
    assert!(
        most - before < ROOM,
        "grew by {} MiB",
        (most - before) / MIB
    );
}

#[tokio::test]
async fn a_request_of_one_gibibyte_streams_through() {
    const CHUNK: u64 = 256 << 10;
    let site = Site::new();
    let host = probe(&site).await;
    let before = host.memory();
    let mut connection = host.connect().await;
    let (most, read) = (
        std::sync::Arc::new(std::sync::atomic::AtomicU64::new(before)),
        host.pid(),
    );
    let high = most.clone();
    let chunk = Bytes::from(vec![b'x'; CHUNK as usize]);
    let chunks = stream::iter(0..GIB / CHUNK).map(move |number| {
        if number % 64 == 0 {
            high.fetch_max(memory_of(read), std::sync::atomic::Ordering::SeqCst);
        }
        chunk.clone()
    });
    let request = connection
        .request("POST", "/sink")
        .body(streamed(chunks))
        .unwrap();
    let answer = client::read(connection.send(request).await).await.unwrap();
    assert_eq!(answer.text, format!("{GIB}\n"));
    let most = most.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        most - before < ROOM,
        "grew by {} MiB",
        (most - before) / MIB
    );
}

fn memory_of(pid: u32) -> u64 {
    replug_tests::host::memory(pid)
}

#[tokio::test]
async fn a_reader_that_stops_holds_the_app_back() {
    let site = Site::new();
    let host = probe(&site).await;
    let before = host.memory();
    let mut connection = Connection::http1_with_little_room(host.socket_address()).await;
    let mut response = connection.open("/endless").await;
    next(&mut response).await;
    let mut asking = host.connect().await;
    let (mut last, mut times) = (0, 0);
    until("the app to be held back", async || {
        let chunks: u64 = asking.text("/pull").await.trim().parse().unwrap();
        assert!(
            chunks < ROOM / (64 << 10),
            "the app was asked for {chunks} chunks that nobody reads"
        );
        times = if chunks == last { times + 1 } else { 0 };
        last = chunks;
        (times == 1000).then_some(())
    })
    .await;
    assert!(host.memory() - before < ROOM);
    // It goes on when the reader does.
    for _ in 0..1000 {
        next(&mut response).await;
    }
    let chunks: u64 = asking.text("/pull").await.trim().parse().unwrap();
    assert!(chunks > last);
}

#[tokio::test]
async fn an_app_that_does_not_read_holds_the_client_back() {
    let site = Site::new();
    let host = probe(&site).await;
    let mut connection = Connection::http1_with_little_room(host.socket_address()).await;
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = taken.clone();
    let chunk = Bytes::from(vec![b'x'; 64 << 10]);
    let chunks = stream::repeat_with(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        chunk.clone()
    });
    // The echo reads as fast as it is read, and nobody reads it.
    let request = connection
        .request("POST", "/echo")
        .body(streamed(chunks))
        .unwrap();
    let _unread = connection.send(request).await;
    let mut asking = host.connect().await;
    let (mut last, mut times) = (0, 0);
    until("the client to be held back", async || {
        asking.text("/").await;
        let chunks = taken.load(std::sync::atomic::Ordering::SeqCst);
        assert!(
            chunks < ROOM / (64 << 10),
            "{chunks} chunks were taken and nobody reads them"
        );
        times = if chunks == last { times + 1 } else { 0 };
        last = chunks;
        (times == 1000).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_handler() {
    let site = Site::new();
    let host = probe(&site).await;
    let mut asking = host.connect().await;
    let mut expect = async |drops: u64| {
        until("the drop guard", async || {
            (asking.text("/drops").await == format!("{drops}\n")).then_some(())
        })
        .await;
    };

    let mut multiplexed = host.connect_http2().await;
    multiplexed.begin("/hang").await.cancel();
    expect(1).await;
    assert_eq!(multiplexed.text("/").await, "version 1\n");

    let mut connection = host.connect().await;
    let mut response = connection.open("/slow-body").await;
    next(&mut response).await;
    drop((response, connection));
    expect(2).await;

    let mut connection = host.connect_http2().await;
    let hanging = connection.begin("/hang").await;
    drop(connection);
    hanging.cancel();
    expect(3).await;
}

#[tokio::test]
async fn an_echo_streams_both_ways_at_once() {
    let site = Site::new();
    let host = probe(&site).await;
    for mut connection in [host.connect().await, host.connect_http2().await] {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let pieces = stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let request = connection
            .request("POST", "/echo")
            .body(streamed(pieces))
            .unwrap();
        let mut response = connection.send(request).await;
        for word in ["one", "two", "three"] {
            sender.send(Bytes::from(word)).unwrap();
            assert_eq!(next(&mut response).await, word);
        }
        drop(sender);
        assert_eq!(client::read(response).await.unwrap().text, "");
    }
}
