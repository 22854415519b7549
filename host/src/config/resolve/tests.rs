use std::{fs, time::Duration};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::config::{Mount, Policy};

mod groups;

/// A file with that text, resolved with what is given.
fn resolve(dir: &TempDir, text: &str, given: Overrides) -> Config {
    let path = dir.path().join("replug.toml");
    fs::write(&path, text).unwrap();
    let file = ConfigFile::read(&path).unwrap();
    Config::resolve(given, Some(file), AppOptions::default()).unwrap()
}

fn name(name: &str) -> AppName {
    AppName::try_from(name).unwrap()
}

fn option(app: Option<&str>, key: &str, value: Value) -> AppOption {
    AppOption {
        app: app.map(name),
        key: key.to_owned(),
        value,
    }
}

const SHOP: &str = r#"
[server]
listen = ["127.0.0.1:1", "unix:x.sock"]
threads = 7
control = "none"

[defaults]
drain = "1s"
guard = "1s"
max-requests = 5

[apps.shop]
path = "libshop.so"
guard = "2s"
reload = "manual"

[apps.shop.settings]
greeting = "hi"
other = 1
"#;

#[test]
fn the_file_says_what_holds_for_all_and_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = resolve(&dir, SHOP, Overrides::default());
    assert_eq!((config.threads.get(), config.listen.len()), (7, 2));
    let socket = ListenAddress::Unix(dir.path().join("x.sock"));
    assert_eq!(config.listen[1], socket);
    assert_eq!(config.control, None);
    let seconds = Duration::from_secs;
    let shop = config.options_of(&name("shop"));
    assert_eq!((shop.drain, shop.guard), (seconds(1), seconds(2)));
    assert_eq!(shop.reload, Policy::Manual);
    let other = config.options_of(&name("other"));
    assert_eq!((other.drain, other.guard), (seconds(1), seconds(1)));
    assert_eq!(other.reload, Policy::Eager);
}

#[test]
fn the_command_line_wins_over_the_file_and_one_app_over_all() {
    let dir = tempfile::tempdir().unwrap();
    let given = Overrides {
        threads: NonZeroUsize::new(2),
        listen: vec![ListenAddress::Tcp("127.0.0.1:2".to_owned())],
        control: Some("/x.sock".into()),
        options: vec![
            option(Some("shop"), "drain", json!("8s")),
            option(Some("other"), "guard", json!("3s")),
            option(None, "guard", json!("9s")),
            option(None, "drain", json!("7s")),
        ],
        settings: vec![AppSetting {
            app: name("shop"),
            key: "greeting".to_owned(),
            value: json!("ho"),
        }],
        ..Overrides::default()
    };
    let config = resolve(&dir, SHOP, given);
    assert_eq!((config.threads.get(), config.listen.len()), (2, 1));
    let socket = ControlSocket::Named("/x.sock".into());
    assert_eq!(config.control, Some(socket));
    let seconds = Duration::from_secs;
    let shop = config.options_of(&name("shop"));
    assert_eq!((shop.drain, shop.guard), (seconds(8), seconds(9)));
    assert_eq!(shop.max_requests, 5);
    let other = config.options_of(&name("other"));
    assert_eq!((other.drain, other.guard), (seconds(7), seconds(3)));
    let settings = Value::Object(config.settings_of(&name("shop")));
    assert_eq!(settings, json!({"greeting": "ho", "other": 1}));
}

#[test]
fn a_mount_is_that_of_the_artifact_then_of_the_name_then_the_usual_one() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[apps.shop]\nmount = \"/s\"\n[apps.blog]\ndrain = \"1s\"\n";
    let config = resolve(&dir, text, Overrides::default());
    let mount = |app: &str, said: Option<&str>, alone| {
        let said = said.map(|said| said.parse().unwrap());
        let mount = config.mount_of(&name(app), said.as_ref(), alone);
        mount.to_string()
    };
    assert_eq!(mount("shop", Some("/x"), true), "/x");
    assert_eq!(mount("shop", None, true), "/s");
    assert_eq!(mount("shop", None, false), "/s");
    assert_eq!(mount("blog", None, false), "/blog");
    assert_eq!(mount("blog", None, true), "/");
    assert_eq!(mount("else", None, false), "/else");
}

#[test]
fn a_library_that_both_name_is_one_source_with_the_files_name() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[plugins]\ndirs = [\"more\"]\n[apps.shop]\npath = \"./lib/../libshop.so\"\n";
    fs::create_dir(dir.path().join("lib")).unwrap();
    let path = dir.path().join("libshop.so");
    let mount = "/there".parse().unwrap();
    let given = Overrides {
        sources: vec![Source::given(&path, Some(mount))],
        ..Overrides::default()
    };
    let config = resolve(&dir, text, given);
    let [shop, more] = &config.sources[..] else {
        panic!("{:?}", config.sources);
    };
    assert_eq!((&shop.path, shop.kind), (&path, SourceKind::Library));
    assert_eq!(shop.name, Some(name("shop")));
    assert_eq!(shop.mount.as_ref().map(Mount::as_str), Some("/there"));
    assert!(!config.is_alone(shop));
    assert_eq!(more.kind, SourceKind::Directory);
    assert_eq!(more.path, dir.path().join("more"));
}

#[test]
fn only_a_lone_library_without_a_name_is_alone() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str, sources: &[&str], alone| {
        let given = Overrides {
            sources: sources.iter().map(|it| Source::given(it, None)).collect(),
            ..Overrides::default()
        };
        let config = resolve(&dir, text, given);
        assert_eq!(config.is_alone(&config.sources[0]), alone, "{text}");
    };
    check("", &["libx.so"], true);
    check("", &["libx.so", "liby.so"], false);
    check("[plugins]\ndirs = [\".\"]\n", &["libx.so"], false);
    check("[apps.x]\npath = \"libx.so\"\n", &[], false);
}
