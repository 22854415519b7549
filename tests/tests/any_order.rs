//! Whatever is done to an app, in whatever order: what must hold, holds.
//!
//! `REPLUG_TEST_SEEDS=20-60` runs those seeds, `REPLUG_TEST_STEPS=200` longer sequences;
//! with `REPLUG_TEST_SHORTEST=1` a failure is followed by the shortest sequence that fails.

use std::ops::Range;

use replug_tests::{
    deploy::Way,
    model::{Op, Violation, driver, plan, shortest},
};
use tokio::task::LocalSet;

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> Range<u64> {
    let named = std::env::var("REPLUG_TEST_SEEDS").ok();
    let range = named.as_deref().and_then(|text| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.parse().ok()?..last.parse::<u64>().ok()? + 1)
    });
    range.unwrap_or(1..4)
}

/// In a task of its own, so that a panic is a failure like others.
async fn run(ops: &[Op]) -> Result<(), Violation> {
    let ops = ops.to_vec();
    let task = tokio::task::spawn_local(async move { driver::run(&ops).await });
    task.await
        .unwrap_or_else(|error| Err(Violation(error.to_string())))
}

#[tokio::test]
async fn whatever_is_done_to_an_app_what_must_hold_holds() {
    LocalSet::new().run_until(all()).await;
}

async fn all() {
    for seed in seeds() {
        let ops = plan(seed, number("REPLUG_TEST_STEPS").unwrap_or(30));
        let Err(violation) = run(&ops).await else {
            continue;
        };
        let ops = match number("REPLUG_TEST_SHORTEST") {
            Some(_) => shortest(ops, async |ops: &[Op]| run(ops).await.is_err()).await,
            None => ops,
        };
        panic!("seed {seed}: {violation}\n{ops:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_killed_in_the_middle_of_a_load_begins_again_with_a_whole_state() {
    // Each version is killed at another time.
    let counted = [Op::Count(3), Op::Write(Way::Rename), Op::Count(2), Op::Kill];
    let mut ops = vec![Op::Write(Way::Rename)];
    ops.extend(counted.iter().cycle().take(counted.len() * 8));
    let done = LocalSet::new().run_until(run(&ops)).await;
    assert!(done.is_ok(), "{}", done.unwrap_err());
}
