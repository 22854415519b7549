use http::{HeaderMap, Request, StatusCode};

use super::*;
use crate::loader::Peer;

fn noise(most: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..))
        .take(fastrand::usize(..most))
        .collect()
}

/// Reads it as both sides do; what comes of it is nobody's matter.
fn read(kind: u8, payload: &[u8]) {
    let raw = || Raw {
        kind,
        stream: 1,
        payload: Bytes::copy_from_slice(payload),
    };
    let _ = Ask::read(raw());
    let _ = Answer::read(raw());
}

#[test]
fn whatever_comes_instead_of_a_payload_is_refused_without_a_panic() {
    for _ in 0..200 {
        for kind in 0..=24 {
            read(kind, &noise(64));
        }
    }
    for kind in 0..=u8::MAX {
        read(kind, &[]);
        read(kind, &[0xff; 300]);
        read(kind, &[0; 300]);
    }
}

#[test]
fn a_payload_of_which_a_byte_is_another_is_read_without_a_panic() {
    let request = Request::get("https://a:1/b?c").header("x-name", "value");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let head = ResponseHead {
        status: StatusCode::OK,
        headers: parts.headers.clone(),
        length: Some(1000),
    };
    let mut outbox = Outbox::default();
    let peer = Peer::Inet("[fe80::1%3]:1".parse().unwrap());
    outbox.request(1, &parts, 1, peer).unwrap();
    outbox.response(1, &head, "body".into(), true).unwrap();
    outbox.trailers(1, &HeaderMap::new()).unwrap();
    outbox.trailers(1, &parts.headers).unwrap();
    outbox.credit(1, 1);
    for raw in frames(&mut outbox) {
        for at in 0..raw.payload.len() {
            let mut other = raw.payload.to_vec();
            for byte in 0..=u8::MAX {
                other[at] = byte;
                read(raw.kind, &other);
            }
            read(raw.kind, &raw.payload[..at]);
        }
    }
}

#[test]
fn whatever_comes_on_a_trunk_is_taken_or_refused_and_never_kept_in_vain() {
    for _ in 0..500 {
        let mut inbox = Inbox::default();
        for _ in 0..20 {
            let mut bytes = noise(100);
            // Lengths that are possible.
            if let Some([_, _, high @ .., _]) = bytes.first_chunk_mut::<5>() {
                *high = [0; 2];
            }
            put(&mut inbox, &bytes);
            loop {
                match inbox.take() {
                    Ok(Some(raw)) => read(raw.kind, &raw.payload),
                    Ok(None) => break,
                    Err(error) => {
                        assert!(matches!(error, Malformed::Length(1_048_577..)));
                        inbox = Inbox::default();
                        break;
                    }
                }
            }
        }
    }
}
