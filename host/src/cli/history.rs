//! `replug history`

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use http::Method;

use super::{
    apps,
    client::{Target, uri},
    output::print,
};
use crate::{
    admin::{AppQuery, HistoryAnswer},
    exit_code::ExitCode,
    reload::{AttemptStatus, HistoryStatus, Outcome},
};

/// A host that does not answer in that time hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The app's name, or its artifact's absolute path.
    app: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: Args) -> ExitCode {
    let Args { app, json, target } = args;
    let query = AppQuery {
        app: app.clone(),
        digest: None,
    };
    let uri = uri("/history", &query);
    target.ask(Method::GET, &uri, TIMEOUT, |answer| match answer {
        HistoryAnswer::Found(history) if json => match serde_json::to_string_pretty(&history) {
            Ok(text) => {
                print(&format!("{text}\n"));
                ExitCode::Ok
            }
            Err(_) => ExitCode::Failure,
        },
        HistoryAnswer::Found(history) => {
            print(&text(&history));
            ExitCode::Ok
        }
        HistoryAnswer::Not(reply) => apps::tell(&app, &reply),
    })
}

fn text(history: &HistoryStatus) -> String {
    let mut out = format!("{}\n", history.app);
    for attempt in &history.attempts {
        put(&mut out, attempt, history);
    }
    out
}

fn put(out: &mut String, attempt: &AttemptStatus, history: &HistoryStatus) {
    let at = UNIX_EPOCH + Duration::from_secs_f64(attempt.at.max(0.0));
    let digest = attempt.digest.as_deref().unwrap_or("-");
    let kept = attempt.digest.as_ref();
    let place = match kept {
        Some(digest) if history.serving.as_ref() == Some(digest) => "  serves",
        Some(digest) if history.kept.contains(digest) => "  kept",
        _ => "",
    };
    let total = attempt.staged_ms + attempt.loaded_ms + attempt.setup_ms + attempt.probed_ms;
    let _ = writeln!(
        out,
        "  {}  generation {:<4} {digest:.12}  {:<12} {total:.1} ms (copy {:.1}, open {:.1}, setup \
         {:.1}, probe {:.1}){place}",
        humantime::format_rfc3339_seconds(at),
        attempt.generation,
        attempt.cause,
        attempt.staged_ms,
        attempt.loaded_ms,
        attempt.setup_ms,
        attempt.probed_ms,
    );
    let _ = match &attempt.outcome {
        Outcome::Served => Ok(()),
        Outcome::Refused { reason } => writeln!(out, "    refused: {reason}"),
        Outcome::RolledBack { reason } => writeln!(out, "    rolled back: {reason}"),
    };
}
