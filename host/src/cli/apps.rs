//! `replug reload`, `rollback`, `pin` and `unpin`.

use std::time::Duration;

use http::Method;

use super::{
    client::{Target, uri},
    output::{print, print_error},
};
use crate::{
    admin::{AppQuery, ReloadQuery},
    exit_code::ExitCode,
    reload::Reply,
};

/// What all of them have.
#[derive(Clone, Debug, clap::Args)]
struct Common {
    /// How long to wait for what it comes to.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Reload {
    /// The app's name, or its artifact's absolute path.
    app: String,
    /// Load it however many old generations of it stay loaded.
    #[arg(long)]
    force: bool,
    /// Do not wait until the new generation has been watched: say that it serves as soon as it
    /// does.
    #[arg(long)]
    no_guard: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct WithDigest {
    /// The app's name, or its artifact's absolute path.
    app: String,
    /// The beginning of the artifact's digest, as `replug history` shows it.
    digest: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Unpin {
    /// The app's name, or its artifact's absolute path.
    app: String,
    #[command(flatten)]
    common: Common,
}

pub(super) fn reload(args: Reload) -> ExitCode {
    let query = ReloadQuery {
        app: args.app.clone(),
        force: args.force,
        guard: !args.no_guard,
    };
    args.common.ask("/reload", &query, &args.app)
}

pub(super) fn rollback(args: WithDigest) -> ExitCode {
    args.ask("/rollback")
}

pub(super) fn pin(args: WithDigest) -> ExitCode {
    args.ask("/pin")
}

pub(super) fn unpin(args: Unpin) -> ExitCode {
    let query = AppQuery {
        app: args.app.clone(),
        digest: None,
    };
    args.common.ask("/unpin", &query, &args.app)
}

impl WithDigest {
    fn ask(self, path: &str) -> ExitCode {
        let query = AppQuery {
            app: self.app.clone(),
            digest: self.digest,
        };
        self.common.ask(path, &query, &self.app)
    }
}

impl Common {
    fn ask(self, path: &str, query: &impl serde::Serialize, app: &str) -> ExitCode {
        let Self { timeout, target } = self;
        let uri = uri(path, query);
        target.ask(Method::POST, &uri, timeout, |reply: Reply| {
            tell(app, &reply)
        })
    }
}

/// Prints what came of it.
pub(super) fn tell(app: &str, reply: &Reply) -> ExitCode {
    match reply {
        Reply::Serving { app, generation } => {
            print(&format!("{app} generation {generation} serves\n"));
            ExitCode::Ok
        }
        Reply::Waiting { app } => {
            print(&format!("{app} is loaded by its first request\n"));
            ExitCode::Ok
        }
        Reply::Pinned { app, digest } => {
            print(&format!("{app} is pinned to {digest:.12}\n"));
            ExitCode::Ok
        }
        Reply::Unpinned { app, changed } => {
            let then = if *changed {
                "; its file has changed meanwhile"
            } else {
                ""
            };
            print(&format!("{app} follows its file{then}\n"));
            ExitCode::Ok
        }
        Reply::Refused { reason, remedy } => {
            print_error(&format!("{app}: {reason}"), remedy);
            ExitCode::Refused
        }
        Reply::RolledBack {
            app,
            generation,
            reason,
        } => {
            print_error(
                &format!("{app} was rolled back, generation {generation} serves: {reason}"),
                "mend it, and deploy it again; `replug history` and the host's log say more",
            );
            ExitCode::RolledBack
        }
        Reply::Unknown { known } => {
            let known = match known.len() {
                0 => "the host serves none".to_owned(),
                _ => format!("there are: {}", known.join(", ")),
            };
            print_error(&format!("there is no app `{app}`"), &known);
            ExitCode::Refused
        }
        Reply::Ending => {
            print_error(&"the host is about to end", "start it again");
            ExitCode::NoHost
        }
    }
}
