//! `replug reload`

use std::time::Duration;

use http::{Method, Uri};

use super::{
    client::Target,
    output::{print, print_error},
};
use crate::{exit_code::ExitCode, reload::Reply};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The app's name, or its artifact's absolute path.
    app: String,
    /// Load it however many old generations of it stay loaded.
    #[arg(long)]
    force: bool,
    /// How long to wait for what it comes to.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: Args) -> ExitCode {
    let Args {
        app,
        force,
        timeout,
        target,
    } = args;
    let query = [
        ("app", app.as_str()),
        ("force", if force { "true" } else { "false" }),
    ];
    let query: Vec<String> = query
        .iter()
        .map(|(key, value)| format!("{key}={}", percent_encoded(value)))
        .collect();
    let Ok(uri) = format!("/reload?{}", query.join("&")).parse::<Uri>() else {
        print_error(
            &format!("`{app}` cannot be an app's name"),
            "see `replug status`",
        );
        return ExitCode::Usage;
    };
    target.ask(Method::POST, &uri, timeout, |reply: Reply| match reply {
        Reply::Serving { app, generation } => {
            print(&format!("{app} generation {generation} serves\n"));
            ExitCode::Ok
        }
        Reply::Refused { reason, remedy } => {
            print_error(&format!("{app} was not reloaded: {reason}"), &remedy);
            ExitCode::Refused
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
    })
}

/// All that is not plain text in a URL.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_odd_names_are_encoded() {
        assert_eq!(percent_encoded("/srv/lib a&b.so"), "/srv/lib%20a%26b.so");
        assert_eq!(percent_encoded("hello-1.0_x~"), "hello-1.0_x~");
    }
}
