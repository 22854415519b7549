//! The libraries that an artifact is linked to and that are not the system's: where they are, and
//! how a private copy of one gets a name of its own.
//!
//! The dynamic linker knows a library that is loaded by its soname, and hands out the old one for
//! a new file of the same. So a private copy is given another soname, of the same length, and
//! whoever is linked to it is made to ask for that. A string of the table is changed in its place;
//! one that is part of another is left alone.

use std::{
    collections::BTreeSet,
    env,
    fs::File,
    path::{Path, PathBuf},
};

use object::{
    NativeEndian, ReadCache, ReadRef,
    elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, FileHeader64},
    read::elf::{Dyn as _, FileHeader as _, SectionHeader as _},
};

/// Directories of the system's libraries, and of all below them.
const SYSTEM: [&str; 5] = ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib64"];
/// Libraries are linked to others so deep at the most.
const DEEPEST: usize = 16;

/// A library that another is linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The name that it is linked by.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// A file's dynamic section, as far as it concerns other libraries.
#[derive(Debug, Default)]
pub struct Links {
    soname: Option<Text>,
    needed: Vec<Text>,
    run_path: String,
}

#[derive(Debug)]
struct Text {
    text: String,
    /// Its place in the file; `None`: it is part of another.
    place: Option<usize>,
}

impl Links {
    /// Reads a library's tables from its bytes; `None`: it is none, or has no dynamic section.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::read_from(bytes)
    }

    /// The same from a file, of which only the tables are read.
    #[must_use]
    pub fn of_file(path: &Path) -> Option<Self> {
        Self::read_from(&ReadCache::new(File::open(path).ok()?))
    }

    fn read_from<'data>(bytes: impl ReadRef<'data>) -> Option<Self> {
        let header = FileHeader64::<NativeEndian>::parse(bytes).ok()?;
        let sections = header.sections(NativeEndian, bytes).ok()?;
        let (entries, strings) = sections.dynamic(NativeEndian, bytes).ok()??;
        let strings = sections.section(strings).ok()?;
        let table = strings.data(NativeEndian, bytes).ok()?;
        let start = usize::try_from(strings.sh_offset(NativeEndian)).ok()?;
        let mut links = Self::default();
        for entry in entries {
            let text = || {
                let at = usize::try_from(entry.d_val(NativeEndian)).ok()?;
                let rest = table.get(at..)?;
                let end = rest.iter().position(|byte| *byte == 0)?;
                let alone = at.checked_sub(1).is_some_and(|before| table[before] == 0);
                Some(Text {
                    text: std::str::from_utf8(&rest[..end]).ok()?.to_owned(),
                    place: alone.then_some(start + at),
                })
            };
            match entry.d_tag(NativeEndian) {
                DT_NEEDED => links.needed.extend(text()),
                DT_SONAME => links.soname = text(),
                DT_RUNPATH => links.run_path = text()?.text,
                DT_RPATH if links.run_path.is_empty() => links.run_path = text()?.text,
                _ => {}
            }
        }
        Some(links)
    }

    /// The libraries that it is linked to and that are not the system's, as far as they are found
    /// where the dynamic linker would look first: in the file's own search path, `$ORIGIN` being
    /// the directory of `file`, and in `LD_LIBRARY_PATH`.
    #[must_use]
    pub fn linked(&self, file: &Path) -> Vec<Linked> {
        let origin = file.parent().unwrap_or(Path::new("/"));
        let text = origin.to_string_lossy();
        let own = self
            .run_path
            .replace("${ORIGIN}", &text)
            .replace("$ORIGIN", &text);
        let environment = env::var("LD_LIBRARY_PATH").unwrap_or_default();
        let dirs: Vec<&str> = own
            .split(':')
            .chain(environment.split([':', ';']))
            .filter(|dir| !dir.is_empty())
            .collect();
        let find = |needed: &Text| {
            let name = needed.text.clone();
            let path = if name.contains('/') {
                Some(origin.join(&name))
            } else {
                let mut places = dirs.iter().map(|dir| Path::new(dir).join(&name));
                places.find(|path| path.is_file())
            };
            let path = path.filter(|path| !is_systems(path))?;
            Some(Linked { name, path })
        };
        self.needed.iter().filter_map(find).collect()
    }

    /// The name that others ask for it by.
    #[must_use]
    pub fn soname(&self) -> Option<&str> {
        self.soname.as_ref().map(|soname| soname.text.as_str())
    }

    /// Gives the library of those bytes another soname, of the same length. Whether it could be.
    pub fn rename(&self, bytes: &mut [u8], to: &str) -> bool {
        self.soname
            .as_ref()
            .is_some_and(|soname| soname.replace(bytes, to))
    }

    /// Makes the library of those bytes ask for another one. Whether it could be.
    pub fn relink(&self, bytes: &mut [u8], from: &str, to: &str) -> bool {
        let mut all = self.needed.iter().filter(|needed| needed.text == from);
        all.all(|needed| needed.replace(bytes, to))
    }

    /// Whether [`rename`](Self::rename) and [`relink`](Self::relink) would do for that name.
    #[must_use]
    pub fn can_relink(&self, name: &str) -> bool {
        let mut all = self.needed.iter().filter(|needed| needed.text == name);
        all.all(|needed| needed.place.is_some())
    }
}

impl Text {
    fn replace(&self, bytes: &mut [u8], to: &str) -> bool {
        let Some(place) = self.place.filter(|_| to.len() == self.text.len()) else {
            return false;
        };
        bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
        true
    }
}

/// All libraries that the one at `file` is linked to, directly or not, and that are not the
/// system's. Its bytes are at `copy`.
#[must_use]
pub fn all_linked(copy: &Path, file: &Path) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    collect(copy, file, 0, &mut found);
    found.into_iter().collect()
}

fn collect(copy: &Path, file: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    let Some(links) = Links::of_file(copy) else {
        return;
    };
    for linked in links.linked(file) {
        if found.insert(linked.path.clone()) && depth < DEEPEST {
            collect(&linked.path, &linked.path, depth + 1, found);
        }
    }
}

fn is_systems(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    SYSTEM.iter().any(|dir| real.starts_with(dir))
}
