use http::StatusCode;

use super::{
    far::{add, pass},
    *,
};
use crate::{trunk::Ask, workers::Death};

#[test]
fn what_a_dead_worker_had_begun_fails_and_another_does_the_rest_once() {
    run(async {
        let mut dying = Scripted::start(1, 1);
        let set = set(&[&dying.server]);
        let front = Front::new(&set);
        let mut first = vec![sent(&front, "/0")];
        let mut far = dying.trunk().await;
        let mut paths = vec![far.request().await.1.request.uri().path().to_owned()];
        first.extend((1..5).map(|n| sent(&front, &format!("/{n}"))));
        for _ in 1..5 {
            paths.push(far.request().await.1.request.uri().path().to_owned());
        }
        far.watermark.set(2);
        let other = Scripted::start(2, 0);
        add(&set, &other.server);
        dying.kill(far).await;
        settle().await;
        assert_eq!(dying.server.worker.died(Death::Killed(9)).len(), 2);
        let mut answered = Vec::new();
        for (n, sending) in first.into_iter().enumerate() {
            let response = sending.await.unwrap();
            if code(&response) == "worker-died" {
                assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
                answered.push(format!("/{n}"));
            } else {
                assert_eq!(response.headers()["way"], "http");
            }
        }
        answered.sort();
        let mut begun = paths[..2].to_vec();
        begun.sort();
        assert_eq!(answered, begun);
        assert_eq!(other.alone.get(), 3);
    });
}

#[test]
fn what_a_worker_that_is_gone_from_the_books_had_begun_fails_though_its_connection_stays() {
    run(async {
        // As a child of the worker's has it.
        let (dying, _front, mut far) = one().await;
        let set = set(&[&dying.server]);
        let [begun, unbegun] = [pass(&set, "/1"), pass(&set, "/2")];
        far.requests(2).await;
        far.watermark.set(2);
        let other = Scripted::start(2, 0);
        add(&set, &other.server);
        dying.server.worker.died(Death::Exited(1));
        let failure = begun.await.unwrap().unwrap_err();
        assert_eq!(failure.error.code(), "worker-died");
        let response = unbegun.await.unwrap().unwrap();
        assert_eq!(response.headers()["way"], "http");
        assert_eq!((dying.alone.get(), other.alone.get()), (0, 1));
        assert!(far.ask().await.is_none());
    });
}

#[test]
fn a_request_that_was_refused_is_done_over_http() {
    run(async {
        let (worker, front, mut far) = one().await;
        let sending = sent(&front, "/");
        let (stream, _) = far.request().await;
        far.outbox.refused(stream);
        far.say().await;
        assert_eq!(sending.await.unwrap().headers()["way"], "http");
        assert_eq!(worker.alone.get(), 1);
        // Its number is free.
        let sending = sent(&front, "/");
        let (next, _) = far.request().await;
        assert_eq!(next, stream);
        far.answer(next, "x").await;
        assert_eq!(text(sending).await, "x");
    });
}

#[test]
fn a_worker_that_leaves_answers_what_it_has_begun_and_gets_nothing_more() {
    run(async {
        let (mut worker, front, mut far) = one().await;
        let sending = sent(&front, "/");
        let (stream, _) = far.request().await;
        far.outbox.leaving();
        far.begin(stream, "first,").await;
        let response = sending.await.unwrap();
        let next = sent(&front, "/next");
        let mut second = worker.trunk().await;
        let (other, _) = second.request().await;
        second.answer(other, "").await;
        assert_eq!(code(&next.await.unwrap()), "none");
        far.outbox.data(stream, "last".into(), true);
        far.say().await;
        assert!(far.ask().await.is_none());
        let body = collect(response.into_body()).await.unwrap().0;
        assert_eq!(body, "first,last");
    });
}

#[test]
fn an_idle_trunk_whose_worker_leaves_ends_at_once() {
    run(async {
        let (_worker, _front, mut far) = one().await;
        far.outbox.leaving();
        far.say().await;
        assert!(far.ask().await.is_none());
    });
}

fn check_cut(is_http2: bool, length: Option<u64>, is_killed: bool) {
    run(async move {
        let (worker, front, mut far) = one().await;
        let sending = match is_http2 {
            true => sent2(&front, "/"),
            false => sent(&front, "/"),
        };
        let (stream, _) = far.request().await;
        let head = head(length, &[]);
        far.outbox
            .response(stream, &head, "half".into(), false)
            .unwrap();
        far.say().await;
        let response = sending.await.unwrap();
        if is_killed {
            far.watermark.set(2);
            worker.kill(far).await;
            worker.server.worker.died(Death::Killed(9));
        } else {
            far.outbox.failed(stream, "enough");
            far.say().await;
        }
        assert!(collect(response.into_body()).await.is_err());
        assert_eq!(worker.server.worker.in_flight(), 0);
    });
}

#[test]
fn a_response_that_is_cut_halfway_never_looks_whole() {
    for is_http2 in [false, true] {
        for length in [None, Some(1000)] {
            for is_killed in [false, true] {
                check_cut(is_http2, length, is_killed);
            }
        }
    }
}

#[test]
fn a_request_that_the_worker_gives_up_says_why() {
    run(async {
        let (worker, front, mut far) = one().await;
        let sending = sent(&front, "/");
        let (stream, _) = far.request().await;
        far.outbox.failed(stream, "no heart");
        far.say().await;
        let response = sending.await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(code(&response), "worker-broke");
        assert_eq!(worker.alone.get(), 0);
    });
}

#[test]
fn a_client_that_goes_away_cancels_its_request_whose_number_is_taken_until_it_has_ended() {
    run(async {
        let (worker, front, mut far) = one().await;
        let gone = sent(&front, "/gone");
        let (stream, _) = far.request().await;
        gone.abort();
        let (cancelled, ask) = far.ask().await.unwrap();
        assert!(matches!(ask, Ask::Cancel));
        assert_eq!(cancelled, stream);
        assert_eq!(worker.server.worker.in_flight(), 0);
        let next = sent(&front, "/next");
        let (other, _) = far.request().await;
        assert_ne!(other, stream);
        // What was on its way, and was meant for nobody any more.
        far.begin(stream, "late").await;
        far.outbox.data(stream, "later".into(), false);
        far.outbox.failed(stream, "it was cancelled");
        far.answer(other, "next").await;
        assert_eq!(text(next).await, "next");
        let streams = [sent(&front, "/1"), sent(&front, "/2")];
        let numbers = far.requests(2).await;
        assert!(numbers.values().any(|number| *number == stream));
        for (path, stream) in numbers {
            far.answer(stream, path).await;
        }
        for sending in streams {
            assert_eq!(code(&sending.await.unwrap()), "none");
        }
    });
}

#[test]
fn a_body_that_nobody_reads_any_more_is_cancelled() {
    run(async {
        let (worker, front, mut far) = one().await;
        let sending = sent(&front, "/");
        let (stream, _) = far.request().await;
        far.begin(stream, "half").await;
        let response = sending.await.unwrap();
        drop(response);
        let (cancelled, ask) = far.ask().await.unwrap();
        assert!(matches!(ask, Ask::Cancel));
        assert_eq!(cancelled, stream);
        far.outbox.failed(stream, "it was cancelled");
        far.say().await;
        until(|| worker.server.worker.in_flight() == 0).await;
    });
}
