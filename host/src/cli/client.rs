//! Commands on their way to a running host.

use std::{io, path::PathBuf, time::Duration};

use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use super::{output::print_error, serve};
use crate::{config::ControlSocket, exit_code::ExitCode};

/// Which host is meant.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Target {
    /// The host's control socket. By default replug.sock in the runtime directory, where a host
    /// has it unless told otherwise.
    #[arg(long, value_name = "PATH", env = "REPLUG_CONTROL")]
    control: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("no host answers on {path}: {reason}", path = .path.display())]
    NoHost { path: PathBuf, reason: io::Error },
    #[error("the host on {path} broke off: {reason}", path = .path.display())]
    Broken { path: PathBuf, reason: String },
}

impl ClientError {
    fn remedy(&self) -> &'static str {
        match self {
            Self::NoHost { reason, .. } if reason.kind() == io::ErrorKind::PermissionDenied => {
                "run this as the host's user"
            }
            Self::NoHost { .. } => {
                "start one with `replug serve`, or name its socket, as its log does, with \
                 --control PATH"
            }
            Self::Broken { .. } => "the host may have ended; its log says more",
        }
    }
}

/// A control socket's path.
#[derive(Clone, Debug)]
pub(super) struct Path(PathBuf);

impl Target {
    /// Asks, and does what `then` says with the answer.
    pub(super) fn ask<T: DeserializeOwned>(
        self,
        method: Method,
        uri: &Uri,
        time: Duration,
        then: impl FnOnce(T) -> ExitCode,
    ) -> ExitCode {
        let path = self.path();
        self.run(time, "answer", async {
            path.ask(method, uri).await.map(then)
        })
    }

    /// Where the host is.
    pub(super) fn path(&self) -> Path {
        let named = self.control.clone().map(ControlSocket::Named);
        Path(named.unwrap_or_else(ControlSocket::usual).path().clone())
    }

    /// Does something with a host, for that long at the most.
    pub(super) fn run(
        self,
        time: Duration,
        what: &str,
        work: impl Future<Output = Result<ExitCode, ClientError>>,
    ) -> ExitCode {
        let place = self.path().0;
        let ended = serve::with_runtime(async {
            match timeout(time, work).await {
                Ok(Ok(code)) => code,
                Err(_) => {
                    let place = place.display();
                    let error = format!("the host on {place} did not {what} within {time:?}");
                    print_error(&error, "`replug status` and its log say what it is doing");
                    ExitCode::Timeout
                }
                Ok(Err(error)) => {
                    print_error(&error, error.remedy());
                    match error {
                        ClientError::NoHost { .. } => ExitCode::NoHost,
                        ClientError::Broken { .. } => ExitCode::Failure,
                    }
                }
            }
        });
        ended.unwrap_or_else(|code| code)
    }
}

impl Path {
    /// Asks for something.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        uri: &Uri,
    ) -> Result<T, ClientError> {
        let body = self.tell(method, uri).await?;
        serde_json::from_slice(&body).map_err(|error| self.broken(&error))
    }

    /// Asks for something, and takes any answer that says yes.
    pub(super) async fn tell(&self, method: Method, uri: &Uri) -> Result<Bytes, ClientError> {
        let stream = self.connect().await?;
        let body = talk(stream, method, uri).await;
        body.map_err(|error| self.broken(&error))
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Broken {
            path: self.0.clone(),
            reason: reason.to_string(),
        }
    }

    /// A connection on which nothing is asked.
    pub(super) async fn connect(&self) -> Result<UnixStream, ClientError> {
        let connected = UnixStream::connect(&self.0).await;
        connected.map_err(|reason| ClientError::NoHost {
            path: self.0.clone(),
            reason,
        })
    }
}

/// A request's target. Every query is one that can be written.
pub(super) fn uri(path: &str, query: &impl serde::Serialize) -> Uri {
    let query = serde_urlencoded::to_string(query).unwrap_or_default();
    format!("{path}?{query}").parse().unwrap_or_default()
}

/// The body of the answer.
async fn talk(
    stream: UnixStream,
    method: Method,
    uri: &Uri,
) -> Result<Bytes, Box<dyn std::error::Error>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(http::header::HOST, "replug")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status()).into());
    }
    Ok(response.into_body().collect().await?.to_bytes())
}
