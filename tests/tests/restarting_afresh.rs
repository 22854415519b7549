//! What the next process image finds: what a fresh start would, and the configuration of now.

use std::{fs, os::unix::fs::symlink};

use replug_tests::{
    Connection, artifacts,
    deploy::Artifact,
    host::{Host, Site},
};
use rustix::process::Signal;

/// A line of `/proc/PID/FILE`.
fn fact(host: &Host, file: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/{file}", host.pid())).unwrap();
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .to_owned()
}

#[tokio::test]
async fn what_plugins_changed_of_the_process_does_not_outlive_the_image() {
    let site = Site::new();
    site.install("leaver", &artifacts::library("fixture-leaver"));
    let host = site.serve_library("leaver", &[]).await;
    let facts = |host: &Host| {
        [
            fact(host, "status", "Umask:"),
            fact(host, "status", "SigIgn:"),
            fact(host, "status", "SigBlk:"),
            fact(host, "limits", "Max open files"),
            fs::read_link(format!("/proc/{}/cwd", host.pid()))
                .unwrap()
                .display()
                .to_string(),
        ]
    };
    let leads_to_zero = |host: &Host| {
        let open = fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap();
        let mut links = open
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        links.any(|link| link == std::path::Path::new("/dev/zero"))
    };
    let before = facts(&host);
    host.get("/leave/changed-process").await;
    let changed = facts(&host);
    for (before, changed) in before
        .iter()
        .zip(&changed)
        .filter(|(it, _)| !it.starts_with("SigB"))
    {
        assert_ne!(before, changed);
    }
    assert!(leads_to_zero(&host));
    for nth in 2..=3 {
        host.signal(Signal::USR2);
        host.nth_event(nth, "ready").await;
        assert_eq!(facts(&host), before);
        assert!(!leads_to_zero(&host));
        let variables = host.get("/variables").await;
        assert!(!variables.contains("LEAVER"), "{variables}");
        assert!(!variables.contains("REPLUG_INHERITANCE"), "{variables}");
        assert!(variables.contains("PATH"), "{variables}");
    }
}

#[tokio::test]
async fn a_clock_that_a_plugin_has_started_does_not_end_the_next_image() {
    let site = Site::new();
    site.install("leaver", &artifacts::library("fixture-leaver"));
    let host = site.serve_library("leaver", &[]).await;
    // Its signal has a handler in this image, and its default in the next.
    host.get("/leave/alarm").await;
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    host.nth_event(2, "ready").await;
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_descriptor_that_was_there_from_the_start_stays() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let command = site.command("serve");
    let mut shell = std::process::Command::new("sh");
    shell
        .args([
            "-c",
            "exec 9</dev/full; exec \"$0\" \"$@\" --listen 127.0.0.1:0",
        ])
        .arg(command.get_program())
        .args(command.get_args())
        .arg(site.library("probe"))
        .current_dir(site.path());
    let host = Host::spawn(shell, None).await;
    host.event("ready").await;
    for nth in 2..=3 {
        host.signal(Signal::USR2);
        host.nth_event(nth, "ready").await;
        let link = fs::read_link(format!("/proc/{}/fd/9", host.pid())).unwrap();
        assert_eq!(link, std::path::Path::new("/dev/full"));
    }
}

#[tokio::test]
async fn a_link_that_leads_to_another_program_by_now_is_followed() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let link = site.path().join("replug");
    for version in ["one", "two"] {
        fs::create_dir(site.path().join(version)).unwrap();
        let program = site.path().join(version).join("replug");
        artifacts::copy_replug(&program);
    }
    symlink("one/replug", &link).unwrap();
    let mut command = site.command_of(&link, "serve");
    command
        .args(["--listen", "127.0.0.1:0"])
        .arg(site.library("probe"));
    let host = Host::spawn(command, None).await;
    host.event("ready").await;
    fs::remove_file(&link).unwrap();
    symlink("two/replug", &link).unwrap();
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let program = fs::read_link(format!("/proc/{}/exe", host.pid())).unwrap();
    assert!(program.ends_with("two/replug"), "{program:?}");
    // A program that runs is not yet one of Replug's.
    fs::remove_file(&link).unwrap();
    symlink("/bin/true", &link).unwrap();
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("is not Replug"), "{ended:?}");
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn the_next_image_listens_where_the_configuration_says_by_now() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let config = site.path().join("replug.toml");
    let (old, new) = (site.path().join("old.sock"), site.path().join("new.sock"));
    let stays = site.path().join("stays.sock");
    let listen = |sockets: [&std::path::Path; 2]| {
        let [one, other] = sockets.map(|it| format!("\"unix:{}\"", it.display()));
        let library = site.library("probe");
        let text = format!(
            "[server]\nlisten = [{one}, {other}]\n[apps.probe]\npath = \"{}\"\nmount = \"/\"\n",
            library.display()
        );
        fs::write(&config, text).unwrap();
    };
    listen([&old, &stays]);
    let mut host = Host::spawn(site.command("serve"), None).await;
    host.event("ready").await;
    listen([&new, &stays]);
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!old.exists());
    for socket in [&new, &stays] {
        let address = format!("unix:{}", socket.display());
        let answer = Connection::http1(&address).await.text("/").await;
        assert_eq!(answer, "version 1\n");
    }
    assert!(host.terminate().await.success());
    assert!(!new.exists() && !stays.exists());
}

#[tokio::test]
async fn a_host_whose_apps_are_all_refused_by_now_comes_back_all_the_same() {
    let site = Site::new();
    let path = site.install("probe", &artifacts::probe(1));
    let host = site.serve_library("probe", &["--guard", "0s"]).await;
    Artifact::new("no library").install(&path);
    host.event("refused").await;
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(host.connect().await.get("/").await.status, 404);
    artifacts::probe(2).install(&path);
    let mut connection = host.connect().await;
    host.until_text(&mut connection, "/", "version 2\n").await;
}
