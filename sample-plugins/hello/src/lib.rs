//! The smallest plugin: one route.

#![forbid(unsafe_code)]

use axum::{Router, routing::get};
use replug_plugin::{Setup, export_app};

export_app!(app);

fn app(_: &mut Setup) -> Router {
    Router::new().route("/", get(|| async { "hello\n" }))
}
