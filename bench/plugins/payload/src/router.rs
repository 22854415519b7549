//! What is measured: a few bytes, and 64 KiB.

use axum::{Router, routing::get};

static PAYLOAD: [u8; 64 << 10] = [b'x'; 64 << 10];

pub(crate) fn router() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello\n" }))
        .route("/64k", get(|| async { &PAYLOAD[..] }))
}
