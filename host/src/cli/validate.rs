//! `replug validate`

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::Path,
};

use super::{
    output::{LogArgs, print, print_error},
    serve::{self, Options, parse_source},
};
use crate::{
    artifact::{InspectPolicy, Verdict, inspect_file_by},
    config::{AppOptions, Config, Mount, Source, SourceKind, nearest},
    exit_code::ExitCode,
    id::{AppName, ArtifactPath},
    supervisor,
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
    /// Artifacts that would not be served.
    refused: usize,
    /// Sources that a host would not start with.
    misplaced: usize,
    seen: HashSet<ArtifactPath>,
    /// Who is to be mounted where.
    mounts: BTreeMap<Mount, ArtifactPath>,
    names: BTreeSet<AppName>,
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
        findings.line(&format!("{}: well-formed", file.path.display()));
    }
    let given = args.options.into_overrides(args.sources);
    let config = match Config::resolve(given, file, AppOptions::default()) {
        Ok(config) => config,
        Err(error) => {
            print(&findings.text);
            print_error(&error, error.remedy());
            return ExitCode::CannotStart;
        }
    };
    if config.sources.is_empty() {
        print(&findings.text);
        print_error(&serve::NOTHING, serve::NOTHING_REMEDY);
        return ExitCode::CannotStart;
    }
    for source in &config.sources {
        findings.source(source, &config);
    }
    findings.strangers(&config);
    findings.groups(&config);
    print(&findings.text);
    match findings {
        Findings { misplaced: 1.., .. } => ExitCode::CannotStart,
        Findings { refused: 1.., .. } => ExitCode::Refused,
        _ => ExitCode::Ok,
    }
}

impl Findings {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn source(&mut self, source: &Source, config: &Config) {
        self.names.extend(source.name.clone());
        match source.is_directory() {
            Ok(true) => self.directory(&source.path, config),
            Ok(false) => self.artifact(&source.path, source, config),
            Err(error) => {
                self.misplaced += 1;
                self.line(&format!("{error}\n  remedy: {}", error.remedy()));
            }
        }
    }

    fn directory(&mut self, dir: &Path, config: &Config) {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // Whatever is missing is waited for.
            Err(reason) => return self.line(&format!("{}: no plugins: {reason}", dir.display())),
        };
        let mut libraries: Vec<_> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| crate::watcher::is_library(path) && path.exists())
            .collect();
        libraries.sort();
        if libraries.is_empty() {
            self.line(&format!("{}: no plugins in it", dir.display()));
        }
        let of_directory = Source {
            path: dir.to_owned(),
            mount: None,
            name: None,
            kind: SourceKind::Directory,
        };
        for library in libraries {
            self.artifact(&library, &of_directory, config);
        }
    }

    fn artifact(&mut self, path: &Path, source: &Source, config: &Config) {
        let path = match ArtifactPath::new(path) {
            Ok(path) => path,
            Err(error) => return self.refuse(path, &error.to_string(), "name a file by its path"),
        };
        if !self.seen.insert(path.clone()) {
            return;
        }
        if let Err((reason, remedy)) = self.judge(&path, source, config) {
            self.refuse(path.as_path(), &reason, &remedy);
        }
    }

    /// As the host would, when it starts.
    fn judge(
        &mut self,
        path: &ArtifactPath,
        source: &Source,
        config: &Config,
    ) -> Result<(), (String, String)> {
        let named = source.name.as_ref();
        let policy = |own: &str| InspectPolicy::of(config, named, own);
        let report = inspect_file_by(path, policy)
            .map_err(|error| (error.to_string(), error.remedy().to_owned()))?;
        if let Verdict::Refused { reason, remedy } = &report.verdict {
            return Err((reason.clone(), remedy.clone()));
        }
        let manifest = report.manifest.as_ref();
        let own = || AppName::try_from(manifest.map_or("", |it| it.name.as_str()));
        let remedy = "name it in the file: [apps.NAME] with its `path`";
        let name = named
            .cloned()
            .map_or_else(own, Ok)
            .map_err(|error| (error.to_string(), remedy.to_owned()))?;
        let alone = source.kind != SourceKind::Directory && config.is_alone(source);
        let mount = config.mount_of(&name, source.mount.as_ref(), alone);
        self.names.insert(name.clone());
        if let Some(other) = self.mounts.get(&mount) {
            return Err((
                format!("mount `{mount}` of app `{name}` belongs to {other}"),
                "give one of the two a mount or a name of its own, under [apps.NAME] with its \
                 `path`"
                    .to_owned(),
            ));
        }
        let digest = report.digest.short();
        self.line(&format!(
            "{path}: accepted as {name} at {mount}, digest {digest}"
        ));
        for warning in &report.warnings {
            self.line(&format!("  warning: {warning}"));
        }
        self.mounts.insert(mount, path.clone());
        Ok(())
    }

    fn refuse(&mut self, path: &Path, reason: &str, remedy: &str) {
        self.refused += 1;
        let path = path.display();
        self.line(&format!("{path}: refused: {reason}\n  remedy: {remedy}"));
    }

    /// The process groups, and which of the apps that are there are in them.
    fn groups(&mut self, config: &Config) {
        for (name, options) in &config.groups {
            let is_in = |app: &&AppName| config.group_of(app).is_some_and(|(it, _)| it == name);
            let apps: Vec<_> = self.names.iter().filter(is_in).cloned().collect();
            let apps: Vec<_> = apps.iter().map(AppName::as_str).collect();
            let processes = counted(options.processes.get(), "process", "processes");
            let threads = counted(options.http_threads().get(), "HTTP thread", "HTTP threads");
            self.line(&format!(
                "group {name}: {processes} of {threads}, for {}",
                if apps.is_empty() {
                    "no app".to_owned()
                } else {
                    apps.join(", ")
                }
            ));
            if apps.is_empty() {
                let what = "no app is in it now";
                self.warn(
                    what,
                    &format!("set `group = \"{name}\"` for an app, or remove it"),
                );
            }
            match supervisor::limits(options) {
                Ok(Some(limits)) => self.line(&format!("  from here: {limits}")),
                Ok(None) => {}
                Err(error) => self.warn(
                    &format!("cgroup = \"{}\": {error}", options.cgroup),
                    error.remedy(),
                ),
            }
            if let Err(error) = options.permitted() {
                self.warn(&error.to_string(), error.remedy());
            }
            if let Some(home) = options.home.as_ref().filter(|home| !home.is_dir()) {
                let what = format!("`home` {} is no directory", home.display());
                self.warn(&what, "make it before the host starts");
            }
        }
    }

    fn warn(&mut self, what: &str, remedy: &str) {
        self.line(&format!("  warning: {what}\n  remedy: {remedy}"));
    }

    /// Apps that something is said of, and that are not there.
    fn strangers(&mut self, config: &Config) {
        let known = || self.names.iter().map(AppName::as_str);
        let strangers = config.strangers(|name| self.names.contains(name));
        let lines: Vec<String> = strangers
            .map(|name| {
                let meant = nearest(name.as_str(), known());
                let meant = meant.map_or_else(String::new, |it| format!("; did you mean `{it}`?"));
                format!("warning: options or settings for app `{name}`, and no artifact is that app now{meant}")
            })
            .collect();
        lines.iter().for_each(|line| self.line(line));
    }
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
