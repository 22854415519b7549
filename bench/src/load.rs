//! Loads a server: with wrk where there is one, else with clients of our own.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use replug_tests::Connection;
use tokio::task::JoinSet;

/// What makes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Wrk,
    Own,
}

impl Tool {
    /// The best there is; says so when a better one is missing.
    pub(crate) fn find() -> Self {
        if Command::new("wrk").arg("--version").output().is_ok() {
            return Self::Wrk;
        }
        println!(
            "wrk is not installed: loading with clients of our own, which take more of the\n\
             processor. For numbers to quote: apt-get install wrk, or see\n\
             https://github.com/wg/wrk.\n"
        );
        Self::Own
    }

    /// Requests per second.
    pub(crate) async fn run(self, url: &Url<'_>, connections: usize, seconds: u64) -> f64 {
        match self {
            Self::Wrk => wrk(url, connections, seconds),
            Self::Own => own(url, connections, Duration::from_secs(seconds)).await,
        }
    }
}

/// `http://ADDRESS/PATH`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Url<'a> {
    pub(crate) address: &'a str,
    pub(crate) path: &'a str,
}

fn wrk(url: &Url<'_>, connections: usize, seconds: u64) -> f64 {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s")])
        .arg(format!("http://{}{}", url.address, url.path))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = ["Non-2xx", "Socket errors"]
        .iter()
        .any(|sign| text.contains(sign));
    assert!(
        output.status.success() && !failed,
        "wrk on {url:?}:\n{text}"
    );
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    line.and_then(|number| number.trim().parse().ok())
        .expect("wrk's requests per second")
}

async fn own(url: &Url<'_>, connections: usize, time: Duration) -> f64 {
    let mut clients = JoinSet::new();
    let began = Instant::now();
    for _ in 0..connections {
        let (address, path) = (url.address.to_owned(), url.path.to_owned());
        clients.spawn(async move {
            let mut connection = Connection::http1(&address).await;
            let mut count = 0_u64;
            while began.elapsed() < time {
                let mut response = connection.open(&path).await;
                assert_eq!(response.status(), 200);
                while let Some(frame) = response.frame().await {
                    frame.unwrap();
                }
                count += 1;
            }
            count
        });
    }
    let counts = clients.join_all().await;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = counts.iter().sum::<u64>() as f64;
    count / began.elapsed().as_secs_f64()
}
