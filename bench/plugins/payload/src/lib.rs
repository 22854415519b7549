//! The benchmark's app as a plugin; `replug-bench` has the same router as a server of its own.

#![forbid(unsafe_code)]

mod router;

use axum::Router;
use replug_plugin::{Setup, export_app};

export_app!(app);

fn app(_: &mut Setup) -> Router {
    router::router()
}
