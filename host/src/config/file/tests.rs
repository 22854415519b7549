use serde_json::json;

use super::*;

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
         [groups.blue]\n\
         [apps.\"a b\"]\n\
         [apps.one]\n\
         path = \"lib.so\"\n\
         mount = \"/x\"\n\
         settings = 3\n\
         [apps.two]\n\
         path = \"lib.so\"\n\
         mount = \"/x\"\n",
    )
    .unwrap_err();
    let expected = [
        "replug.toml:2:10: `listen` is `\"127.0.0.1:80\"`; it must be a list of HOST:PORT and unix:PATH",
        "replug.toml:3:1: unknown key `treads`; did you mean `threads`?",
        "replug.toml:5:1: unknown key `drian`; did you mean `drain`?",
        "replug.toml:6:9: `guard` is `5`; it must be a time with its unit, as in \"250ms\" or \"10s\"",
        "replug.toml:7:2: unknown key `app`; did you mean `apps`?",
        "replug.toml:8:2: `groups`: this version has no process groups; remove the table",
        "replug.toml:9:7: `a b` cannot be an app's name because of ' '; use letters, digits, `-`, `_` and `.` only",
        "replug.toml:13:12: `settings` is `3`; it must be a table",
        "replug.toml:14:7: apps `one` and `two` have the same mount; give one of them another",
        "replug.toml:14:7: apps `one` and `two` have the same path; give one of them another",
    ];
    assert_eq!(error.lines().collect::<Vec<_>>(), expected);
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
}
