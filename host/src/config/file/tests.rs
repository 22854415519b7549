use serde_json::json;

use super::*;

mod groups;

fn parse(text: &str) -> Result<ConfigFile, String> {
    let path = Path::new("/etc/replug.toml");
    ConfigFile::parse(path, text).map_err(|problems| {
        let error = FileError::Wrong {
            path: "replug.toml".into(),
            problems,
        };
        error.to_string()
    })
}

#[test]
fn all_that_the_design_shows_is_read() {
    let file = parse(
        r#"
        [server]
        listen = ["127.0.0.1:8000", "unix:/run/x.sock"]
        threads = 2
        state-dir = "state"
        control = "none"

        [plugins]
        dirs = ["plugins", "/srv/more"]

        [defaults]
        drain = "10s"

        [apps.hello]
        path = "plugins/libhello.so"
        mount = "/hello"
        reload = "on-request"
        track = ["templates/**"]

        [groups.blue]
        processes = 4

        [apps.hello.settings]
        greeting = "hi"
        since = 2026-11-25
        numbers = [1, 2.5]
        "#,
    )
    .unwrap();
    assert_eq!(file.listen.unwrap().len(), 2);
    assert_eq!(file.threads.unwrap().get(), 2);
    assert_eq!(file.state_dir.unwrap(), Path::new("/etc/state"));
    assert_eq!(file.control.unwrap(), Path::new("none"));
    assert_eq!(
        file.dirs,
        [Path::new("/etc/plugins"), Path::new("/srv/more")]
    );
    assert_eq!(file.defaults, [("drain".to_owned(), json!("10s"))]);
    let (name, group) = file.groups.iter().next().unwrap();
    assert_eq!((name.as_str(), group.processes.get()), ("blue", 4));
    let (name, app) = file.apps.iter().next().unwrap();
    assert_eq!(name.as_str(), "hello");
    assert_eq!(
        app.path.as_deref(),
        Some(Path::new("/etc/plugins/libhello.so"))
    );
    assert_eq!(app.mount.as_ref().map(Mount::as_str), Some("/hello"));
    assert_eq!(app.options.len(), 2);
    assert_eq!(
        Value::Object(app.settings.clone()),
        json!({"greeting": "hi", "since": "2026-11-25", "numbers": [1, 2.5]})
    );
}

#[test]
fn all_that_is_wrong_is_named_at_once_with_its_place() {
    let error = parse(
        "[server]\n\
         listen = \"127.0.0.1:80\"\n\
         treads = 2\n\
         [defaults]\n\
         drian = \"1s\"\n\
         guard = 5\n\
         [app.x]\n\
         [groups.\"a b\"]\n\
         [apps.\"a b\"]\n\
         [apps.one]\n\
         settings = 3\n\
         mount = \"shop\"\n\
         greeting = \"hi\"\n\
         path = 3\n\
         reload = \"lazy\"\n\
         preload = \"yes\"\n\
         threads = 2\n\
         [plugins]\n\
         dirs = \"plugins\"\n\
         path = \"x\"\n\
         drain = \"1s\"\n",
    )
    .unwrap_err();
    let expected = [
        "2:10: `listen` is `\"127.0.0.1:80\"`; it must be a list of HOST:PORT and unix:PATH",
        "3:1: unknown key `treads`; did you mean `threads`?",
        "5:1: unknown key `drian`; did you mean `drain`?",
        "6:9: `guard` is `5`; it must be a time with its unit, as in \"250ms\" or \"10s\"",
        "7:2: unknown key `app`; did you mean `apps`?",
        "8:9: `a b` cannot be a group's name because of ' '; use letters, digits, `-`, `_` and `.` only",
        "9:7: `a b` cannot be an app's name because of ' '; use letters, digits, `-`, `_` and `.` only",
        "11:12: `settings` is `3`; it must be a table",
        "12:9: `mount` is `\"shop\"`; it must be a mount: mount `shop` must begin with `/`, as in `/hello`",
        "13:1: unknown key `greeting`; what the app itself is to be handed belongs under [apps.NAME.settings]",
        "14:8: `path` is `3`; it must be a path",
        "15:10: `reload` is `\"lazy\"`; it must be \"eager\", \"on-request\" or \"manual\"",
        "16:11: `preload` is `\"yes\"`; it must be true or false",
        "17:1: unknown key `threads` here; it belongs under [server] or [groups.NAME]",
        "19:8: `dirs` is `\"plugins\"`; it must be a list of directories",
        "20:1: unknown key `path` here; it belongs under [apps.NAME]",
        "21:1: unknown key `drain` here; it belongs under [defaults] or [apps.NAME]",
    ];
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        expected.map(|line| format!("replug.toml:{line}"))
    );
}

#[test]
fn wrong_values_of_the_server_are_named_with_what_is_right() {
    let check = |line: &str, text: &str| {
        let error = parse(&format!("[server]\n{line}\n")).unwrap_err();
        assert_eq!(error, format!("replug.toml:2:{text}"));
    };
    check(
        "threads = 0",
        "11: `threads` is `0`; it must be a whole number from 1",
    );
    check(
        "listen = [\"here\"]",
        "10: `listen` is `[\"here\"]`; it must be a list of HOST:PORT and unix:PATH: cannot listen \
         on `here`; write HOST:PORT, as in 127.0.0.1:8000 or [::1]:8000, or unix:PATH",
    );
    check(
        "state-dir = \"\"",
        "13: `state-dir` is `\"\"`; it must be a path",
    );
    check(
        "control = true",
        "11: `control` is `true`; it must be a path",
    );
}

#[test]
fn two_apps_with_one_library_or_one_mount_are_named_with_both_lines() {
    let check = |text: &str, expected: &str| {
        assert_eq!(parse(text).unwrap_err(), format!("replug.toml:{expected}"));
    };
    check(
        "[apps.one]\npath = \"lib.so\"\n[apps.two]\npath = \"./lib.so\"\n",
        "4:8: path `/etc/lib.so` of app `two` is that of app `one` too, in line 2; give one of \
         them another",
    );
    check(
        "[apps.one]\nmount = \"/x\"\n[apps.two]\nmount = \"/x/\"\n",
        "4:9: mount `/x` of app `two` is that of app `one` too, in line 2; give one of them \
         another",
    );
    // What a mount is if nothing is said counts, too.
    check(
        "[apps.one]\nmount = \"/two\"\n\n[apps.two]\npath = \"lib.so\"\n",
        "4:7: mount `/two` of app `two` is that of app `one` too, in line 2; give one of them \
         another",
    );
    // An app that is only spoken of may never be there.
    assert!(parse("[apps.one]\nmount = \"/two\"\n[apps.two]\ndrain = \"1s\"\n").is_ok());
    assert!(parse("[apps.one]\npath = \"a.so\"\n[apps.two]\npath = \"b.so\"\n").is_ok());
}

#[test]
fn what_is_no_toml_is_named_with_its_place() {
    let error = parse("[server]\nthreads = = 2\n").unwrap_err();
    assert!(error.starts_with("replug.toml:2:11: "), "{error}");
    let error = parse("[server]\nthreads = 1\nthreads = 2\n").unwrap_err();
    assert!(error.contains("replug.toml:3:1: duplicate key"), "{error}");
    assert_eq!(parse("").unwrap().apps.len(), 0);
    let error = parse("server = 1\n").unwrap_err();
    assert_eq!(error, "replug.toml:1:1: `server` must be a table: [server]");
    // Windows' line ends and a byte order mark are no mistakes.
    let file = parse("\u{feff}[server]\r\nthreads = 3\r\n").unwrap();
    assert_eq!(file.threads.unwrap().get(), 3);
    let error = parse("# größe\r\n\"ä\" = 1\r\n").unwrap_err();
    assert_eq!(error, "replug.toml:2:1: unknown key `ä`");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let read = |path: &Path| ConfigFile::read(path).unwrap_err().to_string();
    assert!(read(dir.path()).contains("cannot read"));
    let latin = dir.path().join("latin.toml");
    fs::write(&latin, b"x = \"\xe4\"").unwrap();
    assert!(read(&latin).contains("UTF-8"), "{}", read(&latin));
}
