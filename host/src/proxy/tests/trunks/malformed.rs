use super::{far::frame, *};

/// A worker says that, while a request is under way of which it has begun so much.
fn check(said: impl Fn(u32) -> Vec<u8> + 'static, begun: u64) {
    run(async move {
        let (mut worker, front, mut far) = one().await;
        let sending = sent(&front, "/");
        let (stream, _) = far.request().await;
        far.watermark.set(1 + begun);
        far.say_raw(&said(stream)).await;
        assert_eq!(code(&sending.await.unwrap()), "worker-broke");
        assert!(far.ask().await.is_none());
        // Not over HTTP, either: the worker lives, and may yet begin it.
        assert_eq!(worker.alone.get(), 0);
        let next = sent(&front, "/next");
        let mut far = worker.trunk().await;
        let (stream, _) = far.request().await;
        far.answer(stream, "next").await;
        assert_eq!(text(next).await, "next");
    });
}

fn check_both(said: impl Fn(u32) -> Vec<u8> + Copy + 'static) {
    check(said, 0);
    check(said, 1);
}

#[test]
fn a_frame_of_an_unknown_kind_ends_the_trunk_and_its_requests_only() {
    check_both(|stream| frame(99, stream, b""));
    // What only a supervisor says.
    check_both(|stream| frame(1, stream, b""));
}

#[test]
fn a_frame_of_no_stream_ends_the_trunk_and_its_requests_only() {
    check_both(|stream| frame(18, stream + 1, b"x"));
    check_both(|_| frame(18, u32::MAX, b"x"));
    check_both(|_| frame(22, 1000, b""));
}

#[test]
fn a_frame_that_is_longer_than_any_ends_the_trunk_and_its_requests_only() {
    check_both(|stream| {
        let mut long = frame(18, stream, b"");
        long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        long
    });
}

#[test]
fn a_head_that_is_none_ends_the_trunk_and_its_requests_only() {
    check_both(|stream| frame(16, stream, b""));
    check_both(|stream| frame(17, stream, &[0xff; 40]));
    check_both(|stream| frame(20, stream, &[0xff; 40]));
    // Status 1.
    check_both(|stream| frame(17, stream, &[1, 0, 0]));
}

#[test]
fn a_body_without_a_head_is_no_answer() {
    run(async {
        let (worker, front, mut far) = one().await;
        let sending = sent(&front, "/");
        let (stream, _) = far.request().await;
        far.outbox.data(stream, "x".into(), true);
        far.say().await;
        assert_eq!(code(&sending.await.unwrap()), "worker-broke");
        assert_eq!(worker.alone.get(), 0);
    });
}
