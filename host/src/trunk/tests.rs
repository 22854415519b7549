use bytes::{Buf as _, Bytes};
use futures_util::task::noop_waker_ref;

use super::{inbox::Raw, *};

mod fields;
mod frames;
mod noise;

/// Puts that into what was read.
fn put(inbox: &mut Inbox, mut bytes: &[u8]) {
    let mut cx = std::task::Context::from_waker(noop_waker_ref());
    while !bytes.is_empty() {
        let read = inbox.poll_read(&mut cx, &mut bytes);
        assert!(matches!(read, std::task::Poll::Ready(true)));
    }
}

/// All that is to be written.
fn written(outbox: &mut Outbox) -> Bytes {
    outbox.copy_to_bytes(outbox.remaining())
}

/// What the other side gets of it.
fn frames(outbox: &mut Outbox) -> Vec<Raw> {
    let mut inbox = Inbox::default();
    put(&mut inbox, &written(outbox));
    std::iter::from_fn(|| inbox.take().unwrap()).collect()
}

fn answer(outbox: &mut Outbox) -> (u32, Answer) {
    let [raw] = frames(outbox).try_into().unwrap();
    Answer::read(raw).unwrap()
}

fn ask(outbox: &mut Outbox) -> (u32, Ask) {
    let [raw] = frames(outbox).try_into().unwrap();
    Ask::read(raw).unwrap()
}

#[tokio::test]
async fn a_worker_tells_a_trunk_from_http_and_says_how_far_it_has_come() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let seen = hail(&ours).unwrap();
    theirs.readable().await.unwrap();
    assert!(is_hailed(&theirs));
    let said = take_hail(&theirs).unwrap();
    said.set(3);
    assert_eq!(seen.get(), 3);
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.try_write(b"GET / HTTP/1.1\r\n").unwrap();
    assert!(!is_hailed(&theirs));
    assert!(take_hail(&theirs).is_err());
}

#[tokio::test]
async fn a_connection_that_ends_without_a_word_is_no_trunk() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert!(!is_hailed(&theirs));
    drop(ours);
    theirs.readable().await.unwrap();
    assert!(!is_hailed(&theirs));
}

#[tokio::test]
async fn a_hail_without_memory_to_share_is_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.try_write(&HAIL).unwrap();
    assert!(is_hailed(&theirs));
    assert!(take_hail(&theirs).is_err());
}
