//! `replug registry`

use std::{fmt::Write as _, time::Duration};

use http::{Method, Uri};

use super::{client::Target, output::print};
use crate::{exit_code::ExitCode, loader::Registered};

/// A host that does not answer in that time hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Only the entries of that kind.
    kind: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: Args) -> ExitCode {
    let Args { kind, json, target } = args;
    let uri = Uri::from_static("/registry");
    target.ask(Method::GET, &uri, TIMEOUT, |mut all: Vec<Registered>| {
        all.retain(|entry| kind.as_ref().is_none_or(|kind| entry.kind == *kind));
        if json {
            let Ok(text) = serde_json::to_string_pretty(&all) else {
                return ExitCode::Failure;
            };
            print(&format!("{text}\n"));
        } else {
            print(&text(&all));
        }
        ExitCode::Ok
    })
}

fn text(entries: &[Registered]) -> String {
    let mut out = String::new();
    for Registered {
        kind,
        key,
        value,
        owners,
    } in entries
    {
        let _ = writeln!(out, "{kind}  {key}  {value}  {}", owners.join(", "));
    }
    if out.is_empty() {
        out.push_str("nothing is registered\n");
    }
    out
}
