//! Process groups: what they cost, what a deploy to them looks like from outside, and whether their
//! clocks go right.

mod clocks;
mod deploys;
mod visitors;
mod ways;

use replug_bench::servers::Programs;

use crate::Args;

pub(crate) async fn run(args: &Args, programs: &Programs) {
    ways::run(args, programs).await;
    deploys::run(args, programs).await;
    clocks::run(args, programs).await;
}
