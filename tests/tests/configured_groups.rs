//! What `replug.toml` says of process groups.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Command,
};

use replug_tests::{
    artifacts,
    configured::{validate, write},
    host::{Site, finish, replug},
};

/// As many threads whatever the machine.
const ONE: &str = "--group-option=default.threads=1";

#[tokio::test]
async fn validate_lists_groups_and_the_apps_in_them() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    artifacts::library("hello").install(&site.library("hello"));
    write(
        &site,
        "[plugins]\ndirs = [\"apps\"]\n[defaults]\ngroup = \"web\"\n\
         [apps.hello]\ngroup = \"slow\"\n\
         [groups.web]\nprocesses = 2\nthreads = 1\n\
         [groups.slow]\nthreads = 3\nhome = \"none\"\n[groups.idle]\nthreads = 1\n",
    );
    let ended = validate(&site, &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in [
        "group web: 2 processes of 1 HTTP thread, for fixture-probe\n",
        "group slow: 1 process of 3 HTTP threads, for hello\n  warning: `home` ",
        "group idle: 1 process of 1 HTTP thread, for no app\n  warning: no app is in it now\n",
    ] {
        assert!(ended.stdout.contains(part), "{part:?} in {}", ended.stdout);
    }
    // What the command line says is heard.
    let ended = validate(&site, &["--option=hello.group=", "--processes=7", ONE]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in [
        "group slow: 1 process of 3 HTTP threads, for no app\n",
        "group default: 7 processes of 1 HTTP thread, for no app\n",
    ] {
        assert!(ended.stdout.contains(part), "{part:?} in {}", ended.stdout);
    }
    let ended = validate(&site, &["--no-config", "--processes=7", ONE, "apps"]).await;
    let all = "group default: 7 processes of 1 HTTP thread, for fixture-probe, hello\n";
    assert!(ended.stdout.contains(all), "{ended:?}");
}

#[tokio::test]
async fn groups_that_are_wrong_are_no_start() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let check = async |text: &str, args: &[&str], reason: &str| {
        write(&site, text);
        let ended = validate(&site, args).await;
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{reason:?} in {ended:?}");
        let mut command = site.command("serve");
        command.args(args);
        let ended = finish(command).await;
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{reason:?} in {ended:?}");
    };
    let app = "[apps.shop]\npath = \"apps/libprobe.so\"\n";
    check(
        &format!("{app}group = \"bleu\"\n[groups.blue]\n"),
        &[],
        "replug.toml:3:9: there is no group `bleu`; did you mean `blue`?",
    )
    .await;
    check(
        &format!("{app}[groups.blue]\nuser = \"no such user\"\n"),
        &[],
        "replug.toml:4:8: `user` is `\"no such user\"`",
    )
    .await;
    check(
        &format!("{app}[groups.blue]\n"),
        &["--option=shop.group=bleu"],
        "there is no group `bleu`, which app `shop` is to be in; did you mean `blue`?",
    )
    .await;
}

#[tokio::test]
async fn validate_warns_who_is_not_root_of_workers_as_another_user() {
    let site = Site::new();
    artifacts::library("hello").install(&site.library("hello"));
    write(
        &site,
        "[apps.shop]\npath = \"apps/libhello.so\"\ngroup = \"blue\"\n\
         [groups.blue]\nuser = \"root\"\n",
    );
    let mut command = replug(["validate"]);
    if rustix::process::geteuid().is_root() {
        // The program may be where nobody but root can reach it.
        let program = site.path().join("replug");
        artifacts::copy_replug(&program);
        for path in [site.path(), &site.library("hello")] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        command = Command::new(program);
        command.arg("validate").uid(65_534).gid(65_534);
    }
    command.current_dir(site.path());
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let warning = "  warning: only root may start processes as another user (uid 0), and this host \
                   has uid ";
    assert!(ended.stdout.contains(warning), "{ended:?}");
}
