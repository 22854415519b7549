//! Why a request has no response of a worker's.

use std::{fmt, io, sync::Arc};

use http::StatusCode;

use crate::workers::{Death, Refusal, Worker};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No worker took it; it was not begun.
    #[error(transparent)]
    NoWorker(Refusal),
    /// The worker's backlog stayed full, and no other is ready; it was not begun.
    #[error("the worker took no connection in time")]
    ConnectTimeout,
    /// The worker died with it.
    #[error("the worker {0}")]
    Died(Death),
    /// The worker lives, and gave no answer.
    #[error("the worker gave no answer")]
    Broken(#[source] Broken),
    /// It took longer than a request may.
    #[error("the request took longer than it may")]
    RequestTimeout,
    /// The client ended its request's body with an error. Nobody waits for a response.
    #[error("the client broke off its request")]
    Client,
}

/// How a connection to a worker broke.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It could not be made.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// What came or did not come on it.
    #[error(transparent)]
    Http(hyper::Error),
    /// The connection that it shared with others ended.
    #[error("its connection ended")]
    Ended,
    /// The worker gave up: why.
    #[error("{0}")]
    Failed(String),
    /// Another protocol was agreed to that nobody had asked for.
    #[error("it switched protocols unasked")]
    Unasked,
}

impl ProxyError {
    /// What the client is told: 502, 503 or 504; 400 for a request that the client broke off.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoWorker(Refusal::Full | Refusal::Shut(_) | Refusal::Replaced) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoWorker(Refusal::TimedOut) | Self::ConnectTimeout | Self::RequestTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Died(_) | Self::Broken(_) => StatusCode::BAD_GATEWAY,
            Self::Client => StatusCode::BAD_REQUEST,
        }
    }

    /// A short name for logs and metrics, which stays as it is.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoWorker(Refusal::Full) => "queue-full",
            Self::NoWorker(Refusal::TimedOut) => "queue-timeout",
            Self::NoWorker(Refusal::Shut(_) | Refusal::Replaced) => "no-workers",
            Self::ConnectTimeout => "connect-timeout",
            Self::Died(_) => "worker-died",
            Self::Broken(_) => "worker-broke",
            Self::RequestTimeout => "request-timeout",
            Self::Client => "client-broke",
        }
    }
}

/// A request that failed, and where.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: ProxyError,
    /// The last worker that had it; `None`: none had.
    pub worker: Option<Arc<Worker>>,
}

impl Failure {
    pub(super) fn of(error: ProxyError, worker: Option<Arc<Worker>>) -> Self {
        Self { error, worker }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(worker) = &self.worker {
            write!(f, "worker {} (pid {}): ", worker.number, worker.pid)?;
        }
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}
