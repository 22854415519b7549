//! Where commands reach a running host.

use std::{env, fmt, path::PathBuf};

/// The control socket's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlSocket {
    /// Where the operator said. A host that cannot have it does not start.
    Named(PathBuf),
    /// The usual place. If another host has it, this one does without.
    Usual(PathBuf),
}

impl ControlSocket {
    /// The usual place: in the user's runtime directory, else in `/run` for root, else in a
    /// directory of the user's own below the temporary one.
    #[must_use]
    pub fn usual() -> Self {
        let user = rustix::process::geteuid();
        let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        Self::Usual(match runtime {
            Some(dir) => PathBuf::from(dir).join("replug.sock"),
            None if user.is_root() => PathBuf::from("/run/replug.sock"),
            None => env::temp_dir()
                .join(format!("replug-{}", user.as_raw()))
                .join("control.sock"),
        })
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::Named(path) | Self::Usual(path) => path,
        }
    }
}

impl fmt::Display for ControlSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}
