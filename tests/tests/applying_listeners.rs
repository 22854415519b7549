//! Addresses that come and go with a changed configuration.

use std::net::TcpListener;

use replug_tests::{Connection, artifacts, configured::write, host::Site, visitors::Visitors};

fn configure(site: &Site, listen: &[&str], more: &str) {
    let app = "[apps.one]\npath = \"apps/libone.so\"\nmount = \"/\"\n";
    write(site, &format!("[server]\nlisten = {listen:?}\n{app}{more}"));
}

async fn serve(site: &Site, listen: &[&str]) -> replug_tests::host::Host {
    site.install("one", &artifacts::probe(1));
    configure(site, listen, "");
    let host = replug_tests::host::Host::spawn(site.command("serve"), None).await;
    host.event("ready").await;
    host
}

async fn apply(site: &Site, code: i32) -> String {
    let ended = site.ask(&["apply"]).await;
    assert_eq!(ended.code, Some(code), "{ended:?}");
    ended.stdout + &ended.stderr
}

#[tokio::test]
async fn addresses_come_and_go_and_nobody_who_has_connected_is_lost() {
    let site = Site::new();
    let host = serve(&site, &["unix:one.sock", "127.0.0.1:0"]).await;
    let tcp = host
        .nth_event(2, "listening")
        .await
        .text("address")
        .to_owned();
    let visitors = Visitors::start(&tcp, "/", "version 1\n", 1);
    let mut connection = host.connect().await;
    connection.text("/").await;
    for _ in 0..5 {
        configure(&site, &["127.0.0.1:0", "unix:two.sock"], "");
        let told = apply(&site, 0).await;
        let two = format!("unix:{}", site.path().join("two.sock").display());
        assert!(told.contains(&format!("added listen {two}")), "{told}");
        let mut other = Connection::http1(&two).await;
        assert_eq!(other.text("/").await, "version 1\n");
        // Who had connected goes on; nobody else does.
        assert_eq!(connection.text("/").await, "version 1\n");
        assert!(!site.path().join("one.sock").exists());
        configure(&site, &["unix:one.sock", "127.0.0.1:0"], "");
        apply(&site, 0).await;
        visitors.more_answers(10).await;
        assert_eq!(host.get("/").await, "version 1\n");
        assert!(!site.path().join("two.sock").exists());
    }
    // A restart hands on what there is by now.
    configure(
        &site,
        &["unix:one.sock", "127.0.0.1:0", "unix:three.sock"],
        "",
    );
    apply(&site, 0).await;
    assert_eq!(site.ask(&["restart"]).await.code, Some(0));
    let three = format!("unix:{}", site.path().join("three.sock").display());
    assert_eq!(
        Connection::http1(&three).await.text("/").await,
        "version 1\n"
    );
    visitors.more_answers(10).await;
    assert_eq!(visitors.end().await.failures, Vec::<String>::new());
}

#[tokio::test]
async fn an_address_that_is_taken_or_not_taken_after_all_leaves_everything_as_it_was() {
    let site = Site::new();
    let host = serve(&site, &["127.0.0.1:0"]).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    configure(&site, &["127.0.0.1:0", "unix:new.sock", &address], "");
    let told = apply(&site, 4).await;
    assert!(
        told.contains(&format!("cannot listen on {address}")),
        "{told}"
    );
    assert!(!site.path().join("new.sock").exists());
    drop(taken);
    // The address is free now, and an app fails.
    configure(
        &site,
        &["127.0.0.1:0", "unix:new.sock", &address],
        "[apps.one.settings]\nsetup = \"error\"\n",
    );
    apply(&site, 4).await;
    assert!(!site.path().join("new.sock").exists());
    assert!(TcpListener::bind(&address).is_ok());
    assert_eq!(host.get("/").await, "version 1\n");
}

#[tokio::test]
async fn an_address_that_overlaps_one_of_the_host_itself_is_refused_with_that_reason() {
    let site = Site::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let own = format!("127.0.0.1:{port}");
    let host = serve(&site, &[&own]).await;
    // Loopback in both, by another name.
    configure(&site, &[&format!("localhost:{port}")], "");
    let told = apply(&site, 4).await;
    assert!(
        told.contains(&format!("the host itself listens on {own}")),
        "{told}"
    );
    assert_eq!(host.get("/").await, "version 1\n");
}
