//! The main job: a plugin is written, served, changed and served again, with no restart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Once,
};

use replug_tests::{Connection, Host, cargo, host::Site, log::Log};

/// A copy of the sample `hello` that is a project of its own, somewhere else.
struct Project {
    site: Site,
    name: &'static str,
}

impl Project {
    /// With what it depends on built: that takes a compiler's time, which no deadline should hold.
    fn new(name: &'static str) -> Self {
        static DEPENDENCIES: Once = Once::new();
        DEPENDENCIES.call_once(|| {
            let _ = Self::unbuilt("hello_dependencies").build();
        });
        Self::unbuilt(name)
    }

    fn unbuilt(name: &'static str) -> Self {
        let project = Self {
            site: Site::new(),
            name,
        };
        let top = cargo::workspace();
        let folder = project.folder();
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::copy(
            top.join("sample-plugins/hello/src/lib.rs"),
            project.source(),
        )
        .unwrap();
        fs::copy(top.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        let manifest = format!(
            r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[workspace]

[lib]
crate-type = ["cdylib"]

[dependencies]
axum = {{ version = "0.8", default-features = false, features = ["tokio"] }}
replug-plugin.path = {:?}
"#,
            top.join("plugin-api"),
        );
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        project
    }

    fn folder(&self) -> PathBuf {
        self.site.path().join(self.name)
    }

    fn source(&self) -> PathBuf {
        self.folder().join("src/lib.rs")
    }

    /// Shared by the tests and kept between runs, so that what does not change is built once.
    fn target_dir() -> PathBuf {
        cargo::target_dir().join("dev")
    }

    /// Changes the source as an editor that saves does.
    fn edit(&self, from: &str, to: &str) {
        let source = fs::read_to_string(self.source()).unwrap();
        assert!(source.contains(from), "{from:?} in {source}");
        let new = self.source().with_extension("rs.new");
        fs::write(&new, source.replace(from, to)).unwrap();
        fs::rename(new, self.source()).unwrap();
    }

    fn build(&self) -> PathBuf {
        let built = cargo::build(&self.folder(), &Self::target_dir(), &[]);
        built.libraries[self.name].clone()
    }

    /// `replug dev` on it, with the cargo that the tests use.
    fn dev(&self) -> Command {
        let mut command = self.site.command("dev");
        let cargo = cargo::command(Path::new("/"), &Self::target_dir());
        command.envs(
            cargo
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        );
        command.args(["--listen", "127.0.0.1:0"]).arg(self.folder());
        command
    }
}

#[tokio::test]
async fn a_changed_source_answers_after_a_build_on_the_same_connection_and_pid() {
    let project = Project::new("hello_serve");
    let library = project.build();
    let host = project.site.serve(&[library.to_str().unwrap()]).await;
    let mut connection = host.connect().await;
    assert_eq!(connection.text("/").await, "hello\n");
    let pid = host.pid();
    project.edit("hello\\n", "hello again\\n");
    assert_eq!(project.build(), library);
    host.until_text(&mut connection, "/", "hello again\n").await;
    assert_eq!(host.pid(), pid);
    assert_eq!(host.log.all(|event| event.kind() == "refused"), []);
}

#[tokio::test]
async fn dev_builds_and_reloads_on_save_and_keeps_the_last_good_version() {
    let project = Project::new("hello_dev");
    let host = Host::spawn(project.dev(), None).await;
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/", "hello\n").await;

    project.edit("hello\\n", "changed\\n");
    host.until_text(&mut connection, "/", "changed\n").await;

    project.edit("Router::new()", "Router::new(");
    host.event("build-failed").await;
    assert_eq!(connection.text("/").await, "changed\n");

    project.edit("Router::new(", "Router::new()");
    project.edit("changed\\n", "mended\\n");
    host.until_text(&mut connection, "/", "mended\n").await;
}

#[tokio::test]
async fn dev_begins_with_a_broken_source_and_serves_when_it_is_mended() {
    let project = Project::new("hello_broken");
    project.edit("Router::new()", "Router::new(");
    let mut command = project.dev();
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let log = Log::read(child.stderr.take().unwrap());
    log.wait_for("build-failed", |event| event.kind() == "build-failed")
        .await;
    project.edit("Router::new(", "Router::new()");
    let listening = log
        .wait_for("listening", |event| event.kind() == "listening")
        .await;
    let mut connection = Connection::http1(listening.text("address")).await;
    assert_eq!(connection.text("/").await, "hello\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn dev_says_that_a_folder_is_no_plugin() {
    let site = Site::new();
    let mut command = replug_tests::host::replug(["dev"]);
    command.arg(site.path());
    let ended = replug_tests::host::finish(command).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(
        ended.stderr.contains(site.path().to_str().unwrap()),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("remedy"), "{ended:?}");
}

#[tokio::test]
async fn dev_rebuilds_when_another_crate_of_the_workspace_changes() {
    let project = Project::new("hello_member");
    let words = project.folder().join("words");
    fs::create_dir_all(words.join("src")).unwrap();
    let manifest = "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    fs::write(words.join("Cargo.toml"), manifest).unwrap();
    let source = words.join("src/lib.rs");
    let text = |word: &str| format!("pub const HELLO: &str = \"{word}\\n\";\n");
    fs::write(&source, text("first")).unwrap();
    let own = project.folder().join("Cargo.toml");
    let manifest = fs::read_to_string(&own).unwrap();
    let manifest = manifest.replace("[workspace]", "[workspace]\nmembers = [\"words\"]");
    fs::write(&own, manifest + "words.path = \"words\"\n").unwrap();
    project.edit("\"hello\\n\"", "words::HELLO");

    let host = Host::spawn(project.dev(), None).await;
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/", "first\n").await;
    let new = source.with_extension("new");
    fs::write(&new, text("second")).unwrap();
    fs::rename(&new, &source).unwrap();
    host.until_text(&mut connection, "/", "second\n").await;
    // A file that no build knows yet.
    fs::write(words.join("src/more.rs"), text("third")).unwrap();
    fs::write(&source, "mod more;\npub use more::HELLO;\n").unwrap();
    host.until_text(&mut connection, "/", "third\n").await;
    fs::write(words.join("src/more.rs"), text("fourth")).unwrap();
    host.until_text(&mut connection, "/", "fourth\n").await;
    // The same in a build that fails for it.
    fs::write(words.join("src/last.rs"), "pub const HELLO: &str = 5;\n").unwrap();
    fs::write(&source, "mod last;\npub use last::HELLO;\n").unwrap();
    host.event("build-failed").await;
    fs::write(words.join("src/last.rs"), text("fifth")).unwrap();
    host.until_text(&mut connection, "/", "fifth\n").await;
}
