//! The program as it was started, to be started again in its own place.
//!
//! The process's id stays, so that who supervises it sees nothing. The sockets that it listens on
//! stay open all the time; who connects meanwhile waits in their queues. nginx and HAProxy start a
//! second process instead, which makes no pause, but is another process.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::time::timeout;

use super::estate::{Estate, FORM, VARIABLE};
use crate::{
    exit_code::ExitCode,
    process::{Execution, Origin},
};

/// How long the new program may take for each thing that it is asked.
const CHECK: Duration = Duration::from_secs(10);

/// The program as it was started.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Program {
    path: Option<PathBuf>,
    args: Vec<OsString>,
    origin: Origin,
}

impl Program {
    /// To be called before there is another thread, and so before any plugin runs: those may change
    /// the environment and the directory, and somebody may replace the file.
    pub(in crate::cli) fn remember() -> Self {
        let args: Vec<OsString> = env::args_os().collect();
        Self {
            path: path(args.first()),
            args,
            origin: Origin::remember(),
        }
    }

    /// Whether the program that is there now can take this one's place: what can be found out while
    /// this one still serves. It must run here, be Replug, and understand what this image leaves to
    /// it; and the command line and the configuration must be right by its own judgement. Says
    /// which version it is.
    ///
    /// Whether it can then start (a new address may be taken) is not known before.
    pub(super) async fn check(&self) -> Result<Checked, String> {
        let Some(path) = &self.path else {
            return Err("the system does not say which program this is".to_owned());
        };
        let file = identity(path);
        let form = FORM.to_string();
        let known = self
            .ask(path, &["inherits".as_ref(), form.as_ref()])
            .await?;
        let Some(version) = known.trim_end().strip_prefix("replug ") else {
            return Err(format!("{} is not Replug", path.display()));
        };
        if self.args.get(1).is_some_and(|command| command == "serve") {
            let args = self.args.iter().skip(2).map(OsString::as_os_str);
            let args: Vec<&OsStr> = [OsStr::new("validate")].into_iter().chain(args).collect();
            self.ask(path, &args).await?;
        }
        let version = version.to_owned();
        Ok(Checked { version, file })
    }

    /// The same for a program that was found to be right a while ago: it may be another by now.
    pub(super) async fn check_again(&self, checked: &Checked) -> Result<(), String> {
        if self.path.as_deref().and_then(identity) == checked.file {
            return Ok(());
        }
        self.check().await.map(|_| ())
    }

    /// What it prints.
    async fn ask(&self, path: &Path, args: &[&OsStr]) -> Result<String, String> {
        /// An artifact that is refused is no reason not to restart.
        const REFUSED: i32 = ExitCode::Refused as i32;
        let shown = path.display();
        let mut command = tokio::process::Command::new(path);
        command
            .args(args)
            .env_clear()
            .envs(self.origin.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(dir) = &self.origin.dir {
            command.current_dir(dir);
        }
        let ended = timeout(CHECK, command.output())
            .await
            .map_err(|_| format!("{shown} did not end within {CHECK:?}"))?
            .map_err(|error| format!("{shown} cannot be executed: {error}"))?;
        match ended.status.code() {
            Some(0 | REFUSED) => Ok(String::from_utf8_lossy(&ended.stdout).into_owned()),
            _ => Err(format!(
                "{shown} {} ends with {}: {}",
                args[0].to_string_lossy(),
                ended.status,
                String::from_utf8_lossy(&ended.stderr).trim(),
            )),
        }
    }

    /// Goes on in a fresh image. Comes back only when that fails.
    pub(super) fn execute(&self, estate: &Estate) -> io::Error {
        let Some(path) = &self.path else {
            return io::Error::other("the system does not say which program this is");
        };
        match estate.text() {
            Err(error) => error.into(),
            Ok(text) => self.origin.execute(Execution {
                path,
                args: &self.args,
                variable: (VARIABLE, &text),
                keep: &estate.descriptors(),
            }),
        }
    }
}

/// A program that was found to be right.
#[derive(Debug)]
pub(super) struct Checked {
    /// Which version it is.
    pub(super) version: String,
    file: Option<Identity>,
}

/// Device, inode, size, and the time of the last change, of name and mode too.
type Identity = (u64, u64, u64, i64, i64);

fn identity(path: &Path) -> Option<Identity> {
    let found = fs::metadata(path).ok()?;
    let (device, inode, size) = (found.dev(), found.ino(), found.size());
    Some((device, inode, size, found.ctime(), found.ctime_nsec()))
}

/// Where the program was found by who started it, rather than where links led from there: those
/// may lead to a newer one by now.
fn path(name: Option<&OsString>) -> Option<PathBuf> {
    let this = env::current_exe().ok()?;
    let is_this = |path: &PathBuf| {
        let file = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
        file(path).is_some_and(|found| file(&this) == Some(found))
    };
    let name = Path::new(name?);
    let named = if name.components().count() > 1 {
        env::current_dir().ok().map(|dir| dir.join(name))
    } else {
        let dirs = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&dirs)
            .map(|dir| dir.join(name))
            .find(is_this)
    };
    Some(named.filter(is_this).unwrap_or(this))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_where_it_was_named_if_that_is_it() {
        let this = env::current_exe().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&this, &link).unwrap();
        assert_eq!(path(Some(&link.clone().into())), Some(link));
        for other in ["/bin/sh", "sh", "", "no/such"] {
            assert_eq!(path(Some(&other.into())), Some(this.clone()), "{other}");
        }
    }
}
