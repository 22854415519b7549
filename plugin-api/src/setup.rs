//! What a plugin is given to set itself up with.

use std::{
    error::Error,
    fmt,
    panic::Location,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde::de::DeserializeOwned;

mod asking;

use crate::{
    HostHandle, State,
    cleanup::{Hook, Hooks, IntoCleanup},
    host::Way,
    request::Mode,
    schedule::Schedules,
    shutdown::{ShutdownSignal, ShutdownToken},
    state::Saver,
};

/// What does not change during a generation's life.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) mount: String,
    pub(crate) generation: u64,
    pub(crate) mode: Mode,
}

/// Handed to the function that `export_app!` names: the app's facts, its settings, and what ties
/// it to its life in the host.
#[derive(Debug)]
pub struct Setup {
    facts: Arc<Facts>,
    settings: Vec<u8>,
    registered: Registered,
    shutdown: ShutdownToken,
    host: HostHandle,
    // Only without a host.
    state: Option<State>,
    // Only without a host: keeps the token from resolving.
    _signal: Option<ShutdownSignal>,
}

impl Setup {
    pub(crate) fn new(
        facts: Arc<Facts>,
        settings: Vec<u8>,
        shutdown: ShutdownToken,
        host: HostHandle,
    ) -> Self {
        Self {
            facts,
            settings,
            registered: Registered::default(),
            shutdown,
            host,
            state: None,
            _signal: None,
        }
    }

    /// A setup without a host, for unit tests: generation 1, mounted at `/`, no settings.
    ///
    /// ```
    /// # use replug_plugin::Setup;
    /// # fn app(_: &mut Setup) -> axum::Router { axum::Router::new() }
    /// let router = app(&mut Setup::detached("hello"));
    /// // … and call it with `tower::ServiceExt::oneshot`.
    /// ```
    #[must_use]
    pub fn detached(name: &str) -> Self {
        let (signal, shutdown) = ShutdownSignal::new();
        let facts = Facts {
            name: name.to_owned(),
            path: PathBuf::new(),
            mount: "/".to_owned(),
            generation: 1,
            mode: Mode::Embedded,
        };
        let host = HostHandle(Way::Detached(Arc::default()));
        let setup = Self::new(Arc::new(facts), b"{}".to_vec(), shutdown, host);
        Self {
            _signal: Some(signal),
            ..setup
        }
    }

    /// The same with these settings; for unit tests.
    #[must_use]
    pub fn with_settings(mut self, settings: &serde_json::Value) -> Self {
        self.settings = settings.to_string().into_bytes();
        self
    }

    /// The same with this as what the generation before saved; for unit tests.
    #[must_use]
    pub fn with_state(mut self, schema: u32, bytes: impl Into<Bytes>) -> Self {
        self.state = Some(State::new(schema, bytes.into()));
        self
    }

    /// The app's name: the package's, unless the operator gave it another.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// The artifact's absolute path, as the operator wrote it. It is the app's identity; the code
    /// that runs comes from a private copy of that file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.facts.path
    }

    /// Where the app is mounted: `/`, or a path such as `/hello` without a slash at its end. The
    /// mount has been taken off the URIs of requests.
    #[must_use]
    pub fn mount(&self) -> &str {
        &self.facts.mount
    }

    /// Which generation of the app this is: 1 for the first, one more for each reload.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.facts.generation
    }

    /// Whether the app runs inside the host or in a worker process.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.facts.mode
    }

    /// The app's settings as a type of its own.
    ///
    /// ```
    /// # use replug_plugin::Setup;
    /// #[derive(serde::Deserialize)]
    /// struct Settings {
    ///     #[serde(default)]
    ///     greeting: String,
    /// }
    /// # let setup = Setup::detached("x").with_settings(&serde_json::json!({"greeting": "hi"}));
    /// let settings: Settings = setup.settings()?;
    /// # assert_eq!(settings.greeting, "hi");
    /// # Ok::<(), replug_plugin::SettingsError>(())
    /// ```
    ///
    /// # Errors
    /// When they do not fit the type; the message names the app, the key and what was expected.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        serde_json::from_slice(&self.settings).map_err(|source| SettingsError {
            app: self.facts.name.clone(),
            source,
        })
    }

    /// Registers what is to be done before the app goes: once, after its last request, the last
    /// registered first. `hook` is a plain or an async closure; a plain one may block.
    ///
    /// It may take the [`Reason`](crate::Reason): `|reason: Reason| …`.
    ///
    /// A hook that panics or runs out of time is logged by name, and the others run all the same.
    /// All hooks together have the app's `cleanup-timeout` (5 s by default).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let mut setup = replug_plugin::Setup::detached("x");
    /// setup.on_cleanup(|| println!("bye"));
    /// setup
    ///     .on_cleanup(|| async { /* say goodbye to a peer */ })
    ///     .name("peer")
    ///     .time_limit(Duration::from_secs(1));
    /// ```
    #[track_caller]
    pub fn on_cleanup<Kind>(&mut self, hook: impl IntoCleanup<Kind>) -> Hook<'_> {
        let hooks = &mut self.registered.hooks;
        hooks.push(Location::caller(), hook.into_cleanup())
    }

    /// A token that resolves when draining begins.
    #[must_use]
    pub fn shutdown(&self) -> ShutdownToken {
        self.shutdown.clone()
    }

    pub(crate) fn finish(self) -> Registered {
        self.registered
    }
}

/// What setup leaves for later.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    pub(crate) hooks: Hooks,
    pub(crate) saver: Option<Saver>,
    pub(crate) schedules: Schedules,
}

/// Why an app's settings do not fit its type.
#[derive(Debug)]
pub struct SettingsError {
    app: String,
    source: serde_json::Error,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the settings of app `{}` do not fit; correct them in the host's configuration",
            self.app
        )
    }
}

impl Error for SettingsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}
