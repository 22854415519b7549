//! The host's own pages, and commands to it.

use std::{fmt::Write as _, sync::Arc};

use axum::{Extension, Router as Pages, http::StatusCode, response::IntoResponse};
use http::Uri;

mod commands;
mod control;
mod whole;

pub use commands::{AppQuery, HistoryAnswer, ReloadQuery};
pub use control::{Control, ControlError, Serving};
pub use whole::{ApplyQuery, HostAnswer, HostRequest, Image};

use crate::{loader::Peer, router::Router};

/// What the host answers where no app does: 404, and at `/` an overview for callers on this
/// machine. Which apps there are is nobody else's business.
pub fn pages(router: Arc<Router>) -> Pages {
    Pages::new().fallback(move |uri: Uri, Extension(peer): Extension<Peer>| {
        let router = Arc::clone(&router);
        async move { (StatusCode::NOT_FOUND, not_found(&uri, peer, &router)).into_response() }
    })
}

fn not_found(uri: &Uri, peer: Peer, router: &Router) -> String {
    let mut page = format!("no app is mounted at {}\n", uri.path());
    let local = match peer {
        Peer::Inet(address) => address.ip().to_canonical().is_loopback(),
        Peer::Unix => true,
    };
    if !local {
        return "not found\n".to_owned();
    }
    let mounts = router.mounts();
    if mounts.is_empty() {
        page.push_str("\nno app is loaded; the host's log says why\n");
    } else {
        page.push_str("\nmounted are:\n");
    }
    for (mount, app) in mounts {
        let generation = app
            .current()
            .map_or_else(|| "-".to_owned(), |lease| lease.id.to_string());
        let _ = writeln!(
            page,
            "  {:<24} {} (generation {generation})",
            mount.as_str(),
            app.name
        );
    }
    page
}
