use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[test]
fn a_request_of_http2_keeps_its_version_and_its_authority() {
    run(async {
        let (_worker, front, mut far) = one().await;
        let sending = sent2(&front, "/a?b=c");
        let (stream, head) = far.request().await;
        assert_eq!(head.request.version(), Version::HTTP_2);
        assert_eq!(head.request.uri(), "http://a/a?b=c");
        far.answer(stream, "two").await;
        assert_eq!(text(sending).await, "two");
        let sending = sent(&front, "/a?b=c");
        let (stream, head) = far.request().await;
        assert_eq!(head.request.version(), Version::HTTP_11);
        assert_eq!(head.request.uri(), "/a?b=c");
        assert_eq!(head.request.headers()["host"], "a");
        far.answer(stream, "one").await;
        assert_eq!(text(sending).await, "one");
    });
}

#[test]
fn an_answer_whose_head_is_longer_than_a_frame_is_an_error_of_its_own() {
    run(async {
        let (_worker, front, mut far) = one().await;
        let sending = sent(&front, "/");
        let (stream, _) = far.request().await;
        let long = "x".repeat(1 << 20);
        let long = head(None, &[("x-long", &long)]);
        let error = far.outbox.response(stream, &long, "x".into(), true);
        far.outbox.failed(stream, &error.unwrap_err().to_string());
        far.say().await;
        let response = sending.await.unwrap();
        assert_eq!(code(&response), "worker-broke");
        let text = collect(response.into_body()).await.unwrap().0;
        assert!(text.ends_with(b"the worker gave no answer"));
    });
}
