use std::io::IoSlice;

use super::*;

/// Some of each kind, and long data among them.
fn all() -> Outbox {
    let mut outbox = Outbox::default();
    outbox.credit(1, 77);
    outbox.data(2, Bytes::from(vec![1; 4097]), false);
    outbox.data(3, Bytes::from(vec![2; 10]), true);
    outbox.data(4, Bytes::from(vec![3; MOST_DATA]), false);
    outbox.data(5, Bytes::from(vec![4; MOST_DATA]), true);
    outbox.refused(6);
    outbox.failed(7, "why");
    outbox.data(8, Bytes::new(), true);
    outbox.leaving();
    outbox.cancel(9);
    outbox
}

#[test]
fn frames_that_come_in_any_pieces_are_the_same_frames() {
    let bytes = written(&mut all());
    let whole: Vec<_> = frames(&mut all());
    assert_eq!(whole.len(), 10);
    // Around each frame's beginning, and somewhere in long data.
    for at in (0..60)
        .chain(4100..4200)
        .chain(bytes.len() - 100..=bytes.len())
    {
        let (first, second) = bytes.split_at(at);
        let mut inbox = Inbox::default();
        let mut got = Vec::new();
        for part in [first, second] {
            put(&mut inbox, part);
            got.extend(std::iter::from_fn(|| inbox.take().unwrap()));
        }
        assert!(is_same(&got, &whole), "split at {at}");
    }
}

#[test]
fn frames_that_come_byte_by_byte_are_the_same_frames() {
    let bytes = written(&mut all());
    let mut inbox = Inbox::default();
    let mut got = Vec::new();
    for byte in &bytes {
        put(&mut inbox, std::slice::from_ref(byte));
        got.extend(inbox.take().unwrap());
    }
    assert!(is_same(&got, &frames(&mut all())));
}

fn is_same(one: &[Raw], other: &[Raw]) -> bool {
    let form = |raw: &Raw| (raw.kind, raw.stream, raw.payload.clone());
    one.iter().map(form).eq(other.iter().map(form))
}

#[test]
fn what_is_to_be_written_is_the_same_in_any_steps() {
    let expected = written(&mut all());
    for most in [1, 2, 8, 64] {
        let mut outbox = all();
        let mut got = Vec::new();
        while outbox.has_remaining() {
            assert_eq!(outbox.remaining(), expected.len() - got.len());
            let mut slices = [IoSlice::new(&[]); 64];
            let number = outbox.chunks_vectored(&mut slices[..most]);
            assert!(number > 0 && slices[..number].iter().all(|it| !it.is_empty()));
            assert_eq!(outbox.chunk(), &*slices[0]);
            let there: Vec<u8> = slices[..number].iter().flat_map(|it| it.to_vec()).collect();
            // Also across parts, and nothing at all.
            let taken = fastrand::usize(0..=there.len().min(50_000));
            got.extend(&there[..taken]);
            outbox.advance(taken);
        }
        assert_eq!(got, expected);
        assert_eq!(outbox.chunk(), b"");
        assert_eq!(outbox.chunks_vectored(&mut [IoSlice::new(&[]); 4]), 0);
    }
}

#[test]
fn what_is_said_while_some_is_written_comes_behind_it() {
    let mut outbox = Outbox::default();
    let (mut got, mut expected) = (Vec::new(), Vec::new());
    for n in 0..500_u32 {
        let data = Bytes::from(vec![n.to_le_bytes()[0]; fastrand::usize(0..10_000)]);
        let mut alone = Outbox::default();
        alone.data(n, data.clone(), false);
        expected.extend(written(&mut alone));
        outbox.data(n, data, false);
        let taken = fastrand::usize(0..=outbox.remaining());
        got.extend(outbox.copy_to_bytes(taken));
    }
    got.extend(written(&mut outbox));
    assert!(got == expected);
    outbox.credit(1, 1);
    outbox.clear();
    assert!(!outbox.has_remaining());
}

#[test]
fn each_short_frame_says_what_was_meant() {
    let mut outbox = Outbox::default();
    outbox.credit(u32::MAX, u32::MAX);
    assert!(matches!(
        ask(&mut outbox),
        (u32::MAX, Ask::Credit(u32::MAX))
    ));
    outbox.cancel(0);
    assert!(matches!(ask(&mut outbox), (0, Ask::Cancel)));
    outbox.refused(1);
    assert!(matches!(answer(&mut outbox), (1, Answer::Refused)));
    outbox.leaving();
    assert!(matches!(answer(&mut outbox), (_, Answer::Leaving)));
    outbox.data(2, "x".into(), true);
    assert!(matches!(answer(&mut outbox), (2, Answer::LastData(data)) if data == "x"));
    // A reason is cut between its letters.
    for reason in ["", "why", &"\u{20ac}".repeat(5000)] {
        outbox.failed(3, reason);
        let (3, Answer::Failed(got)) = answer(&mut outbox) else {
            panic!("not a failure");
        };
        assert!(reason.starts_with(&got) && got.len() >= reason.len().min(4094));
    }
}

#[test]
fn exactly_those_frames_are_last_after_which_a_number_is_free() {
    let mut outbox = Outbox::default();
    let mut check = |say: &dyn Fn(&mut Outbox), is_last: bool| {
        say(&mut outbox);
        assert_eq!(answer(&mut outbox).1.is_last(), is_last);
    };
    check(&|it| it.data(1, Bytes::new(), false), false);
    check(&|it| it.data(1, Bytes::new(), true), true);
    check(&|it| it.trailers(1, &http::HeaderMap::new()).unwrap(), true);
    check(&|it| it.failed(1, ""), true);
    check(&|it| it.refused(1), true);
    check(&Outbox::leaving, false);
}
