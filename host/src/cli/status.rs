//! `replug status`

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use http::{Method, Uri};

use super::{client::Target, output::print};
use crate::{
    config::ByteSize,
    exit_code::ExitCode,
    reload::{AppStatus, RetiringStatus, ServingStatus, Status, WorkerStatus},
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// A host that does not answer in that time hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn run(args: Args) -> ExitCode {
    let uri = Uri::from_static("/status");
    if args.json {
        return args
            .target
            .ask(Method::GET, &uri, TIMEOUT, |status: serde_json::Value| {
                print(&format!("{status:#}\n"));
                ExitCode::Ok
            });
    }
    args.target
        .ask(Method::GET, &uri, TIMEOUT, |status: Status| {
            print(&text(&status));
            ExitCode::Ok
        })
}

fn text(status: &Status) -> String {
    let mut out = format!(
        "replug {} (process {}), {} pthread keys of plugins\n",
        status.process.version, status.process.pid, status.process.keys,
    );
    if let Some(reason) = &status.process.unloading_off {
        let _ = writeln!(out, "old generations stay loaded: {reason}");
    }
    let since =
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(status.configuration.since.max(0.0));
    let since = humantime::format_rfc3339_seconds(since);
    match &status.configuration.path {
        Some(path) => drop(writeln!(out, "configured by {path} since {since}")),
        None => drop(writeln!(
            out,
            "configured by the command line since {since}"
        )),
    }
    if status.apps.is_empty() {
        out.push_str("no app is loaded\n");
    }
    for app in &status.apps {
        put_app(&mut out, app);
    }
    for retiring in &status.retiring {
        put_retiring(&mut out, retiring);
    }
    out
}

fn put_app(out: &mut String, app: &AppStatus) {
    let name = if app.name.is_empty() { "?" } else { &app.name };
    match &app.serving {
        Some(serving) => put_serving(out, name, app, serving),
        None if app.mount.is_empty() => {
            let _ = writeln!(out, "\n{name}  does not serve\n  {}", app.path);
        }
        None => {
            let _ = writeln!(
                out,
                "\n{name}  at {}  is not loaded\n  {}",
                app.mount, app.path
            );
        }
    }
    if app.loading {
        out.push_str("  a new generation is being loaded\n");
    }
    if app.waiting > 0 {
        let _ = writeln!(out, "  {} requests wait for it", app.waiting);
    }
    if app.changed {
        let _ = writeln!(out, "  changed, and not loaded (reload = {})", app.reload);
    }
    for schedule in &app.schedules {
        let _ = writeln!(
            out,
            "  schedule {} every {:?}: {} done, {} failed, {} skipped{}",
            schedule.name,
            Duration::from_secs_f64(schedule.every),
            schedule.counts.done,
            schedule.counts.failed,
            schedule.counts.skipped,
            if schedule.running { ", running" } else { "" },
        );
    }
    if let Some(digest) = &app.pinned {
        let _ = writeln!(out, "  pinned to {digest:.12}");
    }
    if let Some(refused) = &app.refused {
        let _ = writeln!(
            out,
            "  refused: {}\n  remedy: {}",
            refused.reason, refused.remedy
        );
    }
}

fn put_serving(out: &mut String, name: &str, app: &AppStatus, serving: &ServingStatus) {
    let limit = serving.memory_limit;
    let limit = limit.map_or_else(String::new, |limit| format!(" of {}", ByteSize(limit)));
    let footprint = serving.footprint.as_ref().map(|it| {
        let (memory, threads) = (ByteSize(it.memory), it.threads.len());
        format!("  {memory}{limit}  {threads} threads")
    });
    let _ = writeln!(
        out,
        "\n{name}  at {}  generation {}  {} in flight{}  for {}  digest {:.12}\n  \
         {}\n  {} requests, {} failed, {} panics",
        app.mount,
        serving.generation,
        serving.in_flight,
        footprint.unwrap_or_default(),
        humantime::format_duration(Duration::from_secs(serving.seconds)),
        serving.digest,
        app.path,
        serving.requests,
        serving.failures,
        serving.panics,
    );
    if let Some(group) = &app.group {
        let _ = writeln!(out, "  group {group}");
    }
    for worker in &app.workers {
        let _ = writeln!(
            out,
            "  worker {}  pid {}  {} in flight  {} requests{}  for {}",
            worker.worker,
            worker.pid,
            worker.in_flight,
            worker.requests,
            vitals(worker),
            humantime::format_duration(Duration::from_secs(worker.seconds)),
        );
    }
    if let Some(left) = serving.guarded {
        let _ = writeln!(out, "  watched for {left:.1} s more");
    }
}

/// Nothing of a worker that is gone.
fn vitals(worker: &WorkerStatus) -> String {
    match (worker.memory, worker.threads) {
        (Some(memory), Some(threads)) => format!("  {}  {threads} threads", ByteSize(memory)),
        _ => String::new(),
    }
}

fn put_retiring(out: &mut String, retiring: &RetiringStatus) {
    let RetiringStatus {
        app,
        generation,
        state,
        reason,
        in_flight,
        footprint,
    } = retiring;
    let memory = footprint
        .as_ref()
        .map(|it| format!(", {}", ByteSize(it.memory)));
    let _ = writeln!(
        out,
        "\n{app} generation {generation}: {state}, {in_flight} in flight{}",
        memory.unwrap_or_default(),
    );
    if let Some(reason) = reason {
        let _ = writeln!(out, "  reason: {reason}");
    }
    for thread in footprint.iter().flat_map(|it| &it.threads) {
        let _ = writeln!(out, "  thread {} ({})", thread.name, thread.id);
    }
}
