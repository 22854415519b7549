//! What a host is to serve, and to watch.

use std::{collections::HashSet, path::Path};

use super::start::cannot_start;
use crate::{
    config::{Config, nearest},
    exit_code::ExitCode,
    id::ArtifactPath,
    reload::{Reloader, Status, Wanted},
};

/// What the sources come to, watched from now on.
pub(super) fn wanted(config: &Config, reloader: &mut Reloader) -> Result<Vec<Wanted>, ExitCode> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for source in &config.sources {
        let directory = source
            .is_directory()
            .map_err(|error| cannot_start(&error, error.remedy()))?;
        if directory {
            let found = reloader
                .watch_directory(&source.path)
                .map_err(|error| cannot_start(&error, error.remedy()))?;
            if found.is_empty() {
                no_plugins(&source.path);
            }
            wanted.extend(found.into_iter().map(|path| Wanted {
                path,
                mount: None,
                name: None,
                alone: false,
                handed: None,
            }));
            continue;
        }
        let path = ArtifactPath::new(&source.path)
            .map_err(|error| cannot_start(&error, "name a file by its path"))?;
        reloader
            .watch_artifact(&path)
            .map_err(|error| cannot_start(&error, error.remedy()))?;
        wanted.push(Wanted {
            path,
            mount: source.mount.clone(),
            name: source.name.clone(),
            alone: config.is_alone(source),
            handed: None,
        });
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
