//! What a plugin is built from: what cargo says, in the file beside the artifact.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::cargo::Project;

/// All files that a build depends on. Without an artifact (nothing has been built yet), those
/// below the package's `src`.
pub(super) fn of(project: &Project, artifact: Option<&Path>) -> BTreeSet<PathBuf> {
    let mut files: BTreeSet<PathBuf> = project.manifests.iter().cloned().collect();
    // A failed build may have added files that no dep-info knows yet.
    for manifest in &project.manifests {
        if let Some(dir) = manifest.parent() {
            walk(&dir.join("src"), &mut files);
        }
    }
    if let Some(text) = artifact.and_then(|path| fs::read_to_string(path.with_extension("d")).ok())
    {
        files.extend(parse(&text).into_iter().map(|path| project.dir.join(path)));
    }
    files
}

fn walk(dir: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // Links are not followed: a loop of them would have no end.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, files),
            Ok(_) => drop(files.insert(path)),
            Err(_) => {}
        }
    }
}

/// The right-hand sides of a make-style dependency file: `target: a b\ c`.
fn parse(text: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for line in text.lines() {
        let Some((_, dependencies)) = line.split_once(": ") else {
            continue;
        };
        let mut path = String::new();
        let mut chars = dependencies.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' if chars.peek() == Some(&' ') => path.extend(chars.next()),
                ' ' => paths.push(std::mem::take(&mut path)),
                c => path.push(c),
            }
        }
        paths.push(path);
    }
    paths
        .into_iter()
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_with_spaces_in_their_names() {
        let text = "/t/libx.so: /p/src/lib.rs /p/my\\ page.html build.rs\n\n# env-dep:X=1\n";
        let expected = ["/p/src/lib.rs", "/p/my page.html", "build.rs"].map(PathBuf::from);
        assert_eq!(parse(text), expected);
    }
}
