//! A soak that every change has to pass: longer than a process has pthread keys.

use replug_bench::soak::{self, App, Plan, Verdict};
use replug_tests::artifacts;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn after_2500_reloads_under_load_nothing_is_lost_mixed_or_left_behind() {
    let plan = Plan {
        app: App::Hello,
        reloads: 2_500,
        connections: 2,
        threads: 2,
        settle_after: 500,
        sample_every: 50,
        // An allocator's level moves by several MiB in so few reloads. If heaps stayed, it would be
        // 30 MiB.
        memory_slack: 8 << 20,
    };
    let library = artifacts::library(plan.app.package());
    let record = soak::run(&plan, artifacts::replug(), &library, |_| ()).await;
    let verdict = Verdict::of(&plan, &record);
    let failed: Vec<_> = verdict.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}\n{record:#?}");
}
