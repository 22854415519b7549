//! The real program, started for one test.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Connection, artifacts, deadline,
    deploy::Artifact,
    in_time,
    log::{Event, Log},
    process,
};

/// A folder of a test's own: where libraries are put and hosts keep their copies.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// An empty one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("replug-test-")
            .tempdir()
            .unwrap();
        fs::create_dir(folder.path().join("apps")).unwrap();
        fs::create_dir(folder.path().join("staging")).unwrap();
        Self { folder }
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder for libraries.
    #[must_use]
    pub fn apps(&self) -> PathBuf {
        self.path().join("apps")
    }

    /// The control socket of a host here.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.path().join("control.sock")
    }

    /// Where the library of that name is to be put.
    #[must_use]
    pub fn library(&self, name: &str) -> PathBuf {
        self.apps().join(format!("lib{name}.so"))
    }

    /// Puts the library at its place under that name.
    pub fn install(&self, name: &str, artifact: &Artifact) -> PathBuf {
        let path = self.library(name);
        artifact.install(&path);
        path
    }

    /// Starts a host here with those arguments after `replug serve`, and waits until it is ready.
    pub async fn serve(&self, args: &[&str]) -> Host {
        let host = self.spawn(args).await;
        host.log
            .wait_for("ready", |event| event.kind() == "ready")
            .await;
        host
    }

    /// Starts a host that serves the apps folder.
    pub async fn serve_apps(&self, args: &[&str]) -> Host {
        let apps = self.apps();
        let mut all = vec![apps.to_str().expect("UTF-8")];
        all.extend(args);
        self.serve(&all).await
    }

    /// The same for one library.
    pub async fn serve_library(&self, name: &str, args: &[&str]) -> Host {
        let path = self.library(name);
        let mut all = vec![path.to_str().expect("UTF-8")];
        all.extend(args);
        self.serve(&all).await
    }

    /// Starts a host and waits until it listens. `REPLUG_TEST_PROCESSES=1` has it run all apps in a
    /// group of so many workers.
    pub async fn spawn(&self, args: &[&str]) -> Host {
        let mut command = self.command("serve");
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(args);
        if let Ok(processes) = std::env::var("REPLUG_TEST_PROCESSES") {
            command.args(["--processes", &processes]);
        }
        Host::spawn(command, Some(self.path().join("staging"))).await
    }

    /// `replug ARGS` for the host of this site, run to its end.
    pub async fn ask(&self, args: &[&str]) -> Finished {
        let mut command = replug(args.iter().copied());
        command.arg("--control").arg(self.control());
        finish(command).await
    }

    /// What `replug status` says of the host of this site.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn status(&self) -> serde_json::Value {
        let ended = self.ask(&["status", "--json"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// `replug` with that subcommand, for hosts that log JSON and keep their copies here.
    #[must_use]
    pub fn command(&self, subcommand: &str) -> Command {
        self.command_of(artifacts::replug(), subcommand)
    }

    /// The same for another program that embeds the host.
    #[must_use]
    pub fn command_of(&self, program: &Path, subcommand: &str) -> Command {
        let mut command = run(program, [subcommand, "--log-format", "json"]);
        command
            .arg("--staging-dir")
            .arg(self.path().join("staging"))
            .arg("--control")
            .arg(self.control())
            .current_dir(self.path());
        command
    }
}

/// The program with those arguments.
pub fn replug(args: impl IntoIterator<Item = impl Into<OsString>>) -> Command {
    run(artifacts::replug(), args)
}

fn run(program: &Path, args: impl IntoIterator<Item = impl Into<OsString>>) -> Command {
    let mut command = under(program);
    command
        .args(args.into_iter().map(Into::into))
        .stdin(Stdio::null());
    // Whoever runs the tests may have set them.
    for variable in ["RUST_BACKTRACE", "REPLUG_LOG_FORMAT", "REPLUG_LOG_LEVEL"] {
        command.env_remove(variable);
    }
    command
}

/// The program, run by what `REPLUG_TEST_UNDER` says: a checker and its arguments.
fn under(program: &Path) -> Command {
    let checker = std::env::var("REPLUG_TEST_UNDER").unwrap_or_default();
    let mut words = checker.split_whitespace();
    let Some(first) = words.next() else {
        return Command::new(program);
    };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}

/// A running host; killed when dropped.
#[derive(Debug)]
pub struct Host {
    child: Child,
    /// What it says.
    pub log: Log,
    /// The first address that it listens on, as it says it.
    pub address: String,
    staging: Option<PathBuf>,
}

impl Host {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub async fn spawn(mut command: Command, staging: Option<PathBuf>) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::read(child.stderr.take().expect("piped"));
        let mut host = Self {
            child,
            log,
            address: String::new(),
            staging,
        };
        let listening = host
            .log
            .wait_for("listening", |e| e.kind() == "listening")
            .await;
        listening.text("address").clone_into(&mut host.address);
        host
    }

    /// A new HTTP/1.1 connection.
    pub async fn connect(&self) -> Connection {
        Connection::http1(&self.address).await
    }

    /// A new cleartext HTTP/2 connection.
    pub async fn connect_http2(&self) -> Connection {
        Connection::http2(&self.address).await
    }

    /// The text of a GET on a connection of its own.
    pub async fn get(&self, path: &str) -> String {
        self.connect().await.text(path).await
    }

    /// Asks on that connection until the answer is `text`.
    ///
    /// # Panics
    /// With the whole log, when the deadline passes.
    pub async fn until_text(&self, on: &mut Connection, path: &str, text: &str) {
        let ask = async {
            while on.get(path).await.text != text {
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(deadline(), ask).await;
        assert!(
            seen.is_ok(),
            "{path} never answered {text:?}; the host's log:\n{}",
            self.log
        );
    }

    /// The address as a socket's.
    ///
    /// # Panics
    /// When it is a Unix socket's.
    #[must_use]
    pub fn socket_address(&self) -> SocketAddr {
        self.address.parse().unwrap()
    }

    /// Waits until that generation answers.
    pub async fn serving(&self, app: &str, generation: u64) -> Event {
        let what = format!("{app} generation {generation} serving");
        self.log
            .wait_for(&what, |event| event.is("serving", app, generation))
            .await
    }

    /// Waits until that generation has been stopped and closed.
    pub async fn retired(&self, app: &str, generation: u64) -> Event {
        let what = format!("{app} generation {generation} retired");
        self.log
            .wait_for(&what, |event| event.is("retired", app, generation))
            .await
    }

    /// Waits for the first event of that kind.
    pub async fn event(&self, kind: &str) -> Event {
        self.log.wait_for(kind, |event| event.kind() == kind).await
    }

    /// Waits for the event number `nth`, from 1, of that kind.
    pub async fn nth_event(&self, nth: usize, kind: &str) -> Event {
        self.log
            .wait_for_nth(kind, nth, |event| event.kind() == kind)
            .await
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid().into(), signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn exit(&mut self) -> ExitStatus {
        // Its standard error ends when it does, so that there is something to await.
        self.log.end().await;
        let child = &mut self.child;
        crate::until("the host's end", async || child.try_wait().unwrap()).await
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exit().await
    }

    /// Resident memory, in bytes.
    ///
    /// # Panics
    /// When the process has ended.
    #[must_use]
    pub fn memory(&self) -> u64 {
        memory(self.pid())
    }

    /// The number of open descriptors.
    ///
    /// # Panics
    /// When the process has ended.
    #[must_use]
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// How many libraries have code mapped into it.
    ///
    /// # Panics
    /// When the process has ended.
    #[must_use]
    pub fn mapped(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid())).unwrap();
        let code = maps
            .lines()
            .filter(|line| line.contains(" r-xp ") && line.contains("/staging/"));
        code.count()
    }

    /// The copies in its staging folder of what is loaded; not those that are kept for a rollback.
    ///
    /// # Panics
    /// When it has none of its own.
    #[must_use]
    pub fn staged(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.staging.clone().expect("a staging folder")];
        while let Some(folder) = folders.pop() {
            // A folder may go while we look.
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name() == "kept" {
                    continue;
                }
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    files.push(entry.path());
                }
            }
        }
        files
    }
}

/// The resident memory of a process, in bytes.
///
/// # Panics
/// When it has ended.
#[must_use]
pub fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    let kib: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number of kB");
    kib << 10
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program that ends by itself has said.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it to its end.
///
/// # Panics
/// When it does not end.
pub async fn finish(mut command: Command) -> Finished {
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = in_time("the program's end", run).await.unwrap().unwrap();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
