//! Libraries, good and broken, and the ways in which people put them in place.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::SystemTime,
};

const MARKER: &[u8] = b"REPLUG-VERSION:";
const DIGITS: usize = 10;

/// The bytes of a library.
#[derive(Clone, Debug)]
pub struct Artifact {
    bytes: Vec<u8>,
    /// Where the digits of the version marker are, once they have been looked for.
    digits: Option<usize>,
}

impl Artifact {
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            digits: None,
        }
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same library with another version in its marker.
    ///
    /// # Panics
    /// When it has no marker.
    #[must_use]
    pub fn with_version(&self, version: u64) -> Self {
        let mut new = self.clone();
        let at = self.digits.unwrap_or_else(|| {
            let digits = |at: &usize| self.bytes[*at..][..DIGITS].iter().all(u8::is_ascii_digit);
            let mut marks = find(&self.bytes, MARKER).map(|at| at + MARKER.len());
            marks.find(digits).expect("a version marker")
        });
        new.bytes[at..at + DIGITS].copy_from_slice(format!("{version:0DIGITS$}").as_bytes());
        new.digits = Some(at);
        new
    }

    /// The same library as another file: a number stands after its end, where no loader looks.
    #[must_use]
    pub fn numbered(&self, number: u64) -> Self {
        let mut new = self.clone();
        new.bytes.extend(format!("{number:0DIGITS$}").bytes());
        new
    }

    /// The first half, as a copy that was broken off leaves it.
    #[must_use]
    pub fn cut_short(&self) -> Self {
        Self::new(&self.bytes[..self.bytes.len() / 2])
    }

    /// The same library with the manifest of an ABI that is not yet.
    #[must_use]
    pub fn of_another_abi(&self) -> Self {
        self.replaced("\nabi=1.1\n", "\nabi=9.0\n")
    }

    /// The same library saying that a panic aborts.
    #[must_use]
    pub fn that_aborts_on_panic(&self) -> Self {
        self.replaced("\npanic=unwind\n", "\npanic=abort\n\n")
    }

    /// The same library for a machine that this is not.
    #[must_use]
    pub fn for_another_machine(&self) -> Self {
        const MACHINE: usize = 18;
        const RISC_V: [u8; 2] = 243_u16.to_le_bytes();
        let mut bytes = self.bytes.clone();
        bytes[MACHINE..][..2].copy_from_slice(&RISC_V);
        Self::new(bytes)
    }

    /// The same library linked with `-z nodelete`: the dynamic linker is told never to unmap it.
    ///
    /// # Panics
    /// When it is no 64-bit ELF file with flags in its dynamic section.
    #[must_use]
    pub fn that_must_stay_mapped(&self) -> Self {
        // See elf(5): Elf64_Ehdr, Elf64_Phdr and Elf64_Dyn.
        const PT_DYNAMIC: u64 = 2;
        const DT_FLAGS_1: u64 = 0x6fff_fffb;
        const DF_1_NODELETE: u8 = 8;
        let number = |at: usize, len: usize| {
            let bytes = self.bytes[at..at + len].iter().rev();
            bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let place = |at: usize| usize::try_from(number(at, 8)).expect("in the file");
        let mut headers = (0..number(56, 2) as usize).map(|index| place(32) + index * 56);
        let dynamic = headers.find(|at| number(*at, 4) == PT_DYNAMIC);
        let dynamic = place(dynamic.expect("a dynamic section") + 8);
        let mut entries = (dynamic..self.bytes.len() - 16).step_by(16);
        let flags = entries.find(|at| number(*at, 8) == DT_FLAGS_1);
        let mut bytes = self.bytes.clone();
        bytes[flags.expect("flags") + 8] |= DF_1_NODELETE;
        Self::new(bytes)
    }

    fn replaced(&self, from: &str, to: &str) -> Self {
        assert_eq!(from.len(), to.len(), "a file's bytes keep their places");
        let mut bytes = self.bytes.clone();
        let at = find(&bytes, from.as_bytes()).next();
        let at = at.unwrap_or_else(|| panic!("{from:?} does not stand in the file"));
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        Self::new(bytes)
    }

    /// Puts it at `path`, as a deployment does: written elsewhere, then renamed into place.
    ///
    /// # Panics
    /// When the file system does not let it.
    pub fn install(&self, path: &Path) {
        self.install_by(Way::Rename, path);
    }

    /// Puts it at `path`, where a file may already be.
    ///
    /// # Panics
    /// When the file system does not let it.
    pub fn install_by(&self, way: Way, path: &Path) {
        match way {
            Way::Rename => fs::rename(self.beside(path), path),
            Way::CopyInPlace => fs::write(path, &self.bytes),
            Way::UnlinkAndLink => {
                let new = self.beside(path);
                let _ = fs::remove_file(path);
                fs::hard_link(new, path)
            }
            Way::SymbolicLink => {
                let new = self.beside(path);
                let link = new.with_extension("link");
                symlink(&new, &link).and_then(|()| fs::rename(&link, path))
            }
        }
        .unwrap_or_else(|error| panic!("{way:?} to {}: {error}", path.display()));
    }

    /// A new file with these bytes, in the same file system but not in the same folder.
    fn beside(&self, path: &Path) -> PathBuf {
        let depot = depot(path);
        fs::create_dir_all(&depot).unwrap();
        let (mut file, new) = tempfile::Builder::new()
            .prefix("release-")
            .suffix(".so")
            .tempfile_in(depot)
            .and_then(|file| Ok(file.keep()?))
            .unwrap();
        file.write_all(&self.bytes).unwrap();
        new
    }

    /// Opens the file at `path` as a linker or a slow copy does: it is there, and not whole.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn begin_to_write(&self, path: &Path) -> io::Result<SlowWrite<'_>> {
        let file = fs::File::create(path)?;
        Ok(SlowWrite {
            file,
            left: &self.bytes,
        })
    }
}

fn depot(path: &Path) -> PathBuf {
    let folder = path.parent().expect("a library stands in a folder");
    folder.with_extension("depot")
}

/// Gives the file a new time and leaves its bytes alone, as touch(1) does.
///
/// # Panics
/// When it is not there.
pub fn touch(path: &Path) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
}

/// How a library is put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Renamed over the old one.
    Rename,
    /// Written over the old one's bytes: `cp`.
    CopyInPlace,
    /// The old one is removed, the new one linked to its name: cargo.
    UnlinkAndLink,
    /// A symbolic link is switched to another file: releases in folders of their own.
    SymbolicLink,
}

impl Way {
    pub const ALL: [Self; 4] = [
        Self::Rename,
        Self::CopyInPlace,
        Self::UnlinkAndLink,
        Self::SymbolicLink,
    ];
}

/// A file that is being written.
#[derive(Debug)]
pub struct SlowWrite<'a> {
    file: fs::File,
    left: &'a [u8],
}

impl SlowWrite<'_> {
    /// Writes the next bytes, up to `len`; `false` when there are none left.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write(&mut self, len: usize) -> bool {
        let (now, left) = self.left.split_at(len.min(self.left.len()));
        self.file.write_all(now).unwrap();
        self.left = left;
        !left.is_empty()
    }
}

/// Where `text` begins in `bytes`.
fn find(bytes: &[u8], text: &[u8]) -> impl Iterator<Item = usize> {
    // The first byte is looked at on its own: millions are, by code that is not optimized.
    let begins = move |at: &usize| bytes[*at] == text[0] && bytes[*at..].starts_with(text);
    (0..bytes.len()).filter(begins)
}
