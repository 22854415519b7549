//! A soak that every change has to pass: longer than a process has pthread keys.

use replug_bench::soak::{self, App, Plan, Verdict};
use replug_tests::artifacts;

/// An allocator's level moves by several MiB in so few reloads.
const SLACK: u64 = 8 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn after_2500_reloads_under_load_nothing_is_lost_mixed_or_left_behind() {
    // If heaps stayed, it would be 30 MiB.
    passes(Plan {
        app: App::Hello,
        reloads: 2_500,
        connections: 2,
        threads: 2,
        settle_after: 500,
        sample_every: 50,
        memory_slack: SLACK,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_app_that_asks_for_everything_leaves_nothing_behind_either() {
    // If each connection kept a KiB of each generation that it has asked, it would be 16 MiB.
    passes(Plan {
        app: App::Asking,
        reloads: 500,
        connections: 40,
        threads: 2,
        settle_after: 100,
        sample_every: 20,
        memory_slack: SLACK,
    })
    .await;
}

async fn passes(plan: Plan) {
    let library = artifacts::library(plan.app.package());
    let record = soak::run(&plan, artifacts::replug(), &library, |_| ()).await;
    let verdict = Verdict::of(&plan, &record);
    let failed: Vec<_> = verdict.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}\n{record:#?}");
}
