//! What a worker is told at its start.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::PathBytes;
use crate::{
    config::{AppConfig, AppOptions, Config, Mount, Policy},
    id::{AppName, ArtifactPath},
    reload::{Handed, Member, Wanted},
};

/// What a worker is told at its start.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Begin {
    /// Its group.
    pub group: String,
    /// Its number in the group, from 0.
    pub number: u32,
    /// HTTP threads.
    pub threads: NonZeroUsize,
    /// How long what is under way may take when it is to end by itself.
    pub drain: Duration,
    /// How long a request may take that it took itself; zero: any time.
    pub request_timeout: Duration,
    /// How often it is to report what it has done; `None`: never.
    pub count_every: Option<Duration>,
    /// The crew's directory: the worker makes its own below it. It is in the supervisor's private
    /// directory, all of which the worker removes when it finds that the supervisor is gone.
    pub staging: PathBytes,
    /// What to load.
    pub apps: Vec<BeginApp>,
    /// What all apps of the host have registered: a JSON list.
    pub registry: String,
}

/// An app to load.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct BeginApp {
    path: PathBytes,
    name: String,
    mount: String,
    generation: u64,
    file: PathBytes,
    digest: [u8; 32],
    options: AppOptions,
    /// JSON.
    settings: String,
}

impl BeginApp {
    /// The private copy.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.file.clone().into()
    }

    /// Another copy is to be loaded, of the same bytes.
    pub fn set_file(&mut self, file: PathBuf) {
        self.file = file.into();
    }

    /// What a worker has to know of an app.
    #[must_use]
    pub fn new(member: &Member, config: &Config) -> Self {
        let settings = config.settings_of(&member.name);
        Self {
            path: member.path.as_path().to_owned().into(),
            name: member.name.to_string(),
            mount: member.mount.to_string(),
            generation: member.generation.get(),
            file: member.artifact.staged_path().to_owned().into(),
            digest: *member.artifact.staged().digest().as_bytes(),
            options: config.options_of(&member.name).clone(),
            settings: Value::Object(settings).to_string(),
        }
    }
}

impl Begin {
    /// The configuration that a worker has, and what it is to load.
    ///
    /// # Errors
    /// Says what means nothing, which no supervisor of this version sends.
    pub fn into_config(self) -> Result<(Config, Vec<Wanted>), String> {
        let mut apps = BTreeMap::new();
        let mut wanted = Vec::new();
        for app in self.apps {
            let wrong = |error: &dyn std::fmt::Display| format!("app `{}`: {error}", app.name);
            let name = AppName::try_from(app.name.as_str()).map_err(|error| wrong(&error))?;
            let mount: Mount = app.mount.parse().map_err(|error| wrong(&error))?;
            let path = ArtifactPath::new(PathBuf::from(app.path)).map_err(|error| wrong(&error))?;
            let settings = serde_json::from_str(&app.settings).map_err(|error| wrong(&error))?;
            let config = AppConfig {
                mount: Some(mount.clone()),
                options: AppOptions {
                    // What the supervisor sees to.
                    reload: Policy::Manual,
                    preload: true,
                    overlap: true,
                    track: Vec::new(),
                    poll: Duration::ZERO,
                    guard: Duration::ZERO,
                    max_requests: 0,
                    max_age: Duration::ZERO,
                    group: None,
                    ..app.options
                },
                settings,
            };
            apps.insert(name.clone(), config);
            wanted.push(Wanted {
                path,
                mount: Some(mount),
                name: Some(name),
                alone: false,
                handed: Some(Handed {
                    file: app.file.into(),
                    digest: app.digest.into(),
                    generation: app.generation.into(),
                }),
            });
        }
        let config = Config {
            listen: Vec::new(),
            threads: self.threads,
            sources: Vec::new(),
            staging_dir: Some(self.staging.into()),
            defaults: AppOptions::default(),
            apps,
            groups: BTreeMap::new(),
            log_file: None,
            state_dir: None,
            control: None,
            file: None,
        };
        Ok((config, wanted))
    }
}
