//! What an app tracks besides its library: files, directories, and what globs match.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use globset::{GlobBuilder, GlobMatcher};

use super::entry::Look;

/// So many files and directories may be tracked for one thing.
const MOST: usize = 10_000;
/// Directories below a glob's or a tracked one are gone into so deep.
const DEEPEST: usize = 32;

/// How an artifact, and what belongs to it, is watched.
#[derive(Clone, Debug, Default)]
pub struct Arrangement {
    /// A set of changes has ended when nothing happened to any of the files for so long. Only for
    /// artifacts that track something.
    pub settle: Duration,
    /// The files are looked at so often, too, whether there are events or not; zero: never.
    pub poll: Duration,
    /// What belongs to it.
    pub tracked: Vec<Tracked>,
}

/// Something whose changes are an artifact's.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// The file or directory; of a glob, the directory that all it can match is below.
    pub(super) base: PathBuf,
    matcher: Option<GlobMatcher>,
    /// What there was when it was asked for.
    pub(super) seen: BTreeMap<PathBuf, Look>,
    problem: Option<String>,
}

impl Tracked {
    /// A file, or all files below a directory, as they are at this moment: changes from now on
    /// count, though it be watched only later. Names that begin with a dot or end with `~`, and
    /// vim's `4913`, are editors' temporary files and left out, unless the file itself is named.
    #[must_use]
    pub fn file_or_directory(path: &Path) -> Self {
        Self::new(path.to_owned(), None)
    }

    /// All files that match an absolute glob now or later.
    ///
    /// # Errors
    /// When it is no glob.
    pub fn glob(pattern: &str) -> Result<Self, globset::Error> {
        let matcher = GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()?
            .compile_matcher();
        let literal = Path::new(pattern)
            .components()
            .take_while(|part| {
                let text = part.as_os_str().to_string_lossy();
                !text.contains(['*', '?', '[', ']', '{', '}', '\\', '!'])
            })
            .collect::<PathBuf>();
        // A pattern without anything special in it is a file.
        let matcher = (literal != Path::new(pattern)).then_some(matcher);
        Ok(Self::new(literal, matcher))
    }

    /// The same, as it is at this moment.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::new(self.base.clone(), self.matcher.clone())
    }

    /// Whether it is the same files, whenever it was looked at.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let pattern = |it: &Self| it.matcher.as_ref().map(|it| it.glob().glob().to_owned());
        self.base == other.base && pattern(self) == pattern(other)
    }

    fn new(base: PathBuf, matcher: Option<GlobMatcher>) -> Self {
        let mut tracked = Self {
            base,
            matcher,
            seen: BTreeMap::new(),
            problem: None,
        };
        let listed = tracked.list();
        tracked.problem = listed.problem.or_else(|| tracked.unreadable(&listed.files));
        tracked.seen = listed
            .files
            .into_iter()
            .map(|path| {
                let look = Look::at(&path);
                (path, look)
            })
            .collect();
        tracked
    }

    /// What is wrong with it, if something is; it is watched all the same.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The file or directory; of a glob, the directory that all it can match is below.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Whether a file belongs to it.
    pub(super) fn has(&self, path: &Path) -> bool {
        if path == self.base {
            return self.matcher.is_none();
        }
        let Ok(below) = path.strip_prefix(&self.base) else {
            return false;
        };
        let temporary = |part: &std::ffi::OsStr| {
            let name = part.as_encoded_bytes();
            name.starts_with(b".") || name.ends_with(b"~") || name == b"4913"
        };
        !below.iter().any(temporary)
            && self
                .matcher
                .as_ref()
                .is_none_or(|matcher| matcher.is_match(path))
    }

    /// The files and directories of it that there are now.
    pub(super) fn list(&self) -> Listed {
        let mut listed = Listed::default();
        match fs::metadata(&self.base) {
            Ok(found) if found.is_dir() => {
                self.go_into(&self.base, 0, &mut listed);
            }
            // A single file is watched whether it is there or not.
            _ if self.matcher.is_none() => listed.files.push(self.base.clone()),
            _ => {}
        }
        listed
    }

    fn go_into(&self, dir: &Path, depth: usize, listed: &mut Listed) {
        listed.directories.push(dir.to_owned());
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                listed.problem = Some(format!("cannot list {}: {error}", dir.display()));
                return;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if listed.files.len() + listed.directories.len() >= MOST {
                listed.problem = Some(format!(
                    "there are more than {MOST} files below {}; the rest is not watched",
                    self.base.display()
                ));
                return;
            }
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            match fs::metadata(&path) {
                // A link may lead back to where it came from: not for ever.
                Ok(found) if found.is_dir() && !hidden && depth < DEEPEST => {
                    self.go_into(&path, depth + 1, listed);
                }
                Ok(_) if self.has(&path) => listed.files.push(path),
                _ => {}
            }
        }
    }

    fn unreadable(&self, files: &[PathBuf]) -> Option<String> {
        let base = self.base.display();
        if !self.base.exists() {
            return Some(format!(
                "{base} is not there; it is watched, and counts when it comes"
            ));
        }
        // Opening what is no file may wait for ever (a FIFO), or do something (a device).
        let is_file = |path: &&PathBuf| fs::metadata(path).is_ok_and(|found| found.is_file());
        let first = files.iter().filter(is_file).find_map(|path| {
            let error = fs::File::open(path).err()?;
            Some(format!("cannot read {}: {error}", path.display()))
        });
        first.map(|reason| format!("{reason}; its changes count all the same"))
    }
}

/// What there is of something that is tracked.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) files: Vec<PathBuf>,
    pub(super) directories: Vec<PathBuf>,
    problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [fifo.as_path(), dir.path()] {
            let (path, (tell, told)) = (path.to_owned(), std::sync::mpsc::channel());
            std::thread::spawn(move || drop(tell.send(Tracked::file_or_directory(&path))));
            let tracked = told.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(tracked.problem(), None);
        }
    }

    #[test]
    fn globs_begin_in_the_directory_that_all_they_match_is_below() {
        let check = |pattern: &str, base: &str, path: &str, expected| {
            let tracked = Tracked::glob(pattern).unwrap();
            assert_eq!(tracked.base(), Path::new(base), "{pattern}");
            assert_eq!(tracked.has(Path::new(path)), expected, "{pattern} {path}");
        };
        check("/srv/t/**/*.html", "/srv/t", "/srv/t/a/b.html", true);
        check("/srv/t/**/*.html", "/srv/t", "/srv/t/b.html", true);
        check("/srv/t/*.html", "/srv/t", "/srv/t/a/b.html", false);
        check("/srv/t/**", "/srv/t", "/srv/t/.b.swp", false);
        check("/srv/t/**", "/srv/t", "/srv/t/b.html~", false);
        check("/srv/t/**", "/srv/t", "/srv/t/.git/x", false);
        check(
            "/srv/settings.toml",
            "/srv/settings.toml",
            "/srv/settings.toml",
            true,
        );
        check("/srv/{a,b}.toml", "/srv", "/srv/b.toml", true);
        assert!(Tracked::glob("/srv/[").is_err());
    }
}
