//! What workers log, where the host's log goes to a file.
//!
//! Only the host knows when that file becomes another, and may open it. So each worker writes to a
//! pipe, and the host copies whole lines as they are.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, net::unix::pipe, task::JoinHandle, time::timeout};

use crate::telemetry;

/// How long what a dead worker has written may take to be copied. A process that it has started
/// may still hold its pipe.
const COPIED: Duration = Duration::from_secs(1);

/// How long a line may be before its parts are passed on, in bytes.
const LONGEST: usize = 1 << 20;

/// What one worker logs.
#[derive(Debug)]
pub(super) struct Log(Option<JoinHandle<()>>);

impl Log {
    /// Where a worker is to write its log to, which reaches the host's as long as this runtime runs.
    pub(super) fn new() -> io::Result<(OwnedFd, Self)> {
        if !telemetry::is_to_file() {
            return Ok((io::stderr().as_fd().try_clone_to_owned()?, Self(None)));
        }
        let (ours, theirs) = io::pipe()?;
        let ours = pipe::Receiver::from_owned_fd(ours.into())?;
        Ok((theirs.into(), Self(Some(tokio::spawn(copy(ours))))))
    }

    /// The worker is dead: waits until all that it wrote is in the log.
    pub(super) async fn end(self) {
        if let Some(copying) = self.0 {
            let _ = timeout(COPIED, copying).await;
        }
    }
}

async fn copy(mut from: pipe::Receiver) {
    let mut waiting = Vec::new();
    while let Ok(1..) = from.read_buf(&mut waiting).await {
        let end = waiting.iter().rposition(|byte| *byte == b'\n');
        let whole = match end {
            Some(end) => end + 1,
            None if waiting.len() > LONGEST => waiting.len(),
            None => continue,
        };
        telemetry::write_lines(&waiting[..whole]);
        waiting.drain(..whole);
    }
    if !waiting.is_empty() {
        // It died in the middle of a line.
        waiting.push(b'\n');
        telemetry::write_lines(&waiting);
    }
}
