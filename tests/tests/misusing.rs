//! Plugins that use the ABI otherwise than it is meant.

use std::fs;

use replug_tests::{artifacts, host::Site};

/// The name that the plugins in C have.
const APP: &str = "plain-c";

#[tokio::test]
async fn what_is_asked_wrongly_or_too_late_is_refused_and_harms_nobody() {
    let site = Site::new();
    let odd = artifacts::odd_plugin("NOTHING");
    site.install("odd", &odd);
    let mut host = site.serve_library("odd", &["--guard", "0s"]).await;
    for generation in 2..=4 {
        assert_eq!(host.get("/").await, "hello from C\n");
        odd.numbered(generation).install(&site.library("odd"));
        host.serving(APP, generation).await;
        let retired = host.retired(APP, generation - 1).await;
        assert_eq!(retired.text("outcome"), "unloaded", "{retired}");
        // Its thread that asked too late was content.
        assert_eq!(retired.number("hooks_done"), Some(1), "{retired}");
    }
    assert!(host.terminate().await.success());
}

#[tokio::test]
async fn a_table_that_leaves_out_what_all_have_is_refused_by_the_function_s_name() {
    let site = Site::new();
    site.install("odd", &artifacts::c_plugin());
    let host = site.serve_library("odd", &[]).await;
    artifacts::odd_plugin("NO_UPGRADE").install(&site.library("odd"));
    let refused = host.event("refused").await;
    assert!(refused.text("reason").contains("`upgrade`"), "{refused}");
    assert_eq!(host.get("/").await, "hello from C\n");
}

#[tokio::test]
async fn a_call_that_was_begun_and_handed_out_to_nobody_fails_alone() {
    let site = Site::new();
    site.install("odd", &artifacts::odd_plugin("NO_CALL"));
    let mut host = site.serve_library("odd", &[]).await;
    let mut connection = host.connect().await;
    for _ in 0..2 {
        assert_eq!(connection.get("/").await.status, 500);
    }
    assert!(host.terminate().await.success());
    site.install("odd", &artifacts::odd_plugin("NO_TASK"));
    let mut host = site.serve_library("odd", &[]).await;
    let failed = host.nth_event(2, "schedule-failed").await;
    assert!(failed.text("message").contains("nothing out"), "{failed}");
    assert_eq!(host.get("/").await, "hello from C\n");
    assert!(host.terminate().await.success());
}

#[tokio::test]
async fn a_setup_that_asks_for_a_reload_is_not_loaded_without_end() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let args = ["--guard", "0s", "--set", "fixture-probe.ask-for=\"reload\""];
    let host = site.serve_library("probe", &args).await;
    // The first wish is heard at once.
    host.serving("fixture-probe", 2).await;
    host.event("asks-often").await;
    let mut connection = host.connect().await;
    for _ in 0..20 {
        assert_eq!(connection.text("/").await, "version 1\n");
    }
    // Put off, and not forgotten.
    host.serving("fixture-probe", 4).await;
    let put_off = host.log.all(|event| event.kind() == "asks-often");
    assert!(put_off.len() >= 2, "{}", host.log);
}

#[tokio::test]
async fn an_app_that_asks_for_one_restart_after_the_other_is_put_off() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    // At the host's start, this comes to nothing: there is no image that would be fresher.
    let args = ["--set", "fixture-probe.ask-for=\"restart\""];
    let mut host = site.serve_library("probe", &args).await;
    host.connect().await.post("/request-restart", "").await;
    host.nth_event(2, "ready").await;
    let mut connection = host.connect().await;
    for _ in 0..100 {
        connection.post("/request-restart", "").await;
    }
    host.event("restart-put-off").await;
    assert_eq!(connection.text("/").await, "version 1\n");
    // An operator is heard at once.
    let ended = site.ask(&["restart"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(host.get("/").await, "version 1\n");
    assert!(host.terminate().await.success());
    let restarts = host.log.all(|event| event.kind() == "restarting");
    assert_eq!(restarts.len(), 2, "{}", host.log);
}

#[tokio::test]
async fn a_setup_that_was_given_up_and_ends_well_is_cleaned_up() {
    let site = Site::new();
    site.install("probe", &artifacts::probe(1));
    let (gate, log) = (site.path().join("gate"), site.path().join("cleanup"));
    let setting = |key: &str, value: &str| format!("fixture-probe.{key}={value}");
    let setup = setting("setup-of", &format!("{{2=\"until:{}\"}}", gate.display()));
    let log_setting = setting("cleanup-log", &log.display().to_string());
    let args = ["--set", &setup, "--set", &log_setting];
    let host = site
        .serve_library(
            "probe",
            &[&args[..], &["--setup-timeout", "300ms"]].concat(),
        )
        .await;
    artifacts::probe(2).install(&site.library("probe"));
    host.event("refused").await;
    fs::write(&gate, "").unwrap();
    let retired = host.retired("fixture-probe", 2).await;
    assert_eq!(retired.text("outcome"), "unloaded", "{retired}");
    let said = fs::read_to_string(log).unwrap();
    assert_eq!(said, "fixture-probe generation 2 cleaned up\n");
    let panics = host.log.all(|event| event.text("target") == "panic");
    assert!(panics.is_empty(), "{}", host.log);
}

#[tokio::test]
async fn a_setup_that_was_given_up_registers_nothing_that_stands_in_another_s_way() {
    let site = Site::new();
    for name in ["one", "two"] {
        site.install(name, &artifacts::probe(1));
    }
    let (one, two) = (site.library("one"), site.library("two"));
    let gate = site.path().join("gate");
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [apps.one]\npath = {one:?}\nsetup-timeout = \"300ms\"\n[apps.one.settings]\n\
         setup-of = {{2 = {:?}}}\n\
         register = [{{kind = \"k\", key = \"x\", value = 1, versions = [2]}}]\n\
         [apps.two]\npath = {two:?}\n[apps.two.settings]\n\
         register = [{{kind = \"k\", key = \"x\", value = 2, versions = [2]}}]\n",
        format!("until:{}", gate.display()),
    );
    fs::write(site.path().join("replug.toml"), config).unwrap();
    let host = site.serve(&[]).await;
    artifacts::probe(2).install(&one);
    let refused = host.event("refused").await;
    assert!(refused.text("path").ends_with("libone.so"), "{refused}");
    // It goes on now, and asks for its entry.
    fs::write(&gate, "").unwrap();
    let gone = |event: &replug_tests::log::Event| {
        event.is("retired", "one", 2) && event.text("outcome") == "unloaded"
    };
    host.log.wait_for("its end", gone).await;
    artifacts::probe(2).install(&two);
    host.serving("two", 2).await;
    assert_eq!(host.get("/two/").await, "version 2\n");
}
