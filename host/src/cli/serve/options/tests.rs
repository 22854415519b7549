use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn options(line: &[&str]) -> Options {
    Line::try_parse_from([&["serve"], line].concat())
        .unwrap()
        .options
}

#[test]
fn sources_are_read_with_and_without_a_mount() {
    let check = |text: &str, path: &str, mount: Option<&str>| {
        let source = parse_source(text).unwrap();
        let mount = mount.map(|mount| mount.parse().unwrap());
        assert_eq!(source, Source::given(path, mount));
    };
    check("libx.so", "libx.so", None);
    check("libx.so=/", "libx.so", Some("/"));
    check("a=b/libx.so=/shop", "a=b/libx.so", Some("/shop"));
    assert!(parse_source("=/x").is_err());
    assert!(parse_source("libx.so=/a//b").is_err());
}

#[test]
fn memory_limits_are_of_all_apps_or_of_one() {
    let all = parse_memory_limit("256M").unwrap();
    assert_eq!((all.app, all.value), (None, Value::from("256M")));
    let one = parse_memory_limit("shop=1G").unwrap();
    assert_eq!(one.app.unwrap().as_str(), "shop");
    for bad in ["=1G", "shop=", "shop=many"] {
        assert!(parse_memory_limit(bad).is_err(), "{bad}");
    }
}

#[test]
fn options_are_of_all_apps_or_of_one_and_nonsense_is_refused() {
    let one = parse_option("shop.drain=10s").unwrap();
    assert_eq!(one.app.unwrap().as_str(), "shop");
    assert_eq!((one.key.as_str(), one.value), ("drain", Value::from("10s")));
    assert_eq!(
        parse_option("overlap=false").unwrap().value,
        Value::from(false)
    );
    let error = parse_option("drian=1s").unwrap_err();
    assert!(error.contains("did you mean `drain`"), "{error}");
    assert!(
        parse_option("drain=soon")
            .unwrap_err()
            .contains("it must be a time")
    );
    assert!(parse_option("drain").is_err());
    assert!(Line::try_parse_from(["serve", "--guard", "never"]).is_err());
}

#[test]
fn group_options_are_of_all_groups_or_of_one_and_nonsense_is_refused() {
    let one = parse_group_option("blue.processes=4").unwrap();
    assert_eq!(one.group.unwrap().as_str(), "blue");
    assert_eq!((one.key.as_str(), one.value), ("processes", Value::from(4)));
    let all = parse_group_option("umask=0027").unwrap();
    assert_eq!((all.group, all.value), (None, Value::from("0027")));
    let variables = parse_group_option("environment={ A = \"x=1\" }").unwrap();
    assert_eq!(variables.value, serde_json::json!({"A": "x=1"}));
    for (bad, reason) in [
        ("proceses=4", "did you mean `processes`"),
        ("processes=0", "it must be a whole number from 1"),
        ("a/b.processes=4", "cannot be a group's name"),
        ("processes", "write [NAME.]KEY=VALUE"),
        ("user=no such user", "there is no user"),
    ] {
        let error = parse_group_option(bad).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let line = [
        "--processes=4",
        "--group-option=queue=1",
        "--group-option=blue.nice=1",
    ];
    let given = options(&line).into_overrides(Vec::new());
    assert_eq!(given.processes.map(NonZeroUsize::get), Some(4));
    assert_eq!(given.group_options.len(), 2);
    assert!(Line::try_parse_from(["serve", "--processes=0"]).is_err());
}

#[test]
fn settings_are_toml_values_or_text() {
    let value = |text: &str| parse_setting(text).unwrap().value;
    assert_eq!(value("hello.n=3"), Value::from(3));
    assert_eq!(value("hello.on=true"), Value::from(true));
    assert_eq!(value("hello.list=[1, 2]"), serde_json::json!([1, 2]));
    assert_eq!(value("hello.greeting=hi there"), Value::from("hi there"));
    assert_eq!(value("hello.path=/a=b"), Value::from("/a=b"));
    for bad in ["hello=1", "hello.x", ".x=1", "hello.=1"] {
        assert!(parse_setting(bad).is_err(), "{bad}");
    }
    let since = parse_setting("hello.since=2026-11-25").unwrap().value;
    assert_eq!(since, Value::from("2026-11-25"));
}

#[test]
fn every_flag_of_an_option_is_heard_and_none_speaks_without_being_asked() {
    let given = options(&[]).into_overrides(Vec::new());
    assert!(given.options.is_empty() && given.settings.is_empty() && given.listen.is_empty());
    assert!(given.group_options.is_empty() && given.processes.is_none());
    let line = [
        "--reload=manual",
        "--no-preload",
        "--settle=1s",
        "--poll=1s",
        "--drain=1s",
        "--setup-timeout=1s",
        "--cleanup-timeout=1s",
        "--probe=/x",
        "--guard=1s",
        "--wait-timeout=1s",
        "--max-requests=1",
        "--max-age=1s",
        "--allow-panic-abort",
        "--max-quarantined=1",
        "--memory-limit=1M",
        "--state-limit=1M",
        "--option=shop.track=[\"a\", \"b\"]",
    ];
    let given = options(&line).into_overrides(Vec::new()).options;
    assert_eq!(given.len(), line.len());
    let mut set = AppOptions::default();
    for option in given {
        let before = set.clone();
        set.set(&option.key, &option.value, Path::new("/")).unwrap();
        assert_ne!(set, before, "{}", option.key);
    }
}
