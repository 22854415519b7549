//! State in memory: it lasts as long as this generation, and a cleanup hook has the last word.

#![forbid(unsafe_code)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{Router, extract::State, routing::get};
use replug_plugin::{Setup, export_app};

export_app!(app);

type Count = Arc<AtomicU64>;

fn app(setup: &mut Setup) -> Router {
    let count = Count::default();
    let last = Arc::clone(&count);
    setup
        .on_cleanup(move || tracing::info!(count = last.load(Ordering::Relaxed), "final count"))
        .name("final count");
    Router::new()
        .route("/", get(read).post(increment))
        .with_state(count)
}

async fn read(State(count): State<Count>) -> String {
    format!("{}\n", count.load(Ordering::Relaxed))
}

async fn increment(State(count): State<Count>) -> String {
    format!("{}\n", count.fetch_add(1, Ordering::Relaxed) + 1)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use replug_plugin::Body;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn each_post_counts_one_and_a_get_counts_none() {
        let router = app(&mut Setup::detached("counter"));
        let check = async |method: &str, expected: &str| {
            let request = axum::http::Request::builder().method(method);
            let response = router
                .clone()
                .oneshot(request.body(Body::empty()).unwrap())
                .await
                .unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, expected.as_bytes());
        };
        check("GET", "0\n").await;
        check("POST", "1\n").await;
        check("POST", "2\n").await;
        check("GET", "2\n").await;
    }
}
