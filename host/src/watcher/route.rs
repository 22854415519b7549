//! Which way the system goes from a path to a file.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

/// As many links as Linux follows before it gives up.
const MOST_LINKS: usize = 40;

/// The way from `/` to where a path leads, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    /// Every name that was looked up, by the real path of the directory it was looked up in:
    /// directories, links and the file itself. Changing any of them may change where it leads.
    pub(super) steps: Vec<PathBuf>,
    /// The real path of what it leads to; `None` when a directory or a link's target on the way
    /// is missing. The last name itself may be missing.
    pub(super) end: Option<PathBuf>,
}

impl Route {
    /// Goes the way.
    pub(super) fn follow(path: &Path) -> Self {
        let mut route = Self::default();
        let mut dir = PathBuf::from("/");
        let mut rest = parts(path);
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            let Part::Name(name) = part else {
                match part {
                    Part::Root => dir = PathBuf::from("/"),
                    _ => drop(dir.pop()),
                }
                continue;
            };
            let at = dir.join(name);
            route.steps.push(at.clone());
            let found = fs::symlink_metadata(&at);
            match found.map(|found| found.file_type()) {
                Ok(kind) if kind.is_symlink() => {
                    links += 1;
                    let Ok(target) = fs::read_link(&at) else {
                        return route;
                    };
                    if links > MOST_LINKS {
                        return route;
                    }
                    let mut way = parts(&target);
                    way.append(&mut rest);
                    rest = way;
                }
                Ok(kind) if kind.is_dir() => dir = at,
                _ => {
                    route.end = rest.is_empty().then_some(at);
                    return route;
                }
            }
        }
        route.end = Some(dir);
        route
    }

    /// Whether that is the real path of what it leads to.
    pub(super) fn ends_at(&self, at: &Path) -> bool {
        self.end.as_deref().is_some_and(|end| same(end, at))
    }

    /// Whether that is one of its steps.
    pub(super) fn passes(&self, at: &Path) -> bool {
        self.steps.iter().any(|step| same(step, at))
    }

    /// The directories whose events tell of every change of the route, the nearest to the end
    /// first.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.steps.iter().rev().filter_map(|step| step.parent())
    }
}

/// Of real paths, which are written in one way only. Paths compare their parts, one by one: too slow
/// for each event of 10,000 files that are tracked.
fn same(one: &Path, other: &Path) -> bool {
    one.as_os_str() == other.as_os_str()
}

#[derive(Debug)]
enum Part {
    Root,
    Up,
    Name(OsString),
}

fn parts(path: &Path) -> VecDeque<Part> {
    path.components()
        .filter_map(|part| match part {
            Component::RootDir => Some(Part::Root),
            Component::ParentDir => Some(Part::Up),
            Component::Normal(name) => Some(Part::Name(name.to_owned())),
            Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_a_step() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/2")).unwrap();
        fs::write(root.join("releases/2/real.so"), "x").unwrap();
        symlink("releases/2", root.join("current")).unwrap();
        symlink("../2/real.so", root.join("releases/2/lib.so")).unwrap();
        let route = Route::follow(&root.join("current/lib.so"));
        let names = [
            "current",
            "releases",
            "releases/2",
            "releases/2/lib.so",
            "releases/2",
        ];
        let steps: Vec<_> = names.iter().map(|name| root.join(name)).collect();
        let tail = &route.steps[route.steps.len() - 6..];
        assert_eq!(tail[..5], steps);
        assert_eq!(route.end, Some(root.join("releases/2/real.so")));
        assert_eq!(
            route.directories().next(),
            Some(root.join("releases/2").as_path())
        );
    }

    #[test]
    fn a_missing_directory_ends_the_way_and_a_missing_file_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let missing_file = Route::follow(&root.join("lib.so"));
        assert_eq!(missing_file.end, Some(root.join("lib.so")));
        let missing_dir = Route::follow(&root.join("dir/lib.so"));
        assert_eq!(missing_dir.end, None);
        assert_eq!(missing_dir.steps.last(), Some(&root.join("dir")));
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert_eq!(Route::follow(&dir.path().join("a")).end, None);
    }
}
