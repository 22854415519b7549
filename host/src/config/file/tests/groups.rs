use super::*;

/// All that is wrong with a text, line by line.
fn check(text: &str, expected: &[&str]) {
    let error = parse(text).unwrap_err();
    let expected = expected.iter().map(|line| format!("replug.toml:{line}"));
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines, expected.collect::<Vec<_>>());
}

#[test]
fn groups_are_read_with_their_variables_and_paths_from_the_files_folder() {
    let file = parse(
        "[defaults]\ngroup = \"blue\"\n[apps.shop]\ngroup = \"\"\n\
         [groups.blue]\nprocesses = 2\nhome = \"run\"\numask = \"0027\"\n\
         [groups.blue.environment]\nRUST_LOG = \"debug\"\n\
         [groups.green]\nenvironment = { A = \"1\" }\nrequest-timeout = \"5s\"\n",
    )
    .unwrap();
    let groups: Vec<_> = file.groups.values().collect();
    let [blue, green] = groups[..] else {
        panic!("{groups:?}");
    };
    assert_eq!((blue.processes.get(), blue.umask), (2, Some(0o27)));
    assert_eq!(blue.home.as_deref(), Some(Path::new("/etc/run")));
    assert_eq!(blue.environment["RUST_LOG"], "debug");
    assert_eq!(green.environment["A"], "1");
    assert_eq!(green.request_timeout.as_secs(), 5);
}

#[test]
fn all_that_is_wrong_in_groups_is_named_at_once_with_its_place() {
    check(
        "[groups]\n\
         loose = 3\n\
         [groups.blue]\n\
         proceses = 2\n\
         processes = 0\n\
         umask = 0o027\n\
         user = \"no such user\"\n\
         drain = \"1s\"\n\
         [groups.blue.environment]\n\
         GOOD = \"yes\"\n\
         BAD = 1\n\
         \"A=B\" = \"x\"\n\
         NUL = \"\\u0000\"\n\
         [groups.\"a/b\"]\n\
         [apps.shop]\n\
         processes = 3\n",
        &[
            "2:1: `loose` must be a table: [loose]",
            "4:1: unknown key `proceses`; did you mean `processes`?",
            "5:13: `processes` is `0`; it must be a whole number from 1",
            "6:9: `umask` is `23`; it must be octal digits as text, as in \"0027\"",
            "7:8: `user` is `\"no such user\"`; it must be a user's name or number: there is no \
             user `no such user`; create it, or name one that `getent passwd` lists",
            "8:1: unknown key `drain` here; it belongs under [defaults] or [apps.NAME]",
            "11:7: `environment.BAD` is `1`; it must be text, without NUL",
            "12:9: `environment` is `\"A=B\"`; it must be named by text that is not empty, without \
             `=` and NUL",
            "13:7: `environment.NUL` is `\"\\u0000\"`; it must be text, without NUL",
            "14:9: `a/b` cannot be a group's name because of '/'; use letters, digits, `-`, `_` \
             and `.` only",
            "16:1: unknown key `processes` here; it belongs under [groups.NAME]",
        ],
    );
    check("groups = 1\n", &["1:1: `groups` must be a table: [groups]"]);
}

#[test]
fn a_group_that_is_not_there_is_named_with_the_one_that_may_be_meant() {
    check(
        "[defaults]\ngroup = \"bleu\"\n[apps.shop]\ngroup = \"web\"\n[groups.blue]\n",
        &[
            "2:9: there is no group `bleu`; did you mean `blue`?",
            "4:9: there is no group `web`; make it with [groups.web]",
        ],
    );
    assert!(parse("[defaults]\ngroup = \"\"\n").is_ok());
}

#[test]
fn a_user_without_a_group_is_refused_where_it_is_named() {
    let uid = 4_000_000_001_u32;
    check(
        &format!("[groups.blue]\nuser = \"{uid}\"\n"),
        &[&format!(
            "2:8: `user`: nothing says which group user {uid} has, since the system's list of \
             users does not have it; set `group`, too"
        )],
    );
    let text = format!("[groups.blue]\nuser = \"{uid}\"\ngroup = \"{uid}\"\n");
    assert!(parse(&text).is_ok());
}
