//! Asking a new generation whether it is ready, before it serves.

use std::time::Duration;

use http::{Method, Request, Uri};
use tokio::{runtime::Builder, time::timeout};

use super::thread;
use crate::{
    generation::Lease,
    loader::{Peer, Plugin, RequestInfo},
    reload::ReloadError,
};

/// Asks for that path, below the app's mount, through the ABI.
///
/// On a thread of its own, as its setup: a handler that blocks must not hold up the host.
pub(super) async fn run(lease: &Lease, path: &str, limit: Duration) -> Result<(), ReloadError> {
    let failed = |reason: String| ReloadError::Probe {
        path: path.to_owned(),
        reason,
    };
    let late = || failed(format!("was not answered within {limit:?}"));
    let uri: Uri = path
        .parse()
        .map_err(|error| failed(format!("is no path: {error}")))?;
    let lease = lease.clone();
    let asked = thread::spawn("probe", move || ask(lease, &uri, limit), drop)
        .map_err(ReloadError::Thread)?;
    match timeout(limit, asked).await {
        Ok(Ok(Some(answer))) => answer.map_err(failed),
        Ok(Ok(None)) | Err(_) => Err(late()),
        Ok(Err(_)) => Err(ReloadError::Internal),
    }
}

/// `None`: there was no answer in time.
fn ask(lease: Lease, uri: &Uri, limit: Duration) -> Option<Result<(), String>> {
    let ask = async {
        let request = Request::builder()
            .method(Method::GET)
            .uri(uri)
            .header(http::header::HOST, "replug")
            .body(())
            .map_err(|error| error.to_string())?;
        let (parts, ()) = request.into_parts();
        let info = RequestInfo {
            uri: None,
            original_uri: uri,
            mount: lease.mount.as_str(),
            peer: Peer::Unix,
            id: 0,
        };
        let call = Plugin::call_without_body(&lease.0, &parts, &info, ());
        let response = match call {
            Ok(call) => call.await,
            Err(error) => Err(error),
        };
        let status = response
            .map_err(|error| format!("failed: {error}"))?
            .status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("was answered with {status}"))
        }
    };
    match Builder::new_current_thread().enable_time().build() {
        // The clock of `timeout` is the runtime's: it is made within.
        Ok(runtime) => runtime.block_on(async { timeout(limit, ask).await.ok() }),
        Err(error) => Some(Err(format!("cannot be asked: {error}"))),
    }
}
