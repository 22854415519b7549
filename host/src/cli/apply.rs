//! `replug apply`

use std::{fmt::Write as _, time::Duration};

use http::Method;

use super::{
    client::{Target, uri},
    output::{print, print_error},
};
use crate::{
    admin::ApplyQuery,
    exit_code::ExitCode,
    reload::{Applied, Change},
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what would change. Nothing is loaded.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// How long to wait for what it comes to.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: Args) -> ExitCode {
    let Args {
        dry_run,
        json,
        timeout,
        target,
    } = args;
    let uri = uri("/apply", &ApplyQuery { dry_run });
    target.ask(Method::POST, &uri, timeout, |applied: Applied| {
        if json {
            let text = serde_json::to_string_pretty(&applied).unwrap_or_default();
            print(&format!("{text}\n"));
        } else {
            tell(&applied);
        }
        match applied {
            Applied::Refused { .. } => ExitCode::Refused,
            Applied::Applied { .. } | Applied::Planned { .. } | Applied::Unchanged => ExitCode::Ok,
        }
    })
}

fn tell(applied: &Applied) {
    match applied {
        Applied::Unchanged => print("nothing has changed\n"),
        Applied::Applied { changes } => print(&list("applied", changes)),
        Applied::Planned { changes } => print(&list("would be applied", changes)),
        Applied::Refused {
            app,
            reason,
            remedy,
        } => {
            let who = app
                .as_ref()
                .map_or_else(String::new, |app| format!("{app}: "));
            let error = format!("refused, and nothing has changed: {who}{reason}");
            print_error(&error, remedy);
        }
    }
}

fn list(what: &str, changes: &[Change]) -> String {
    let mut text = format!("{what}:\n");
    for change in changes {
        let _ = writeln!(text, "  {change}");
    }
    text
}
