//! What an app asks of its host while it is set up.

use std::{future::Future, path::Path, sync::PoisonError, time::Duration};

use serde::Serialize;

use super::Setup;
use crate::{
    HostError, HostHandle, Registration, Registry, State,
    host::Way,
    state::{IntoSave, Saver},
};

/// The shortest time between two calls of a schedule.
const SHORTEST: Duration = Duration::from_millis(1);

impl Setup {
    /// A way to the host, for handlers and tasks.
    #[must_use]
    pub fn host(&self) -> HostHandle {
        self.host.clone()
    }

    /// What all apps have registered.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.host.registry()
    }

    /// Makes the app reload when that file changes, or any file below that directory: a template,
    /// say, or a file of settings. A relative path begins in the host's current directory. The file
    /// need not exist yet; when it goes, that is a change, too.
    ///
    /// # Errors
    /// When the host is too old to do that, or the path cannot be made absolute.
    pub fn track(&mut self, path: impl AsRef<Path>) -> Result<(), HostError> {
        let path = std::path::absolute(&path).map_err(|error| {
            HostError::new(format!("cannot track {}: {error}", path.as_ref().display()))
        })?;
        match &self.host.0 {
            Way::Host(link) => link.track(&path),
            Way::Detached(_) => Ok(()),
        }
    }

    /// Registers `(kind, key)` with a value, for as long as the app serves: all apps, and operators
    /// (`replug registry`), see it from the moment when this generation serves. The next generation
    /// registers it again, which changes nothing; what that leaves out goes.
    ///
    /// ```
    /// # let mut setup = replug_plugin::Setup::detached("shop");
    /// setup.register("menu-entry", "Shop", "/shop")?;
    /// # Ok::<(), replug_plugin::HostError>(())
    /// ```
    ///
    /// # Errors
    /// When another app owns that key with another value (the message names it), when kind, key or
    /// value are too long or no JSON can be made of the value, or the host is too old.
    pub fn register(
        &mut self,
        kind: &str,
        key: &str,
        value: impl Serialize,
    ) -> Result<(), HostError> {
        let value = serde_json::to_value(value).map_err(|error| {
            HostError::new(format!(
                "cannot register {kind} `{key}`: its value: {error}"
            ))
        })?;
        match &self.host.0 {
            Way::Host(link) => link.register(kind, key, &value.to_string()),
            Way::Detached(own) => {
                own.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Registration {
                        key: key.to_owned(),
                        value,
                        owners: vec![self.name().to_owned()],
                        kind: kind.to_owned(),
                    });
                Ok(())
            }
        }
    }

    /// Gives the app another mount besides its own: the kind `route` of the registry.
    ///
    /// # Errors
    /// When another app has that mount, it is no mount, or the host is too old.
    pub fn route(&mut self, mount: &str) -> Result<(), HostError> {
        self.register("route", mount, ())
    }

    /// Has `handler` called each time `every` has passed, while this generation serves: as a task
    /// of the app's own runtime. A call never overlaps the one before; those that would are left
    /// out. A reload neither doubles a schedule nor begins its time anew. A panic is logged, counted,
    /// and ends that call only.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let mut setup = replug_plugin::Setup::detached("shop");
    /// setup.schedule("clean-up", Duration::from_secs(60), || async { /* … */ })?;
    /// # Ok::<(), replug_plugin::HostError>(())
    /// ```
    ///
    /// # Errors
    /// When `every` is shorter than a millisecond, the app has a schedule of that name, or the host
    /// is too old.
    pub fn schedule<F, Fut>(
        &mut self,
        name: &str,
        every: Duration,
        handler: F,
    ) -> Result<(), HostError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if every < SHORTEST {
            return Err(HostError::new(format!(
                "schedule `{name}` is to be called every {every:?}; {SHORTEST:?} is the shortest"
            )));
        }
        match &self.host.0 {
            Way::Host(link) => link.schedule(name, every)?,
            Way::Detached(_) => {}
        }
        self.registered.schedules.insert(name, handler);
        Ok(())
    }

    /// Says how to save the app's state for its next generation: bytes or text under a version of
    /// its form. Called after this generation's last request (or when its drain time is over), and
    /// before its cleanup hooks; also when the host ends, which keeps it if it has a `state-dir`.
    /// The last call counts.
    ///
    /// Where it fails, panics, or takes longer than the app's `cleanup-timeout`, the next generation
    /// does not come to serve, and this one goes on: so it may be called again later.
    ///
    /// ```
    /// # use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// # let mut setup = replug_plugin::Setup::detached("counter");
    /// let counter = Arc::new(AtomicU64::new(0));
    /// let saved = Arc::clone(&counter);
    /// setup.save_state(1, move || saved.load(Ordering::SeqCst).to_string());
    /// ```
    pub fn save_state<Kind>(&mut self, schema: u32, save: impl IntoSave<Kind>) {
        self.registered.saver = Some(Saver {
            schema,
            save: save.into_save(),
        });
    }

    /// What the generation before saved; `None`: there was none, or it saves nothing.
    ///
    /// Call it last in setup: it waits until the one before has answered its last request, and from
    /// then on requests wait, until setup has ended. It blocks this thread, which is setup's own,
    /// in an async function, too.
    ///
    /// To refuse what it gives, fail setup: the one before goes on as if nothing had happened.
    ///
    /// ```
    /// # use replug_plugin::{BoxError, Setup};
    /// # fn app(setup: &mut Setup) -> Result<u64, BoxError> {
    /// let count = match setup.previous_state()? {
    ///     None => 0,
    ///     Some(state) if state.schema() == 1 => std::str::from_utf8(state.bytes())?.parse()?,
    ///     Some(state) => return Err(format!("schema {} is not known", state.schema()).into()),
    /// };
    /// # Ok(count) }
    /// # assert_eq!(app(&mut Setup::detached("x").with_state(1, "7")).unwrap(), 7);
    /// ```
    ///
    /// # Errors
    /// When the one before could not save it: then this one does not come to serve, whatever its
    /// setup comes to. Or when the host is too old.
    pub fn previous_state(&mut self) -> Result<Option<State>, HostError> {
        match &self.host.0 {
            Way::Host(link) => link.previous_state(),
            Way::Detached(_) => Ok(self.state.clone()),
        }
    }

    /// Has the app reloaded once more, though its file be the same; see
    /// [`HostHandle::request_reload`].
    ///
    /// # Errors
    /// When the host is too old.
    pub fn request_reload(&self) -> Result<(), HostError> {
        self.host.request_reload()
    }

    /// Has the whole host replace itself; see [`HostHandle::request_restart`].
    ///
    /// # Errors
    /// When the host is too old.
    pub fn request_restart(&self) -> Result<(), HostError> {
        self.host.request_restart()
    }
}
