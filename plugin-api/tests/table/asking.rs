//! What plugins ask of their host, and what the host asks of them besides answers.

use std::{
    future::{Future as _, pending},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Router, routing::get};
use bytes::Bytes;
use replug_plugin::{BoxError, HostError, Reason, Setup, abi};

use crate::{
    asked::{asked, change_the_registry},
    bell::Bell,
    host::{App, plugin},
};

#[test]
fn what_setup_asks_for_reaches_the_host() {
    fn app(setup: &mut Setup) -> Result<Router, BoxError> {
        setup.track("/etc/settings.toml")?;
        setup.track("relative")?;
        setup.register("menu", "Shop", ["/shop"])?;
        setup.route("/second")?;
        setup.schedule("tick", Duration::from_secs(2), || async {})?;
        assert_eq!(setup.previous_state()?, None);
        let host = setup.host();
        let registry = setup.registry();
        let found = registry.registrations("menu")?;
        assert_eq!(
            (found[0].key.as_str(), found[0].value_as::<u8>()?),
            ("one", 7)
        );
        assert_eq!(found[0].owners, ["a", "b"]);
        Ok(Router::new().route(
            "/",
            get(async move || {
                host.request_reload().unwrap();
                host.request_restart().unwrap();
            }),
        ))
    }
    let app = App::start_as(plugin!(app), 2).unwrap();
    drop(app.get("/").wait().unwrap());
    app.stop();
    let relative = std::path::absolute("relative").unwrap();
    assert_eq!(
        asked(2),
        [
            "track /etc/settings.toml",
            &format!("track {}", relative.display()),
            r#"register menu Shop ["/shop"]"#,
            "register route /second null",
            "schedule tick 2000",
            "leaves",
            "reload",
            "restart",
        ]
    );
}

#[test]
fn what_the_host_refuses_is_an_error_with_its_reason() {
    fn app(setup: &mut Setup) -> Router {
        let error = |result: Result<(), _>| format!("{}", result.err().unwrap());
        assert_eq!(error(setup.track("/bad")), "the host refuses track /bad");
        assert_eq!(
            error(setup.register("k", "bad", 1)),
            "the host refuses register k bad 1"
        );
        let tick = || async {};
        assert_eq!(
            error(setup.schedule("bad", Duration::from_secs(1), tick)),
            "the host refuses schedule bad 1000"
        );
        assert!(error(setup.schedule("x", Duration::ZERO, tick)).contains("shortest"));
        let state = setup.previous_state().unwrap_err();
        assert_eq!(state.to_string(), "it could not save it");
        assert!(setup.registry().registrations("bad").is_err());
        Router::new()
    }
    App::start_as(plugin!(app), 10).unwrap().stop();
}

/// All that a host may be without, each with what it comes to there.
fn ask_for_everything(setup: &mut Setup) -> Vec<(&'static str, HostError)> {
    let mut registry = setup.registry();
    let tick = || async {};
    let mut changed = Box::pin(registry.changed());
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(changed) = changed.as_mut().poll(&mut context) else {
        panic!("it waits")
    };
    let every = Duration::from_secs(1);
    vec![
        ("track", setup.track("/x").unwrap_err()),
        ("register_entry", setup.register("k", "x", 1).unwrap_err()),
        ("register_entry", setup.route("/x").unwrap_err()),
        ("schedule", setup.schedule("x", every, tick).unwrap_err()),
        ("previous_state", setup.previous_state().unwrap_err()),
        ("request_reload", setup.request_reload().unwrap_err()),
        ("request_restart", setup.request_restart().unwrap_err()),
        (
            "registrations",
            setup.registry().registrations("k").unwrap_err(),
        ),
        ("poll_registry", changed.unwrap_err()),
    ]
}

#[test]
fn a_host_of_the_first_abi_is_told_apart_and_the_app_runs_there() {
    fn app(setup: &mut Setup) -> Router {
        for (name, error) in ask_for_everything(setup) {
            let error = error.to_string();
            assert!(
                error.contains("older than ABI 1.1") && error.contains(name),
                "{error}"
            );
        }
        Router::new().route("/", get(async || "old"))
    }
    let app = App::start_in_old_host(plugin!(app)).unwrap();
    assert_eq!(app.get("/").wait().unwrap().body.text(), "old");
    app.stop();
}

#[test]
fn what_a_host_leaves_out_of_its_table_is_an_error_and_no_call() {
    fn app(setup: &mut Setup) -> Router {
        for (name, error) in ask_for_everything(setup) {
            let expected = format!("this host has no `{name}`; run the app in one that has");
            assert_eq!(error.to_string(), expected);
        }
        Router::new().route("/", get(async || "sparse"))
    }
    let app = App::start_in_sparse_host(plugin!(app)).unwrap();
    assert_eq!(app.get("/").wait().unwrap().body.text(), "sparse");
    app.stop();
}

#[test]
fn a_change_of_the_registry_is_waited_for() {
    fn app(setup: &mut Setup) -> Router {
        let registry = Arc::new(tokio::sync::Mutex::new(setup.registry()));
        Router::new().route(
            "/",
            get(async move || registry.lock().await.changed().await.unwrap()),
        )
    }
    let app = App::start_as(plugin!(app), 4).unwrap();
    // The first time at once.
    app.get("/").wait().unwrap();
    let mut call = app.get("/");
    let bell = Arc::<Bell>::default();
    assert!(call.poll(&bell).is_none());
    assert_eq!(asked(4), ["waits"]);
    change_the_registry();
    bell.wait();
    call.wait().unwrap();
    drop(call);
    app.stop();
}

#[test]
fn state_is_had_back_and_saved_as_often_as_it_is_asked_for() {
    fn app(setup: &mut Setup) -> Result<Router, BoxError> {
        let state = setup.previous_state()?.ok_or("none")?;
        assert_eq!((state.schema(), &**state.bytes()), (4, b"saved".as_slice()));
        let saves = AtomicU64::new(0);
        setup.save_state(5, move || {
            format!("save {}", saves.fetch_add(1, Ordering::SeqCst) + 1)
        });
        Ok(Router::new())
    }
    let app = App::start_as(plugin!(app), 3).unwrap();
    assert_eq!(app.save(100).unwrap().unwrap(), (5, b"save 1".to_vec()));
    assert_eq!(app.save(100).unwrap().unwrap(), (5, b"save 2".to_vec()));
    let failed = app.save(3).unwrap().unwrap_err();
    assert!(
        failed.message.contains("6 bytes, and may have 3"),
        "{failed:?}"
    );
    app.stop();
}

#[test]
fn an_async_save_runs_on_the_app_s_runtime_and_an_app_without_one_saves_nothing() {
    async fn app(setup: &mut Setup) -> Router {
        setup.save_state(1, || async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, BoxError>(Bytes::from_static(b"slept"))
        });
        Router::new()
    }
    let saving = App::start(plugin!(app));
    assert_eq!(saving.save(100).unwrap().unwrap(), (1, b"slept".to_vec()));
    saving.stop();
    fn none(_: &mut Setup) -> Router {
        Router::new()
    }
    let app = App::start(plugin!(none));
    assert!(app.save(100).is_none());
    app.stop();
}

#[test]
fn a_save_that_fails_panics_or_hangs_comes_back_as_a_failure() {
    fn check(app: App, part: &str) {
        let failed = app.save(100).unwrap().unwrap_err();
        assert!(failed.message.contains(part), "{failed:?}");
        app.stop();
    }
    fn fails(setup: &mut Setup) -> Router {
        setup.save_state(1, || Err::<Vec<u8>, _>("disk is full"));
        Router::new()
    }
    check(App::start(plugin!(fails)), "disk is full");
    fn panics(setup: &mut Setup) -> Router {
        setup.save_state(1, || -> Vec<u8> { panic!("no state") });
        Router::new()
    }
    check(App::start(plugin!(panics)), "panic");
    fn hangs(setup: &mut Setup) -> Router {
        setup.save_state(1, pending::<Vec<u8>>);
        Router::new()
    }
    check(App::start(plugin!(hangs)), "longer than 300ms");
}

#[test]
fn a_schedule_runs_as_a_task_and_its_panic_comes_back_with_its_place() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    fn app(setup: &mut Setup) -> Result<Router, BoxError> {
        let second = Duration::from_secs(1);
        setup.schedule("tick", second, || async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            CALLS.fetch_add(1, Ordering::SeqCst);
        })?;
        setup.schedule("boom", second, || async { panic!("tick, tick, boom") })?;
        setup.schedule("hang", second, pending::<()>)?;
        Ok(Router::new())
    }
    let app = App::start_as(plugin!(app), 6).unwrap();
    app.run("tick").unwrap().wait().unwrap();
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    let failed = app.run("boom").unwrap().wait().unwrap_err();
    failed.assert_panic("tick, tick, boom", "asking.rs");
    let failed = app.run("other").err().unwrap();
    assert!(failed.message.contains("no schedule `other`"), "{failed:?}");
    // Dropped, it is aborted: stopping does not wait for it.
    drop(app.run("hang").unwrap());
    assert_eq!(app.stop().threads_left, 0);
}

#[test]
fn hooks_are_told_the_reason() {
    static TOLD: Mutex<Vec<Reason>> = Mutex::new(Vec::new());
    fn app(setup: &mut Setup) -> Router {
        setup.on_cleanup(|reason: Reason| TOLD.lock().unwrap().push(reason));
        setup.on_cleanup(|reason: Reason| async move { TOLD.lock().unwrap().push(reason) });
        Router::new()
    }
    App::start(plugin!(app)).stop();
    assert_eq!(*TOLD.lock().unwrap(), [Reason::Reload, Reason::Reload]);
    for (code, name) in [
        (abi::REASON_ROLLBACK, "rollback"),
        (abi::REASON_MAX_REQUESTS, "max requests"),
        (abi::REASON_MAX_AGE, "max age"),
        (abi::REASON_INACTIVITY, "inactivity"),
        (abi::REASON_SIGNAL, "signal"),
        (abi::REASON_RESTART, "restart"),
        (99, "reason 99"),
    ] {
        static LAST: Mutex<Option<String>> = Mutex::new(None);
        fn app(setup: &mut Setup) -> Router {
            setup.on_cleanup(|_: Reason| ());
            let token = setup.shutdown();
            setup.on_cleanup(move || {
                *LAST.lock().unwrap() = token.reason().map(|reason| reason.to_string());
            });
            Router::new()
        }
        let app = App::start(plugin!(app));
        app.shutdown(code);
        app.stop();
        assert_eq!(LAST.lock().unwrap().as_deref(), Some(name));
    }
}

#[test]
fn without_a_host_what_is_asked_for_is_kept_for_the_test() {
    let mut setup = Setup::detached("alone").with_state(2, "before");
    setup.track("/x").unwrap();
    setup.register("menu", "Shop", 1).unwrap();
    setup
        .schedule("tick", Duration::from_secs(1), || async {})
        .unwrap();
    setup.request_reload().unwrap();
    let entries = setup.registry().registrations("menu").unwrap();
    assert_eq!(entries.len(), 1);
    assert!(setup.registry().registrations("other").unwrap().is_empty());
    let state = setup.previous_state().unwrap().unwrap();
    assert_eq!(
        (state.schema(), &**state.bytes()),
        (2, b"before".as_slice())
    );
}
