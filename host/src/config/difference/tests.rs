use std::{fs, path::Path};

use serde_json::{Value, json};

use super::*;
use crate::config::{ConfigFile, GROUP_KEYS, KEYS, Overrides};

fn config(text: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("replug.toml");
    fs::write(&path, text).unwrap();
    let file = ConfigFile::read(&path).unwrap();
    Config::resolve(Overrides::default(), Some(file), AppOptions::default()).unwrap()
}

/// A value that is none's default.
fn other(set: impl Fn(&Value) -> bool) -> Value {
    let values = [
        json!(7),
        json!("7s"),
        json!("manual"),
        json!("batch"),
        json!("/x"),
        json!(["/x"]),
        json!(["0"]),
        json!(true),
        json!(false),
        json!({"A": "b"}),
        json!("root"),
        json!("0027"),
        json!(["127.0.0.1:7"]),
    ];
    values
        .into_iter()
        .find(|value| set(value))
        .expect("a value")
}

#[test]
fn each_option_of_an_app_is_known_to_take_a_new_generation_or_not() {
    let mut fresh = Vec::new();
    for key in KEYS {
        let default = AppOptions::default();
        let set = |value: &Value| {
            let mut options = default.clone();
            options.set(key, value, Path::new("/")).ok()?;
            (options != default).then_some(options)
        };
        let value = other(|value| set(value).is_some());
        let found = other_app_options(&default, &set(&value).unwrap());
        let all: Vec<_> = found.fresh.iter().chain(&found.live).collect();
        assert_eq!(all, [key], "{value}");
        fresh.extend(found.fresh);
    }
    fresh.sort_unstable();
    assert_eq!(
        fresh,
        [
            "allow-panic-abort",
            "group",
            "max-age",
            "max-requests",
            "memory-limit"
        ]
    );
}

#[test]
fn each_option_of_a_group_is_named() {
    for key in GROUP_KEYS {
        let default = GroupOptions::default();
        let set = |value: &Value| {
            let mut options = default.clone();
            options.set(key, value, Path::new("/")).ok()?;
            (options != default).then_some(options)
        };
        let value = other(|value| set(value).is_some());
        let found = other_group_options(&default, &set(&value).unwrap());
        assert_eq!(found, [*key], "{value}");
    }
}

#[test]
fn what_comes_and_goes_is_told_apart_from_what_stays() {
    let old = config(
        "[server]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\", \"127.0.0.1:0\"]\nthreads = 1\n\
         [groups.stays]\n[groups.goes]\n[groups.changes]\n",
    );
    let new = config(
        "[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"127.0.0.1:2\"]\nthreads = 2\n\
         [groups.comes]\n[groups.changes]\nprocesses = 2\nnice = 1\n[groups.stays]\n",
    );
    let name = |name: &str| GroupName::try_from(name).unwrap();
    let found = Difference::between(&old, &new);
    assert_eq!(
        found,
        Difference {
            restart: vec!["threads".to_owned()],
            // One port that the system chooses is one, and another is another.
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            unlisten: vec!["127.0.0.1:1".parse().unwrap()],
            new_groups: vec![name("comes")],
            old_groups: vec![name("goes")],
            groups: vec![(name("changes"), vec!["processes", "nice"])],
        }
    );
    assert_eq!(Difference::between(&old, &old), Difference::default());
}

#[test]
fn an_app_follows_what_is_said_of_it_and_what_is_said_of_all() {
    let old = config("[apps.shop]\ndrain = \"1s\"\n[apps.shop.settings]\na = 1\n");
    let new = config(
        "[defaults]\nguard = \"1s\"\ndrain = \"7s\"\n\
         [apps.shop]\ndrain = \"1s\"\nmax-age = \"1h\"\n[apps.shop.settings]\na = 2\n",
    );
    let check = |app: &str, fresh: &[&str], live: &[&str]| {
        let found = old.app_difference(&new, &AppName::try_from(app).unwrap());
        assert_eq!((&found.fresh[..], &found.live[..]), (fresh, live), "{app}");
    };
    check("shop", &["max-age", "settings"], &["guard"]);
    check("other", &[], &["drain", "guard"]);
}
