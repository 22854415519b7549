//! What an app hands to its next generation.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{runtime::Handle, time::timeout};

use crate::{BoxError, cleanup::on_own_clock};

/// What the generation before saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    schema: u32,
    bytes: Bytes,
}

impl State {
    pub(crate) fn new(schema: u32, bytes: Bytes) -> Self {
        Self { schema, bytes }
    }

    /// The version of its form, as the generation that saved it gave it.
    #[must_use]
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// The state.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// What a saving closure may return: bytes or text, or a `Result` of either.
pub trait IntoState {
    #[doc(hidden)]
    fn into_state(self) -> Result<Bytes, BoxError>;
}

impl IntoState for Bytes {
    fn into_state(self) -> Result<Bytes, BoxError> {
        Ok(self)
    }
}

impl IntoState for Vec<u8> {
    fn into_state(self) -> Result<Bytes, BoxError> {
        Ok(self.into())
    }
}

impl IntoState for String {
    fn into_state(self) -> Result<Bytes, BoxError> {
        Ok(self.into())
    }
}

impl<T: IntoState, E: Into<BoxError>> IntoState for Result<T, E> {
    fn into_state(self) -> Result<Bytes, BoxError> {
        self.map_err(Into::into)?.into_state()
    }
}

/// A plain or an async closure that saves an app's state: what
/// [`Setup::save_state`](crate::Setup::save_state) takes.
///
/// `Kind` only tells the two apart, and is never written.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not save a state",
    note = "it is `Fn() -> S` or `Fn() -> impl Future<Output = S>`, `Send + Sync + 'static`, where \
            `S` is `Vec<u8>`, `Bytes`, `String`, or a `Result` of one"
)]
pub trait IntoSave<Kind> {
    #[doc(hidden)]
    fn into_save(self) -> Save;
}

type Saved = Result<Bytes, BoxError>;

#[doc(hidden)]
#[allow(
    missing_debug_implementations,
    reason = "closures have nothing to show"
)]
pub enum Save {
    Sync(Arc<dyn Fn() -> Saved + Send + Sync>),
    Async(Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Saved> + Send>> + Send + Sync>),
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Plain;
#[doc(hidden)]
#[derive(Debug)]
pub struct Async;

impl<F, S> IntoSave<(Plain, S)> for F
where
    F: Fn() -> S + Send + Sync + 'static,
    S: IntoState + 'static,
{
    fn into_save(self) -> Save {
        Save::Sync(Arc::new(move || self().into_state()))
    }
}

impl<F, Fut> IntoSave<(Async, Fut)> for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoState> + Send + 'static,
{
    fn into_save(self) -> Save {
        Save::Async(Arc::new(move || {
            let saving = self();
            Box::pin(async move { saving.await.into_state() })
        }))
    }
}

/// How an app saves its state.
pub(crate) struct Saver {
    pub(crate) schema: u32,
    pub(crate) save: Save,
}

impl std::fmt::Debug for Saver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saver")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Saver {
    /// Saves within that time, in a task of that runtime.
    ///
    /// # Errors
    /// When the closure fails, panics or takes too long, or there is more than `limit` bytes.
    pub(crate) fn run(&self, runtime: &Handle, limit: u64, time: Duration) -> Saved {
        let mut task = match &self.save {
            Save::Sync(save) => {
                let save = Arc::clone(save);
                runtime.spawn_blocking(move || save())
            }
            Save::Async(save) => {
                let save = Arc::clone(save);
                runtime.spawn(async move { save().await })
            }
        };
        let saved = on_own_clock(runtime, async {
            match timeout(time, &mut task).await {
                Ok(saved) => saved.map_err(Into::into).flatten(),
                Err(_) => {
                    task.abort();
                    Err(format!("saving the state took longer than {time:?}").into())
                }
            }
        })?;
        if saved.len() as u64 > limit {
            return Err(format!(
                "the state has {} bytes, and may have {limit}; save less, or let the operator \
                 raise `state-limit`",
                saved.len()
            )
            .into());
        }
        Ok(saved)
    }
}
