//! What has come of loading a worker's apps.

use std::sync::Arc;

use tokio::{sync::mpsc, task::JoinHandle};

use super::signals::Signals;
use crate::{
    artifact::StagingArea,
    channel::{ChannelError, Ready, Report},
    id::{AppName, ArtifactPath},
    process::HostThreads,
    reload::{Handle, Wanted},
    server::{Entrance, Server},
};

/// Why a worker does not come to serve.
pub(super) enum NotLoaded {
    Refused(Report),
    /// The supervisor is gone.
    Lost(ChannelError),
}

impl From<Report> for NotLoaded {
    fn from(refused: Report) -> Self {
        Self::Refused(refused)
    }
}

/// A worker whose apps serve, and whose supervisor does not know it yet.
pub(super) struct Loaded {
    pub(super) handle: Handle,
    pub(super) server: Server,
    pub(super) entrance: Option<Entrance>,
    pub(super) actor: JoinHandle<()>,
    pub(super) host_threads: Arc<HostThreads>,
    pub(super) reload_asked: mpsc::UnboundedReceiver<AppName>,
    pub(super) restart_asked: mpsc::Receiver<AppName>,
    pub(super) signals: Signals,
    pub(super) staging: Arc<StagingArea>,
}

impl Loaded {
    /// What the apps said in their setup.
    pub(super) async fn said(&self, apps: &[(AppName, ArtifactPath)]) -> Vec<Ready> {
        let mut said = self.handle.said().await;
        let apps = apps.iter();
        apps.map(|(name, path)| Ready::new(name, said.remove(path).unwrap_or_default()))
            .collect()
    }
}

pub(super) fn names(wanted: &[Wanted]) -> Vec<(AppName, ArtifactPath)> {
    let named = wanted.iter();
    named
        .filter_map(|wanted| Some((wanted.name.clone()?, wanted.path.clone())))
        .collect()
}

/// Why an app does not serve: of the first that does not.
pub(super) async fn refusal(handle: &Handle) -> Report {
    let status = handle.status().await;
    let apps = status.map(|status| status.apps).unwrap_or_default();
    let refused = apps
        .into_iter()
        .find_map(|app| Some((app.name, app.refused?)));
    match refused {
        Some((app, refused)) => Report::Refused {
            app: Some(app),
            reason: refused.reason,
            remedy: refused.remedy,
        },
        None => Report::Refused {
            app: None,
            reason: "its apps were not loaded".to_owned(),
            remedy: "the log before this line says more".to_owned(),
        },
    }
}
