//! An open library and its table.

#![expect(unsafe_code, reason = "the only dlopen")]

use std::{fmt, mem::ManuallyDrop, path::Path, ptr::NonNull};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use replug_plugin::{abi, manifest::Manifest};

use crate::{artifact::Inspected, id::ArtifactPath};

/// Why an inspected artifact could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dynamic linker refuses it.
    #[error("the dynamic linker cannot open it: {0}")]
    Open(String),
    /// Its table is missing.
    #[error("it exports no `{}`", abi::PLUGIN_SYMBOL)]
    Symbol(String),
    /// Its table is smaller than that of its ABI version.
    #[error("its table is {found} bytes long, and ABI {major}.0 begins with {expected}",
        major = abi::ABI_MAJOR)]
    Table {
        /// What it says.
        found: usize,
        /// What it must at least be.
        expected: usize,
    },
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Open(reason) if reason.contains("failed to map segment") => {
                "the staging directory is on a file system that forbids executing; \
                 name another with --staging-dir"
            }
            Self::Open(_) => {
                "check with `ldd` that every library it needs is installed, and that it was built \
                 for this system's C library"
            }
            Self::Symbol(_) | Self::Table { .. } => {
                "rebuild it with the replug-plugin crate of this version"
            }
        }
    }
}

/// A library that is open, and has not been set up.
#[derive(Debug)]
pub struct Loaded {
    pub(super) library: Library,
}

/// Opens a private copy. Its constructors run here.
///
/// # Errors
/// When the dynamic linker refuses it, or its table is not what its manifest says.
pub fn load(inspected: Inspected) -> Result<Loaded, LoadError> {
    let path = inspected.staged_path();
    // `RTLD_LOCAL`: neither another plugin nor the host can link to its symbols. `RTLD_NOW`: what
    // is missing is found out here, and not in the middle of a request.
    // SAFETY: the file is a private copy, complete, of our architecture, and says that it is a
    // plugin of our ABI; that its constructors behave is the operator's trust in it.
    let handle = unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| LoadError::Open(error_text(error)))?;
    // SAFETY: the symbol's type is fixed by its name, which has the ABI's major version in it.
    let symbol = unsafe { handle.get::<*const abi::PluginTable>(abi::PLUGIN_SYMBOL.as_bytes()) };
    let address = symbol
        .map(|symbol| symbol.into_raw())
        .map_err(|e| LoadError::Symbol(error_text(e)))?;
    let table = NonNull::new(address.cast::<abi::PluginTable>())
        .ok_or_else(|| LoadError::Symbol("null".to_owned()))?;
    let library = Library {
        table,
        handle: ManuallyDrop::new(handle),
        inspected,
    };
    let (found, expected) = (library.table().size, size_of::<abi::PluginTable>());
    if found < expected {
        library.close();
        return Err(LoadError::Table { found, expected });
    }
    Ok(Loaded { library })
}

fn error_text(error: libloading::Error) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(&error) {
        text = format!("{text}: {source}");
    }
    text
}

/// An open library. Only [`Library::close`] closes it: one that is dropped on another way may have
/// code running, and stays mapped.
pub(super) struct Library {
    table: NonNull<abi::PluginTable>,
    handle: ManuallyDrop<Handle>,
    inspected: Inspected,
}

// SAFETY: the table is data that does not change, with functions for any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Library").field(&self.staged_path()).finish()
    }
}

impl Library {
    pub(super) fn table(&self) -> &abi::PluginTable {
        // SAFETY: a static of the library, which is open as long as we are.
        unsafe { self.table.as_ref() }
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.inspected.manifest()
    }

    pub(super) fn source(&self) -> &ArtifactPath {
        self.inspected.source()
    }

    pub(super) fn staged_path(&self) -> &Path {
        self.inspected.staged_path()
    }

    /// Closes it, and then deletes its file: backtraces and debuggers read it as long as it is
    /// mapped. For when none of its code can run any more.
    pub(super) fn close(self) {
        let Self {
            table: _,
            handle,
            inspected,
        } = self;
        if let Err(error) = ManuallyDrop::into_inner(handle).close() {
            tracing::warn!(error = error_text(error), "closing a library failed");
        }
        drop(inspected);
    }
}
