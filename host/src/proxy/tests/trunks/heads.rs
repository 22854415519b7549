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
fn a_request_for_the_server_itself_stays_one_in_http2() {
    run(async {
        let (_worker, front, mut far) = one().await;
        let mut request = request2(Method::OPTIONS, "/", empty());
        *request.uri_mut() = http::Uri::builder()
            .scheme("http")
            .authority("a")
            .path_and_query("*")
            .build()
            .unwrap();
        let sending = spawn_local({
            let front = front.clone();
            async move { front.http2().await.send_request(request).await.unwrap() }
        });
        let (stream, head) = far.request().await;
        assert_eq!(head.request.uri().path(), "*");
        assert_eq!(head.request.uri().authority().unwrap(), "a");
        far.answer(stream, "").await;
        sending.await.unwrap();
    });
}

#[test]
fn a_target_that_is_as_long_as_any_breaks_nothing() {
    run(async {
        let (worker, front, mut far) = one().await;
        let beside = sent(&front, "/beside");
        let (stream, _) = far.request().await;
        // As hyper writes it, it has a slash more.
        let target = format!("http://a?{}", "x".repeat(65534 - 9));
        let mut client = front.connect();
        let sending = spawn_local(async move {
            let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            client.read_to_string(&mut response).await.unwrap();
            response
        });
        let (long, head) = far.request().await;
        assert_eq!(head.request.uri().query().unwrap().len(), 65534 - 9);
        far.answer(long, "long").await;
        far.answer(stream, "beside").await;
        assert!(sending.await.unwrap().ends_with("\r\n\r\nlong"));
        assert_eq!(text(beside).await, "beside");
        assert_eq!(worker.server.connections.get(), 1);
    });
}

#[test]
fn a_head_may_have_as_many_fields_as_hyper_takes() {
    run(async {
        let (worker, front, mut far) = one().await;
        let mut many = get("/");
        for n in 1..100 {
            many.headers_mut().append("x-many", n.into());
        }
        let sending = spawn_local({
            let front = front.clone();
            async move { front.send(many).await }
        });
        let (stream, asked) = far.request().await;
        let values = asked.request.headers().get_all("x-many");
        assert_eq!(values.iter().count(), 99);
        far.answer(stream, "").await;
        sending.await.unwrap();
        // More values than a map has place for names.
        for number in [512, 30_000] {
            let passing = far::pass(&set(&[&worker.server]), "/");
            let (stream, _) = far.request().await;
            let many = head(None, &vec![("a", "b"); number]);
            far.outbox
                .response(stream, &many, "x".into(), true)
                .unwrap();
            far.say().await;
            let response = passing.await.unwrap().unwrap();
            assert_eq!(response.headers().len(), number);
        }
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
