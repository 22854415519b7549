//! Commands to a running host, over a Unix socket that only its user can open.
//!
//! The protocol is HTTP with JSON, so that `curl --unix-socket` speaks it too:
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | [`Status`](crate::reload::Status) |
//! | `POST /reload?app=NAME&force=BOOL&guard=BOOL` | [`Reply`](crate::reload::Reply), when the new generation serves (and has been watched) or was refused |
//! | `POST /rollback?app=NAME&digest=DIGEST` | the same, for an artifact that served before |
//! | `POST /pin?app=NAME&digest=DIGEST`, `POST /unpin?app=NAME` | the same |
//! | `POST /stop` | 202, and the host drains and ends |
//! | `GET /ready` | [`Image`](super::Image), once it serves |
//! | `POST /restart` | [`HostAnswer`](super::HostAnswer), when the new program was found to run or not |
//! | `POST /apply?dry_run=BOOL` | [`Applied`](crate::reload::Applied), when a changed configuration is in force or was refused |
//! | `GET /registry` | what all apps have registered |
//! | `GET /history?app=NAME` | [`HistoryStatus`](crate::reload::HistoryStatus) |

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    commands,
    whole::{self, HostRequest, Image},
};
use crate::{
    config::ControlSocket,
    reload::Handle,
    server::{Heirloom, SocketFile, bind_unix},
};

/// The socket of a host, for as long as this lives.
#[derive(Debug)]
pub struct Control {
    file: SocketFile,
    listener: std::os::unix::net::UnixListener,
}

/// Why a host has no control socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot take commands on {path}: {reason}")]
pub struct ControlError {
    /// Where.
    pub path: String,
    /// What the system says.
    pub reason: io::Error,
}

impl ControlError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.reason.kind() {
            io::ErrorKind::AddrInUse => {
                "another host takes commands there; give this one a socket of its own with \
                 --control PATH, or none with --control none"
            }
            io::ErrorKind::AlreadyExists => "a file that is no socket stands in the way; move it",
            io::ErrorKind::InvalidInput => {
                "a socket's path may have about 100 bytes; name a shorter one with --control PATH"
            }
            _ => "name a socket in a directory of this user's with --control PATH",
        }
    }
}

impl Control {
    /// Makes the socket, or goes on with the one that was left, if that is at the same place.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn bind(place: &ControlSocket, left: Option<Heirloom>) -> Result<Self, ControlError> {
        let left = left.and_then(|left| left.into_unix().ok());
        bind(place, left).map_err(|reason| ControlError {
            path: place.to_string(),
            reason,
        })
    }

    /// Serves commands until what this returns is dropped. To be called on a tokio runtime.
    ///
    /// # Errors
    /// When the system cannot wait on the socket.
    pub fn serve(
        self,
        handle: Handle,
        requests: mpsc::UnboundedSender<HostRequest>,
        image: watch::Receiver<Option<Image>>,
    ) -> io::Result<Serving> {
        let heirloom = Heirloom::of_unix(self.file.path(), &self.listener)?;
        let listener = UnixListener::from_std(self.listener)?;
        let routes = Router::new()
            .route("/status", get(status))
            .merge(commands::routes())
            .with_state(handle)
            .merge(whole::routes(requests, image));
        Ok(Serving {
            task: AbortOnDropHandle::new(tokio::spawn(accept(listener, routes))),
            file: self.file,
            heirloom,
        })
    }
}

/// A control socket that is served.
#[derive(Debug)]
pub struct Serving {
    task: AbortOnDropHandle<()>,
    file: SocketFile,
    /// The same socket once more, which stays open.
    heirloom: Heirloom,
}

impl Serving {
    /// Takes no more commands, and leaves the socket and its file to who goes on with it.
    pub async fn hand_on(self) -> Heirloom {
        self.file.keep();
        self.task.abort();
        // Whoever comes from now on waits.
        let _ = self.task.await;
        self.heirloom
    }
}

fn bind(
    place: &ControlSocket,
    left: Option<(SocketFile, std::os::unix::net::UnixListener)>,
) -> io::Result<Control> {
    let path = place.path();
    // At another place, it goes, with its file.
    if let Some((file, listener)) = left.filter(|(file, _)| file.path() == path) {
        return Ok(Control { file, listener });
    }
    if let (ControlSocket::Usual(_), Some(dir)) = (place, path.parent()) {
        own_directory(dir)?;
    }
    let (file, listener) = bind_unix(path)?;
    // The peers' credentials are looked at, too: between the two calls it is open to others.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(Control { file, listener })
}

/// Makes the directory if it is not there. One below the temporary directory must be this user's
/// alone, or another could put a socket of theirs in the place of ours.
fn own_directory(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(dir)?;
    let mine = found.uid() == rustix::process::geteuid().as_raw();
    if dir.starts_with(std::env::temp_dir())
        && !(mine && found.is_dir() && found.mode() & 0o022 == 0)
    {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} belongs to somebody else", dir.display()),
        ));
    }
    Ok(())
}

async fn accept(listener: UnixListener, routes: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_allowed(&stream) => {
                let service = TowerToHyperService::new(routes.clone());
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!("a command's connection ended early: {error}");
                    }
                });
            }
            Ok(_) => tracing::warn!(
                event = "command-refused",
                "refused a command of another user's"
            ),
            Err(error) => {
                tracing::warn!(event = "accept-failed", "cannot take a command: {error}");
                tokio::time::sleep(crate::server::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The host's own user, and root.
fn is_allowed(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw() || peer.uid() == 0)
}

async fn status(State(handle): State<Handle>) -> Response {
    match handle.status().await {
        Some(status) => Json(status).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
