//! What a plugin says of itself in a section of its file, readable without running its code.
//!
//! The section is plain text, so that `strings` shows it too: a first line with the format's
//! number, then one `key=value` a line. Unknown keys are skipped, so that later versions can say
//! more.

use std::{collections::BTreeMap, fmt};

/// A plugin's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The app's default name: the package's.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// ABI version: major, minor.
    pub abi: (u16, u16),
    /// What `rustc --version` printed; empty when not known.
    pub rustc: String,
    /// The target triple.
    pub target: String,
    /// What a panic in the plugin does.
    pub panic: PanicStrategy,
    /// The author's word that the library may be unmapped.
    pub unload_safe: bool,
    /// Whether its memory is of the generation's heap. A manifest that does not say means no.
    pub heap: bool,
}

/// What a panic in a plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicStrategy {
    /// It unwinds and is caught before it leaves the plugin.
    Unwind,
    /// It ends the whole process.
    Abort,
}

impl fmt::Display for PanicStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unwind => "unwind",
            Self::Abort => "abort",
        })
    }
}

/// Why a manifest section could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// It does not begin with [`MAGIC`].
    Magic,
    /// It is not UTF-8.
    Text,
    /// A key is missing, or its value cannot be understood.
    Key(&'static str),
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(f, "it does not begin with {:?}", MAGIC.trim_end()),
            Self::Text => f.write_str("it is not UTF-8"),
            Self::Key(key) => write!(f, "`{key}` is missing or cannot be understood"),
        }
    }
}

impl std::error::Error for ManifestError {}

/// The section's name on ELF.
pub const SECTION: &str = ".replug";
/// The section's first line.
pub const MAGIC: &str = "REPLUG MANIFEST 1\n";

impl Manifest {
    /// Reads the section's bytes.
    ///
    /// # Errors
    /// When they are not a manifest of format 1, or a key that this version needs is missing.
    pub fn parse(section: &[u8]) -> Result<Self, ManifestError> {
        let body = section
            .strip_prefix(MAGIC.as_bytes())
            .ok_or(ManifestError::Magic)?;
        let text = std::str::from_utf8(body).map_err(|_| ManifestError::Text)?;
        let keys: BTreeMap<&str, &str> = text
            .trim_end_matches('\0')
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let get = |key: &'static str| keys.get(key).copied().ok_or(ManifestError::Key(key));
        let (major, minor) = get("abi")?
            .split_once('.')
            .ok_or(ManifestError::Key("abi"))?;
        let number = |text: &str| text.parse().map_err(|_| ManifestError::Key("abi"));
        let name = get("name")?;
        if name.is_empty() {
            return Err(ManifestError::Key("name"));
        }
        Ok(Self {
            name: name.to_owned(),
            version: get("version")?.to_owned(),
            abi: (number(major)?, number(minor)?),
            rustc: get("rustc")?.to_owned(),
            target: get("target")?.to_owned(),
            panic: match get("panic")? {
                "unwind" => PanicStrategy::Unwind,
                "abort" => PanicStrategy::Abort,
                _ => return Err(ManifestError::Key("panic")),
            },
            unload_safe: match get("unload-safe")? {
                "true" => true,
                "false" => false,
                _ => return Err(ManifestError::Key("unload-safe")),
            },
            heap: match keys.get("heap").copied() {
                Some("true") => true,
                Some("false") | None => false,
                Some(_) => return Err(ManifestError::Key("heap")),
            },
        })
    }
}

/// How many parts a manifest's text is made of; for `export_app!`.
#[doc(hidden)]
pub const PARTS: usize = 17;

/// What an author can say to `export_app!`; each option is a method.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Options {
    name: &'static str,
    version: &'static str,
    unload_safe: bool,
    heap: bool,
}

#[doc(hidden)]
impl Options {
    #[must_use]
    pub const fn new(package: &'static str, version: &'static str) -> Self {
        Self {
            name: package,
            version,
            unload_safe: true,
            heap: cfg!(not(feature = "no-heap")),
        }
    }

    #[must_use]
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    #[must_use]
    pub const fn unload_safe(mut self, safe: bool) -> Self {
        self.unload_safe = safe;
        self
    }

    #[must_use]
    pub const fn heap(mut self, heap: bool) -> Self {
        self.heap = self.heap && heap;
        self
    }

    /// The parts of the manifest's text, in order.
    #[must_use]
    pub const fn parts(self) -> [&'static str; PARTS] {
        [
            MAGIC,
            "name=",
            self.name,
            "\nversion=",
            self.version,
            "\nabi=",
            ABI,
            "\nrustc=",
            env!("REPLUG_RUSTC"),
            "\ntarget=",
            env!("REPLUG_TARGET"),
            // The panic strategy is one for the whole library, so this crate's is the plugin's.
            if cfg!(panic = "abort") {
                "\npanic=abort"
            } else {
                "\npanic=unwind"
            },
            "\nunload-safe=",
            truth(self.unload_safe),
            "\nheap=",
            truth(self.heap),
            "\n",
        ]
    }
}

const fn truth(truth: bool) -> &'static str {
    if truth { "true" } else { "false" }
}

const ABI: &str = "1.1";
const _: () = assert!(
    crate::abi::ABI_MAJOR == 1 && crate::abi::ABI_MINOR == 1,
    "ABI text"
);

/// The length of all parts together; for `export_app!`.
#[doc(hidden)]
#[must_use]
pub const fn len(parts: &[&str]) -> usize {
    let (mut total, mut i) = (0, 0);
    while i < parts.len() {
        total += parts[i].len();
        i += 1;
    }
    total
}

/// All parts in one array, since a section holds bytes and not pointers; for `export_app!`.
#[doc(hidden)]
#[must_use]
pub const fn join<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut out = [0; N];
    let (mut at, mut i) = (0, 0);
    while i < parts.len() {
        let bytes = parts[i].as_bytes();
        let mut j = 0;
        while j < bytes.len() {
            out[at] = bytes[j];
            at += 1;
            j += 1;
        }
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: [&str; PARTS] = Options::new("other", "1.2.3").name("hello").parts();
    const BYTES: [u8; len(&TEXT)] = join(&TEXT);

    #[test]
    fn what_the_macro_writes_is_read_back() {
        let manifest = Manifest::parse(&BYTES).unwrap();
        assert_eq!(manifest.name, "hello");
        assert_eq!(manifest.version, "1.2.3");
        assert_eq!(manifest.abi, (crate::abi::ABI_MAJOR, crate::abi::ABI_MINOR));
        assert_eq!(manifest.panic, PanicStrategy::Unwind);
        assert!(manifest.unload_safe);
        assert_eq!(manifest.heap, cfg!(not(feature = "no-heap")));
        assert!(manifest.target.contains('-'), "{}", manifest.target);
    }

    #[test]
    fn padding_and_unknown_keys_are_skipped() {
        let mut bytes = BYTES.to_vec();
        bytes.extend_from_slice(b"colour=blue\n\0\0\0");
        assert_eq!(Manifest::parse(&bytes), Manifest::parse(&BYTES));
    }

    #[test]
    fn damage_is_named() {
        let text = std::str::from_utf8(&BYTES).unwrap();
        let check = |from: &str, to: &str, expected: ManifestError| {
            assert_eq!(
                Manifest::parse(text.replace(from, to).as_bytes()),
                Err(expected)
            );
        };
        check("REPLUG", "GULPER", ManifestError::Magic);
        check("abi=1.1", "abi=x", ManifestError::Key("abi"));
        check("panic=unwind", "panic=maybe", ManifestError::Key("panic"));
        check("name=hello", "name=", ManifestError::Key("name"));
        check("heap=", "heap=x", ManifestError::Key("heap"));
        check("version=", "vision=", ManifestError::Key("version"));
        assert_eq!(
            Manifest::parse(b"REPLUG MANIFEST 1\n\xff"),
            Err(ManifestError::Text)
        );
    }
}
