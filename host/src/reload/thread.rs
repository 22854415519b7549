//! Short-lived threads: for what may block, or run for long, in an app's code.

use std::{io, thread, time::Instant};

use tokio::sync::oneshot;

/// Runs `work` on a thread of its own; `late` gets what it came to when nobody waits any more. The
/// receiver fails if `work` panics.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
    late: impl FnOnce(T) + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if let Err(result) = sender.send(work()) {
                late(result);
            }
        })?;
    Ok(receiver)
}

/// Milliseconds since then, rounded to microseconds: a log line stays readable.
pub(super) fn ms(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}
