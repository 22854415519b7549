use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::config::{OptionError, value_of};

fn set(key: &str, value: &Value) -> Result<GroupOptions, OptionError> {
    let mut options = GroupOptions::default();
    options.set(key, value, Path::new("/srv"))?;
    Ok(options)
}

#[test]
fn every_key_sets_a_field_of_its_own() {
    let values = |key: &str| match key {
        "listen" => json!(["127.0.0.1:1"]),
        "supplementary-groups" => json!(["0"]),
        "umask" => json!("0027"),
        "environment" => json!({"A": "1"}),
        "no-new-privs" => json!(false),
        "home" | "display-name" => json!("x"),
        "user" | "group" => json!("0"),
        key if key.ends_with("-timeout") || key.ends_with("-interval") => json!("77s"),
        "cpu-time-limit" => json!("77s"),
        "cgroup" => json!("off"),
        "scheduling" => json!("batch"),
        "memory-limit" => json!("77M"),
        _ => json!(7),
    };
    let usual = GroupOptions::default();
    let mut all = Vec::new();
    for key in GROUP_KEYS {
        let options = set(key, &values(key)).unwrap_or_else(|error| panic!("{error}"));
        assert_ne!(options, usual, "{key}");
        assert!(!all.contains(&options), "{key} sets what another key sets");
        all.push(options);
    }
}

#[test]
fn values_are_read_as_they_are_meant() {
    let options = set("umask", &json!("0027")).unwrap();
    assert_eq!(options.umask, Some(0o27));
    let options = set("home", &json!("../run")).unwrap();
    assert_eq!(options.home.as_deref(), Some(Path::new("/run")));
    let options = set("nice", &json!(-20)).unwrap();
    assert_eq!(options.nice, -20);
    let options = set("memory-limit", &json!("1M")).unwrap();
    assert_eq!(options.memory_limit, 1 << 20);
    let options = set("scheduling", &json!("host")).unwrap();
    assert_eq!(options.scheduling, Scheduling::Host);
    let error = set("scheduling", &json!("idle")).unwrap_err().to_string();
    assert!(error.contains("\"batch\""), "{error}");
    // On the command line a number of a user is no text.
    let by_text = set("user", &json!("0")).unwrap();
    assert_eq!(set("user", &json!(0)).unwrap(), by_text);
    let options = set("supplementary-groups", &json!([])).unwrap();
    assert_eq!(options.supplementary_groups, Some(Vec::new()));
    let options = set("cgroup", &json!("/sys/fs/cgroup/replug")).unwrap();
    let below = CgroupPlace::Below("/sys/fs/cgroup/replug".into());
    assert_eq!(options.cgroup, below);
    for wrong in [json!("on"), json!("replug"), json!(""), json!(true)] {
        let error = set("cgroup", &wrong).unwrap_err().to_string();
        assert!(error.contains("\"required\""), "{error}");
    }
}

#[test]
fn empty_text_says_nothing_and_zero_is_no_limit() {
    for key in ["user", "group", "umask", "home", "display-name"] {
        assert_eq!(
            set(key, &json!("")).unwrap(),
            GroupOptions::default(),
            "{key}"
        );
    }
    for key in GROUP_KEYS {
        let limits = key.ends_with("-timeout") || key.ends_with("-limit");
        if limits
            || [
                "max-requests",
                "restart-interval",
                "backlog",
                "queue",
                "nice",
            ]
            .contains(key)
        {
            assert!(set(key, &json!(0)).is_ok(), "{key}");
        }
    }
}

#[test]
fn what_is_wrong_is_named_with_what_is_right() {
    let check = |key: &str, value: Value, text: &str| {
        assert_eq!(set(key, &value).unwrap_err().to_string(), text);
    };
    check(
        "proceses",
        json!(1),
        "unknown key `proceses`; did you mean `processes`?",
    );
    check(
        "processes",
        json!(0),
        "`processes` is `0`; it must be a whole number from 1",
    );
    check(
        "threads",
        json!(2.5),
        "`threads` is `2.5`; it must be a whole number from 1",
    );
    check(
        "nice",
        json!(20),
        "`nice` is `20`; it must be a whole number from -20 to 19",
    );
    check(
        "backlog",
        json!(3_000_000_000_u64),
        "`backlog` is `3000000000`; it must be a whole number from 0 to 2147483647",
    );
    check(
        "request-timeout",
        json!(30),
        "`request-timeout` is `30`; it must be a time with its unit, as in \"250ms\" or \"10s\"",
    );
    for wrong in [
        json!(27),
        json!("028"),
        json!("1000"),
        json!("+7"),
        json!("u=rwx"),
    ] {
        let text = format!("`umask` is `{wrong}`; it must be octal digits as text, as in \"0027\"");
        check("umask", wrong, &text);
    }
    check(
        "user",
        json!("no such user"),
        "`user` is `\"no such user\"`; it must be a user's name or number: there is no user `no \
         such user`; create it, or name one that `getent passwd` lists",
    );
    check(
        "supplementary-groups",
        json!(["no such group"]),
        "`supplementary-groups` is `\"no such group\"`; it must be the name or number of a group \
         of users: there is no group of users `no such group`; create it, or name one that `getent \
         group` lists",
    );
    check(
        "supplementary-groups",
        json!("video"),
        "`supplementary-groups` is `\"video\"`; it must be a list of groups of users, as in \
         [\"video\"]",
    );
    check(
        "home",
        json!("a\0b"),
        "`home` is `\"a\\u0000b\"`; it must be a directory's path",
    );
    check(
        "display-name",
        json!("a\nb"),
        "`display-name` is `\"a\\nb\"`; it must be text of one line",
    );
    check(
        "no-new-privs",
        json!("yes"),
        "`no-new-privs` is `\"yes\"`; it must be true or false",
    );
}

#[test]
fn variables_that_no_process_can_have_are_refused() {
    let check = |variables: Value, text: &str| {
        let error = set("environment", &variables).unwrap_err().to_string();
        assert_eq!(error, text);
    };
    check(
        json!(["A=1"]),
        "`environment` is `[\"A=1\"]`; it must be a table of texts",
    );
    for name in ["", "A=B", "A\0"] {
        let shown = Value::from(name);
        check(
            json!({name: "1"}),
            &format!(
                "`environment` is `{shown}`; it must be named by text that is not empty, without \
                 `=` and NUL"
            ),
        );
    }
    check(
        json!({"A": "x\0"}),
        "`environment.A` is `\"x\\u0000\"`; it must be text, without NUL",
    );
    check(
        json!({"A": 1}),
        "`environment.A` is `1`; it must be text, without NUL",
    );
    let options = set("environment", &json!({"A": "", "b c": "d=e"})).unwrap();
    let variables: Vec<_> = options.environment.iter().collect();
    assert_eq!(variables.len(), 2, "{variables:?}");
}

#[test]
fn what_is_not_said_is_made_of_what_is() {
    let name = GroupName::usual();
    let mut options = GroupOptions::default();
    assert_eq!(options.display_name(&name), "replug: default");
    options.display_name = Some("shop".to_owned());
    assert_eq!(options.display_name(&name), "shop");
    let cores = thread::available_parallelism().unwrap();
    assert_eq!(options.http_threads(), cores);
    options.processes = NonZeroUsize::new(10_000).unwrap();
    assert_eq!(options.http_threads(), NonZeroUsize::MIN);
    options.threads = NonZeroUsize::new(3);
    assert_eq!(options.http_threads().get(), 3);
}

#[test]
fn workers_like_the_host_itself_are_always_permitted() {
    let own = Identity::own();
    let options = set("user", &json!(own.uid)).unwrap();
    assert_eq!(options.identity().unwrap(), None);
    assert_eq!(options.permitted(), Ok(()));
}

#[test]
fn the_documentation_has_every_option_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("## Process groups").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: BTreeMap<&str, &str> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let key = cells.next()?.trim().trim_end_matches('`');
            Some((key, cells.next()?.trim()))
        })
        .collect();
    assert_eq!(rows.len(), GROUP_KEYS.len(), "{rows:?}");
    for key in GROUP_KEYS {
        // What the default is made of is told in words.
        let value = rows[key]
            .strip_prefix('`')
            .and_then(|it| it.strip_suffix('`'));
        if let Some(value) = value {
            let options = set(key, &value_of(value)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(options, GroupOptions::default(), "{key}");
        }
    }
}
