//! The way to the host's own threads: what has to be done *on* a thread is sent there.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;

/// Something to be done on a thread.
pub type Errand = Box<dyn FnOnce() + Send>;

/// The threads that run plugins' code for long: each takes errands between its other work.
#[derive(Default)]
pub struct HostThreads(Mutex<Vec<Thread>>);

struct Thread {
    name: String,
    send: Box<dyn Fn(Errand) + Send>,
}

impl fmt::Debug for HostThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_list()
            .entries(threads.iter().map(|thread| &thread.name))
            .finish()
    }
}

impl HostThreads {
    /// Adds a thread. `send` takes an errand to it, and drops it when the thread has ended.
    pub fn add(&self, name: String, send: impl Fn(Errand) + Send + 'static) {
        let thread = Thread {
            name,
            send: Box::new(send),
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
    }

    /// Has `errand` done on every thread.
    pub fn everywhere(&self, errand: impl Fn() + Send + Sync + 'static) -> Errands {
        let errand = Arc::new(errand);
        let threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let send = |thread: &Thread| {
            let (done, is_done) = oneshot::channel();
            let errand = Arc::clone(&errand);
            (thread.send)(Box::new(move || {
                errand();
                let _ = done.send(());
            }));
            (thread.name.clone(), is_done)
        };
        Errands(threads.iter().map(send).collect())
    }
}

/// Errands that may not be done yet.
#[derive(Debug)]
pub struct Errands(Vec<(String, oneshot::Receiver<()>)>);

impl Errands {
    /// Waits until all are done, or their threads have ended. Cancel-safe.
    pub async fn done(&mut self) {
        while let Some((_, last)) = self.0.last_mut() {
            // An error is a thread that has ended: nothing of its is left.
            let _ = last.await;
            self.0.pop();
        }
    }

    /// The threads that have not answered.
    #[must_use]
    pub fn waiting_for(&mut self) -> Vec<&str> {
        let pending = |errand: &mut (String, oneshot::Receiver<()>)| {
            matches!(
                errand.1.try_recv(),
                Err(oneshot::error::TryRecvError::Empty)
            )
        };
        self.0.retain_mut(pending);
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}
