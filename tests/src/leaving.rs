//! A plugin that leaves things behind, and what becomes of its generations.

use std::{
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};

use crate::{
    Connection, Host, artifacts,
    deploy::{Artifact, touch},
    host::Site,
    log::Event,
};

const THREADS: usize = 3;

/// A host that serves such a plugin, with a connection to each of its HTTP threads.
#[derive(Debug)]
pub struct Leaver {
    pub host: Host,
    pub connections: Vec<Connection>,
    app: &'static str,
    library: PathBuf,
    /// The generation that serves.
    generation: u64,
    /// What was left to wait for it goes on when it is closed.
    gate: Option<UnixListener>,
    site: Site,
}

impl Leaver {
    /// Serves the fixture that is made for it.
    pub async fn serve() -> Self {
        Self::serve_with(&[]).await
    }

    /// The same with more arguments.
    pub async fn serve_with(args: &[&str]) -> Self {
        let leaver = artifacts::library("fixture-leaver");
        Self::serve_app("fixture-leaver", &leaver, args).await
    }

    /// Serves another app that leaves things behind.
    ///
    /// # Panics
    /// When there can be no gate.
    pub async fn serve_app(app: &'static str, artifact: &Artifact, args: &[&str]) -> Self {
        let site = Site::new();
        let library = site.install(app, artifact);
        let gate = UnixListener::bind(site.path().join("gate")).unwrap();
        let setting = |key: &str| format!("{app}.{key}={}", site.path().join(key).display());
        let (threads, gate_setting, file) = (THREADS.to_string(), setting("gate"), setting("file"));
        let mut all = vec![
            "--threads",
            &threads,
            "--set",
            &gate_setting,
            "--set",
            &file,
        ];
        all.extend(args);
        let host = site.serve_library(app, &all).await;
        let mut connections = Vec::new();
        // Each is given to the thread that has the fewest.
        for _ in 0..THREADS {
            connections.push(host.connect().await);
        }
        Self {
            host,
            connections,
            app,
            library,
            generation: 1,
            gate: Some(gate),
            site,
        }
    }

    /// Has it leave that, on each HTTP thread.
    pub async fn leave(&mut self, what: &str) {
        for connection in &mut self.connections {
            connection.text(&format!("/leave/{what}")).await;
        }
    }

    /// Reloads it. Returns the generation that is old then.
    pub async fn reload(&mut self) -> u64 {
        let old = self.generation;
        self.generation += 1;
        touch(&self.library);
        self.host.serving(self.app, self.generation).await;
        old
    }

    /// Reloads it, and holds that the old generation is unloaded, however long that takes.
    pub async fn replace(&mut self) -> Event {
        let old = self.reload().await;
        self.unloaded(old).await
    }

    /// Awaits the unloading of that generation, which must be the last to go.
    ///
    /// # Panics
    /// When it is not unloaded.
    pub async fn unloaded(&mut self, generation: u64) -> Event {
        let retired = self.host.retired(self.app, generation).await;
        assert_eq!(retired.text("outcome"), "unloaded", "{retired}");
        assert_eq!(self.host.mapped(), 1, "after {retired}");
        self.answers().await;
        retired
    }

    /// Awaits the quarantine of that generation.
    ///
    /// # Panics
    /// When it is for another reason.
    pub async fn quarantined(&mut self, generation: u64, reason: &str) -> Event {
        let kind = "quarantined";
        let log = &self.host.log;
        let wanted = |event: &Event| {
            event.is(kind, self.app, generation) || event.is("retired", self.app, generation)
        };
        let event = log.wait_for(kind, wanted).await;
        assert_eq!(event.kind(), kind, "{event}");
        assert!(event.text("reason").contains(reason), "{event}");
        self.answers().await;
        event
    }

    /// Holds that each HTTP thread is at work.
    pub async fn answers(&mut self) {
        for connection in &mut self.connections {
            connection.text("/").await;
        }
    }

    /// Lets go on what waits at the gate, and all that will.
    pub fn open_gate(&mut self) {
        self.gate = None;
    }

    /// How often that generation has logged that message.
    #[must_use]
    pub fn said(&self, generation: u64, message: &str) -> usize {
        let said = |event: &Event| {
            event.number("generation") == Some(generation) && event.text("message") == message
        };
        self.host.log.all(said).len()
    }

    /// The file that the plugin may write to.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.site.path().join("file")
    }

    /// The library that is served.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Ends the host, which must not crash, nor say anything but its log.
    ///
    /// # Panics
    /// When it does.
    pub async fn end(mut self) {
        assert_eq!(self.host.terminate().await.code(), Some(0));
        assert_eq!(self.host.log.other_lines(), Vec::<String>::new());
    }
}

/// Has the fixture leave that, and holds that it is unloaded all the same.
///
/// # Panics
/// When it was quarantined before that.
pub async fn is_unloaded_after(what: &str) -> Leaver {
    let mut leaver = Leaver::serve().await;
    leaver.leave(what).await;
    leaver.replace().await;
    never_quarantined(&leaver);
    leaver
}

/// Has the fixture leave what waits at the gate, and holds that it is quarantined for that reason
/// while it waits, and unloaded then.
pub async fn is_quarantined_until_told(what: &str, reason: &str) {
    let mut leaver = Leaver::serve_with(&["--cleanup-timeout", "100ms"]).await;
    leaver.leave(what).await;
    let old = leaver.reload().await;
    leaver.quarantined(old, reason).await;
    assert_eq!(leaver.host.mapped(), 2);
    leaver.open_gate();
    leaver.unloaded(old).await;
    leaver.end().await;
}

/// Holds that no generation was quarantined so far.
///
/// # Panics
/// When one was.
pub fn never_quarantined(leaver: &Leaver) {
    let log = &leaver.host.log;
    assert_eq!(log.all(|event| event.kind() == "quarantined"), []);
}
