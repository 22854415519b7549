use std::time::Duration;

use clap::Parser as _;

use super::*;
use crate::config::Policy;

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
        let expected = Source {
            path: path.into(),
            mount,
            name: None,
        };
        assert_eq!(source, expected);
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
}

#[test]
fn the_command_line_wins_over_the_file_and_one_app_over_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("replug.toml");
    std::fs::write(
        &path,
        "[server]\nlisten = [\"127.0.0.1:1\"]\nthreads = 7\n\
         [defaults]\ndrain = \"1s\"\nguard = \"1s\"\nmax-requests = 5\n\
         [apps.shop]\npath = \"libshop.so\"\nguard = \"2s\"\nreload = \"manual\"\n\
         [apps.shop.settings]\ngreeting = \"hi\"\nother = 1\n",
    )
    .unwrap();
    let config = |line: &[&str]| {
        let file = ConfigFile::read(&path).unwrap();
        options(line).into_config(Some(file), Vec::new(), AppOptions::default())
    };
    let shop = AppName::try_from("shop").unwrap();
    let other = AppName::try_from("other").unwrap();
    let plain = config(&[]);
    assert_eq!(plain.threads.get(), 7);
    assert_eq!(plain.sources[0].mount.as_ref().unwrap().as_str(), "/shop");
    assert_eq!(plain.sources[0].path, dir.path().join("libshop.so"));
    let seconds = Duration::from_secs;
    let (own, others) = (plain.options_of(&shop), plain.options_of(&other));
    assert_eq!(
        (own.drain, own.guard, own.reload),
        (seconds(1), seconds(2), Policy::Manual)
    );
    assert_eq!(
        (others.drain, others.guard, others.reload),
        (seconds(1), seconds(1), Policy::Eager)
    );

    let line = [
        "--threads=2",
        "--listen=127.0.0.1:2",
        "--guard=9s",
        "--option=shop.drain=8s",
        "--set=shop.greeting=ho",
        "--no-preload",
        "--option=other.guard=3s",
    ];
    let given = config(&line);
    assert_eq!(given.threads.get(), 2);
    assert_eq!(given.listen.len(), 1);
    let (own, others) = (given.options_of(&shop), given.options_of(&other));
    assert_eq!(
        (own.drain, own.guard, own.preload),
        (seconds(8), seconds(9), false)
    );
    assert_eq!((others.drain, others.guard), (seconds(1), seconds(3)));
    assert_eq!(own.max_requests, 5);
    let settings = Value::Object(given.settings_of(&shop));
    assert_eq!(settings, serde_json::json!({"greeting": "ho", "other": 1}));
}
