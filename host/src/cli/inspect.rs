//! `replug inspect`

use std::path::PathBuf;

use super::output::{print, print_error};
use crate::{artifact::inspect_file, exit_code::ExitCode};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The file.
    file: PathBuf,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let report = match inspect_file(&args.file) {
        Ok(report) => report,
        Err(error) => {
            print_error(&error, error.remedy());
            return ExitCode::Refused;
        }
    };
    if args.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => {
                print_error(&error, "print it without --json");
                return ExitCode::Failure;
            }
        }
    } else {
        print(&report.to_string());
    }
    if report.accepted() {
        ExitCode::Ok
    } else {
        ExitCode::Refused
    }
}
