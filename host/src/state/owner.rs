//! Whose state it is.

use crate::id::ArtifactPath;

/// Whose state it is: an app's in the host itself, or in one worker of its group. The next worker of
/// that number has it, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The app.
    pub app: ArtifactPath,
    /// The worker's number; `None`: the host itself.
    pub worker: Option<u32>,
}

impl Owner {
    /// What stands in its file: the app's path, and behind a zero, which no path has, the worker's
    /// number.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.app.as_path().as_os_str().as_encoded_bytes().to_vec();
        if let Some(worker) = self.worker {
            bytes.push(0);
            bytes.extend(worker.to_string().as_bytes());
        }
        bytes
    }
}

impl From<&ArtifactPath> for Owner {
    fn from(app: &ArtifactPath) -> Self {
        let app = app.clone();
        Self { app, worker: None }
    }
}
