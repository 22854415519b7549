//! What a host is to serve, and to watch.

use std::{collections::HashSet, path::Path};

use super::start::cannot_start;
use crate::{
    config::{Config, nearest},
    exit_code::ExitCode,
    id::ArtifactPath,
    reload::{Reloader, Status, Target, Wanted},
};

/// What the sources come to.
///
/// # Errors
/// Says which is none, and what to do about it.
pub(super) fn targets(config: &Config) -> Result<Vec<Target>, (String, String)> {
    let mut targets = Vec::new();
    for source in &config.sources {
        let directory = source
            .is_directory()
            .map_err(|error| (error.to_string(), error.remedy().to_owned()))?;
        let path = ArtifactPath::new(&source.path)
            .map_err(|error| (error.to_string(), "name a file by its path".to_owned()))?;
        targets.push(if directory {
            Target::Folder(path)
        } else {
            Target::Library(Wanted {
                path,
                mount: source.mount.clone(),
                name: source.name.clone(),
                alone: config.is_alone(source),
                handed: None,
            })
        });
    }
    Ok(targets)
}

/// What there is of it, watched from now on.
pub(super) fn wanted(config: &Config, reloader: &mut Reloader) -> Result<Vec<Wanted>, ExitCode> {
    let targets = targets(config).map_err(|(error, remedy)| cannot_start(&error, &remedy))?;
    let named = targets.iter().filter_map(|target| match target {
        Target::Library(wanted) => Some(wanted.path.clone()),
        Target::Folder(_) => None,
    });
    let named: HashSet<_> = named.collect();
    let mut wanted: Vec<Wanted> = Vec::new();
    for target in targets {
        match target {
            Target::Folder(dir) => {
                let found = reloader
                    .watch_directory(&dir)
                    .map_err(|error| cannot_start(&error, error.remedy()))?;
                if found.is_empty() {
                    no_plugins(dir.as_path());
                }
                // What is said of one that is named wins, wherever that is.
                let others = found.into_iter().filter(|path| !named.contains(path));
                wanted.extend(others.map(|path| Wanted {
                    path,
                    mount: None,
                    name: None,
                    alone: false,
                    handed: None,
                }));
            }
            Target::Library(library) => {
                reloader
                    .watch_artifact(&library.path)
                    .map_err(|error| cannot_start(&error, error.remedy()))?;
                wanted.push(library);
            }
        }
    }
    let mut seen = HashSet::new();
    wanted.retain(|wanted| seen.insert(wanted.path.clone()));
    Ok(wanted)
}

/// Says of which apps something was said that are not there: their names may be slips.
pub(super) fn tell_strangers(config: &Config, status: &Status) {
    let known = || status.apps.iter().map(|app| app.name.as_str());
    for name in config.strangers(|name| known().any(|known| known == name.as_str())) {
        let name = name.as_str();
        let remedy = match nearest(name, known()) {
            Some(known) => format!("if `{known}` is meant, name that"),
            None => "name an app as its manifest does (`replug status` has all names), or give it \
                     a `path`"
                .to_owned(),
        };
        tracing::warn!(
            event = "no-such-app",
            app = name,
            remedy,
            "options or settings are given for app `{name}`, and there is none of that name yet",
        );
    }
}

fn no_plugins(path: &Path) {
    tracing::warn!(
        event = "no-plugins",
        path = %path.display(),
        reason = format!("no file in it ends in .{}", std::env::consts::DLL_EXTENSION),
        remedy = "build a plugin and copy its library there: it is served as soon as it is there",
        "no plugins in {}",
        path.display(),
    );
}
