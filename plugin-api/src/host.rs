//! What an app asks of its host while it runs.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::link::{HostError, Link};

/// A way to the host, for handlers and tasks.
#[derive(Clone, Debug)]
pub struct HostHandle(pub(crate) Way);

#[derive(Clone, Debug)]
pub(crate) enum Way {
    Host(Link),
    /// No host: what was asked for is kept here.
    Detached(Arc<Mutex<Vec<Registration>>>),
}

impl HostHandle {
    /// Has the app reloaded, though its file be the same. Returns at once; this generation goes on
    /// until the next one serves.
    ///
    /// Heard once a second at the most: what is asked for in between is put off. A generation that
    /// has been replaced is not heard.
    ///
    /// # Errors
    /// When the host is too old to know of it, or leaves it out.
    pub fn request_reload(&self) -> Result<(), HostError> {
        match &self.0 {
            Way::Host(link) => link.request_reload(),
            Way::Detached(_) => Ok(()),
        }
    }

    /// Has the whole host replace itself by a fresh process image, with its listeners kept. Returns
    /// at once.
    ///
    /// In the ten seconds after a restart, or after one was refused, it is put off. Asked for in the
    /// setup with which a host starts it comes to nothing: there is no image that would be fresher.
    ///
    /// # Errors
    /// When the host is too old to know of it, or leaves it out.
    pub fn request_restart(&self) -> Result<(), HostError> {
        match &self.0 {
            Way::Host(link) => link.request_restart(),
            Way::Detached(_) => Ok(()),
        }
    }

    /// What all apps have registered.
    #[must_use]
    pub fn registry(&self) -> Registry {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Registry {
            way: self.0.clone(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            seen: 0,
        }
    }
}

/// What all apps of the host have registered, those in it that serve.
///
/// ```
/// # use replug_plugin::{HostError, Setup};
/// # let mut setup = Setup::detached("menu");
/// setup.register("menu-entry", "Shop", "/shop")?;
/// let registry = setup.host().registry();
/// for entry in registry.registrations("menu-entry")? {
///     println!("{} leads to {}", entry.key, entry.value_as::<String>()?);
/// }
/// # Ok::<(), HostError>(())
/// ```
pub struct Registry {
    way: Way,
    id: u64,
    seen: u64,
}

/// An entry of the [`Registry`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Registration {
    /// Its key, unique in its kind.
    pub key: String,
    /// What it stands for.
    pub value: Value,
    /// The apps that have registered it, the first one first.
    pub owners: Vec<String>,
    #[serde(default)]
    pub(crate) kind: String,
}

impl Registration {
    /// The value as a type of one's own.
    ///
    /// # Errors
    /// When it is not of that type.
    pub fn value_as<T: DeserializeOwned>(&self) -> Result<T, HostError> {
        T::deserialize(&self.value)
            .map_err(|error| HostError::new(format!("the value of `{}`: {error}", self.key)))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// The entries of a kind, in the order in which they were first registered.
    ///
    /// # Errors
    /// When the host is too old to have a registry, or this generation is over.
    pub fn registrations(&self, kind: &str) -> Result<Vec<Registration>, HostError> {
        match &self.way {
            Way::Host(link) => {
                let list = link.registrations(kind)?;
                serde_json::from_slice(&list)
                    .map_err(|error| HostError::new(format!("the host's answer: {error}")))
            }
            Way::Detached(own) => {
                let own = own.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(own.iter().filter(|it| it.kind == kind).cloned().collect())
            }
        }
    }

    /// Waits until the registry is not what it was when this last returned; the first time at once.
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the host is too old to have a registry, or this generation is over.
    pub async fn changed(&mut self) -> Result<(), HostError> {
        let (link, id, seen) = match &self.way {
            Way::Host(link) => (*link, self.id, self.seen),
            Way::Detached(own) => {
                let count = |own: &Mutex<Vec<_>>| {
                    own.lock().unwrap_or_else(PoisonError::into_inner).len() as u64 + 1
                };
                if count(own) == self.seen {
                    std::future::pending::<()>().await;
                }
                self.seen = count(own);
                return Ok(());
            }
        };
        self.seen = poll_fn(|cx| match link.poll_registry(id, seen, cx) {
            Poll::Ready(version) => Poll::Ready(version),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Way::Host(link) = &self.way {
            link.leave_registry(self.id);
        }
    }
}
