//! `replug validate`

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use super::{
    output::{LogArgs, print, print_error},
    serve::{Options, parse_source},
};
use crate::{
    artifact::{InspectPolicy, Verdict, inspect_file_by},
    config::{AppOptions, Config, Mount, Source},
    exit_code::ExitCode,
    id::AppName,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Libraries, or directories of them, besides those that the configuration file names.
    #[arg(value_name = "PATH[=MOUNT]", value_parser = parse_source)]
    sources: Vec<Source>,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    log: LogArgs,
}

/// What was found out.
#[derive(Debug, Default)]
struct Findings {
    text: String,
    refused: usize,
    /// Who is to be mounted where.
    mounts: BTreeMap<String, String>,
    names: Vec<AppName>,
}

pub(super) fn run(args: Args) -> ExitCode {
    args.log.install();
    let file = match args.options.file.read() {
        Ok(file) => file,
        Err(error) => {
            print_error(&error, error.remedy());
            return ExitCode::CannotStart;
        }
    };
    let mut findings = Findings::default();
    if let Some(file) = &file {
        let _ = writeln!(findings.text, "{}: well-formed", file.path.display());
    }
    let config = args
        .options
        .into_config(file, args.sources, AppOptions::default());
    if config.sources.is_empty() {
        print(&findings.text);
        print_error(
            &"there is nothing to serve",
            "name a library or a directory of them, or write a replug.toml (docs/configuration.md)",
        );
        return ExitCode::CannotStart;
    }
    let alone = config.sources.len() == 1;
    for source in &config.sources {
        findings.source(source, &config, alone);
    }
    findings.strangers(&config);
    print(&findings.text);
    if findings.refused > 0 {
        ExitCode::Refused
    } else {
        ExitCode::Ok
    }
}

impl Findings {
    fn source(&mut self, source: &Source, config: &Config, alone: bool) {
        if !source.path.is_dir() {
            let mount = source.mount.clone().or_else(|| alone.then(Mount::root));
            return self.artifact(&source.path, mount, source.name.as_ref(), config);
        }
        let entries = fs::read_dir(&source.path).into_iter().flatten().flatten();
        let mut libraries: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| crate::watcher::is_library(path))
            .collect();
        libraries.sort();
        if libraries.is_empty() {
            let _ = writeln!(self.text, "{}: no plugins in it", source.path.display());
        }
        for library in libraries {
            self.artifact(&library, None, None, config);
        }
    }

    fn artifact(
        &mut self,
        path: &Path,
        mount: Option<Mount>,
        name: Option<&AppName>,
        config: &Config,
    ) {
        let shown = path.display();
        let options = name.map_or(&config.defaults, |name| config.options_of(name));
        let policy = InspectPolicy {
            allow_panic_abort: options.allow_panic_abort,
        };
        let report = match inspect_file_by(path, policy) {
            Ok(report) => report,
            Err(error) => return self.refuse(path, &error.to_string(), error.remedy()),
        };
        if let Verdict::Refused { reason, remedy } = &report.verdict {
            return self.refuse(path, reason, remedy);
        }
        let manifest = report.manifest.as_ref();
        let own = || AppName::try_from(manifest.map_or("", |it| it.name.as_str()));
        let name = match name.cloned().map_or_else(own, Ok) {
            Ok(name) => name,
            Err(error) => return self.refuse(path, &error.to_string(), "give it another name"),
        };
        let mount = mount.unwrap_or_else(|| Mount::of(&name));
        if let Some(other) = self.mounts.get(mount.as_str()) {
            let reason = format!("mount `{mount}` is {other}'s");
            return self.refuse(
                path,
                &reason,
                "give one of the two another mount, or another name",
            );
        }
        self.mounts.insert(mount.to_string(), shown.to_string());
        let digest = report.digest.short();
        let _ = writeln!(
            self.text,
            "{shown}: accepted as {name} at {mount}, digest {digest}"
        );
        for warning in &report.warnings {
            let _ = writeln!(self.text, "  warning: {warning}");
        }
        self.names.push(name);
    }

    fn refuse(&mut self, path: &Path, reason: &str, remedy: &str) {
        self.refused += 1;
        let path = path.display();
        let _ = writeln!(self.text, "{path}: refused: {reason}\n  remedy: {remedy}");
    }

    /// Apps that something is said of, and that are not there.
    fn strangers(&mut self, config: &Config) {
        for name in config.apps.keys().filter(|name| !self.names.contains(name)) {
            let _ = writeln!(
                self.text,
                "warning: something is said of app `{name}`, and no artifact is that app now",
            );
        }
    }
}
