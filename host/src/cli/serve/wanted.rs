//! What a host is to serve, and to watch.

use std::{collections::HashSet, path::Path};

use super::start::cannot_start;
use crate::{
    config::{Mount, Source},
    exit_code::ExitCode,
    id::ArtifactPath,
    reload::{Reloader, Wanted},
};

/// What the sources come to, watched from now on.
pub(super) fn wanted(sources: &[Source], reloader: &mut Reloader) -> Result<Vec<Wanted>, ExitCode> {
    let alone = sources.len() == 1;
    let mut wanted: Vec<Wanted> = Vec::new();
    for Source { path, mount, name } in sources {
        if path.is_dir() {
            if let Some(mount) = mount {
                return Err(cannot_start(
                    &format!(
                        "{} is a directory, and cannot be mounted at {mount}",
                        path.display()
                    ),
                    "a directory's libraries are mounted at `/` and their names; name the library",
                ));
            }
            let found = reloader
                .watch_directory(path)
                .map_err(|error| cannot_start(&error, error.remedy()))?;
            if found.is_empty() {
                no_plugins(path);
            }
            wanted.extend(found.into_iter().map(|path| Wanted {
                path,
                mount: None,
                name: None,
            }));
            continue;
        }
        let path = ArtifactPath::new(path)
            .map_err(|error| cannot_start(&error, "name a file by its path"))?;
        reloader
            .watch_artifact(&path)
            .map_err(|error| cannot_start(&error, error.remedy()))?;
        let mount = mount.clone().or_else(|| alone.then(Mount::root));
        let name = name.clone();
        wanted.push(Wanted { path, mount, name });
    }
    let mut seen = HashSet::new();
    wanted.retain(|wanted| seen.insert(wanted.path.clone()));
    Ok(wanted)
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
