use super::*;

fn group(name: &str) -> GroupName {
    GroupName::try_from(name).unwrap()
}

fn group_option(of: Option<&str>, key: &str, value: Value) -> GroupOption {
    GroupOption {
        group: of.map(group),
        key: key.to_owned(),
        value,
    }
}

fn group_of<'a>(config: &'a Config, app: &str) -> Option<&'a str> {
    let (name, _) = config.group_of(&name(app))?;
    Some(name.as_str())
}

/// What is wrong with a file and a command line, each right by itself.
fn check(text: &str, given: Overrides, expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("replug.toml");
    fs::write(&path, text).unwrap();
    let file = ConfigFile::read(&path).unwrap();
    let error = Config::resolve(given, Some(file), AppOptions::default()).unwrap_err();
    assert_eq!(error.to_string().lines().collect::<Vec<_>>(), expected);
}

const GROUPS: &str = "[defaults]\ngroup = \"blue\"\n\
                      [apps.shop]\ngroup = \"green\"\n[apps.alone]\ngroup = \"\"\n\
                      [groups.blue]\nprocesses = 2\nqueue = 5\n[groups.green]\n";

#[test]
fn an_app_is_in_its_group_or_that_of_all_or_in_none() {
    let dir = tempfile::tempdir().unwrap();
    let config = resolve(&dir, GROUPS, Overrides::default());
    assert_eq!(group_of(&config, "shop"), Some("green"));
    assert_eq!(group_of(&config, "alone"), None);
    assert_eq!(group_of(&config, "other"), Some("blue"));
    let (_, blue) = config.group_of(&name("other")).unwrap();
    assert_eq!((blue.processes.get(), blue.queue), (2, 5));
    let none = resolve(&dir, "[apps.shop]\n", Overrides::default());
    assert_eq!((group_of(&none, "shop"), none.groups.len()), (None, 0));
}

#[test]
fn the_command_line_wins_over_the_file_and_one_group_over_all() {
    let dir = tempfile::tempdir().unwrap();
    let given = Overrides {
        options: vec![option(Some("shop"), "group", json!("blue"))],
        group_options: vec![
            group_option(Some("blue"), "processes", json!(7)),
            group_option(None, "processes", json!(3)),
            group_option(None, "home", json!("x")),
        ],
        ..Overrides::default()
    };
    let config = resolve(&dir, GROUPS, given);
    assert_eq!(group_of(&config, "shop"), Some("blue"));
    let [blue, green] = ["blue", "green"].map(|it| &config.groups[&group(it)]);
    assert_eq!((blue.processes.get(), green.processes.get()), (7, 3));
    assert_eq!(blue.queue, 5);
    // A path of the command line's begins where that was written.
    let here = std::env::current_dir().unwrap();
    assert_eq!(green.home, Some(here.join("x")));
}

#[test]
fn processes_make_a_group_of_all_apps_that_name_none() {
    let dir = tempfile::tempdir().unwrap();
    let given = Overrides {
        processes: NonZeroUsize::new(4),
        ..Overrides::default()
    };
    let processes = |config: &Config| config.groups[&GroupName::usual()].processes.get();
    let config = resolve(&dir, "", given.clone());
    assert_eq!(group_of(&config, "shop"), Some("default"));
    assert_eq!(processes(&config), 4);
    // Who says that they are in none, are in none.
    let text = "[defaults]\ngroup = \"\"\n[apps.shop]\ngroup = \"green\"\n\
                [apps.alone]\ngroup = \"\"\n[apps.blog]\n\
                [groups.default]\nprocesses = 9\nqueue = 5\n[groups.green]\n";
    let config = resolve(&dir, text, given.clone());
    assert_eq!(group_of(&config, "shop"), Some("green"));
    assert_eq!(group_of(&config, "alone"), None);
    assert_eq!(group_of(&config, "blog"), Some("default"));
    assert_eq!(group_of(&config, "other"), Some("default"));
    assert_eq!(processes(&config), 4);
    assert_eq!(config.groups[&GroupName::usual()].queue, 5);
    let config = resolve(&dir, GROUPS, given);
    assert_eq!(group_of(&config, "other"), Some("blue"));
    assert_eq!(processes(&config), 4);
}

#[test]
fn groups_that_only_the_command_line_names_are_named_in_the_error() {
    let given = Overrides {
        options: vec![
            option(Some("shop"), "group", json!("gren")),
            option(None, "group", json!("web")),
        ],
        group_options: vec![group_option(Some("bleu"), "queue", json!(1))],
        ..Overrides::default()
    };
    check(
        "[groups.blue]\n[groups.green]\n[apps.one]\n[apps.two]\n",
        given,
        &[
            "there is no group `bleu`, which an option is given for; did you mean `blue`?",
            "there is no group `web`, which apps are to be in; make it with [groups.NAME] in the \
             file",
            "there is no group `gren`, which app `shop` is to be in; did you mean `green`?",
        ],
    );
}

#[test]
fn an_option_of_groups_that_there_are_not_is_not_swallowed() {
    let given = Overrides {
        group_options: vec![group_option(None, "queue", json!(1))],
        ..Overrides::default()
    };
    let with_processes = Overrides {
        processes: NonZeroUsize::new(2),
        ..given.clone()
    };
    check(
        "[apps.shop]\n",
        given,
        &[
            "an option of all groups is given, and there is no group; make one with --processes, \
             or [groups.NAME] in the file",
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    let config = resolve(&dir, "", with_processes);
    assert_eq!(config.groups[&GroupName::usual()].queue, 1);
}

#[test]
fn a_user_of_the_command_lines_needs_a_group_too() {
    let user = || group_option(Some("blue"), "user", json!(4_000_000_001_u32));
    let given = Overrides {
        group_options: vec![user()],
        ..Overrides::default()
    };
    check(
        "[groups.blue]\n",
        given,
        &[
            "`user` of group `blue`: nothing says which group user 4000000001 has, since the \
             system's list of users does not have it; set `group`, too",
        ],
    );
    let given = Overrides {
        group_options: vec![
            user(),
            group_option(None, "group", json!(4_000_000_001_u32)),
        ],
        ..Overrides::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let config = resolve(&dir, "[groups.blue]\n", given);
    let identity = config.groups[&group("blue")].identity().unwrap().unwrap();
    assert_eq!((identity.uid, identity.gid), (4_000_000_001, 4_000_000_001));
}
