//! An open library and its table.

#![expect(unsafe_code, reason = "the only dlopen")]

use std::{
    collections::HashSet,
    ffi::c_int,
    fmt,
    mem::{ManuallyDrop, MaybeUninit, offset_of},
    path::{Path, PathBuf},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use replug_plugin::{abi, manifest::Manifest};

use super::linked;
use crate::{
    artifact::{Inspected, Warning},
    id::ArtifactPath,
    process::{self, Heap, Owner, Usage},
};

/// Why an inspected artifact could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dynamic linker refuses it.
    #[error("the dynamic linker cannot open it: {0}")]
    Open(String),
    /// There is no memory for its heap.
    #[error("there is no memory for it")]
    Memory,
    /// Its table is missing.
    #[error("it exports no `{}`", abi::PLUGIN_SYMBOL)]
    Symbol(String),
    /// A function is missing in its table.
    #[error("its table has null in the place of `{function}`")]
    Function {
        /// Its name.
        function: &'static str,
    },
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
            Self::Memory => "free some memory, or give the host more",
            Self::Symbol(_) | Self::Table { .. } => {
                "rebuild it with the replug-plugin crate of this version"
            }
            Self::Function { .. } => "have its table name a function for each that ABI 1.0 has",
        }
    }
}

/// Held while a library is opened, and from closing one until its owner is gone: in between, the
/// next could be mapped to the same addresses, and what it registers be taken for the old one's.
/// The dynamic linker has a lock of its own over most of this anyway.
static LINKER: Mutex<()> = Mutex::new(());

/// A library that is open, and has not been set up.
#[derive(Debug)]
pub struct Loaded {
    pub(super) library: Library,
}

/// Opens a private copy. Its constructors run here. `usage` will tell how much memory it uses, if
/// its allocator is Replug's.
///
/// # Errors
/// When the dynamic linker refuses it, or its table is not what its manifest says.
pub fn load(inspected: Inspected, usage: Arc<Usage>) -> Result<Loaded, LoadError> {
    let path = inspected.staged_path();
    // `RTLD_LOCAL`: neither another plugin nor the host can link to its symbols. `RTLD_NOW`: what
    // is missing is found out here, and not in the middle of a request.
    // SAFETY: the file is a private copy, complete, of our architecture, and says that it is a
    // plugin of our ABI; that its constructors behave is the operator's trust in it.
    let open = || unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let heap = Heap::new(usage).ok_or(LoadError::Memory)?;
    let owner = Owner::new(Some(&heap));
    owner.visit();
    let alone = LINKER.lock().unwrap_or_else(PoisonError::into_inner);
    linked::open(path, inspected.source().as_path());
    let before = process::loaded();
    let opened = process::open_as(&owner, path, open);
    match &opened {
        Ok(_) => keep_dependencies(&before, path),
        Err(_) => owner.unmapped(),
    }
    drop(alone);
    let handle = opened.map_err(|error| LoadError::Open(error_text(error)))?;
    // What its constructors left on this thread, which is about to end.
    owner.leave_this_thread();
    let mut library = Library {
        table: None,
        handle: ManuallyDrop::new(handle),
        owner: Arc::new(owner),
        heap: ManuallyDrop::new(heap),
        inspected: ManuallyDrop::new(inspected),
    };
    match find_table(&library.handle) {
        Ok(table) => {
            library.table = Some(table);
            Ok(Loaded { library })
        }
        Err(error) => {
            let _ = library.close(|| ());
            Err(error)
        }
    }
}

/// Keeps the libraries loaded that came with that one, for good: they may have threads, keys and
/// handlers of their own, of which nobody knows whose they are. They are the system's, or as good:
/// each is loaded once, however many plugins need it.
fn keep_dependencies(before: &HashSet<PathBuf>, path: &Path) {
    for new in process::loaded()
        .difference(before)
        .filter(|it| *it != path)
    {
        // SAFETY: it is loaded already, so that nothing of it is run; and it stays.
        let kept = unsafe { Handle::open(Some(new), RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE) };
        match kept {
            // Never closed.
            Ok(handle) => drop(handle.into_raw()),
            Err(error) => tracing::debug!("cannot keep {}: {error}", new.display()),
        }
    }
}

/// Finds a library that is loaded already (`dlopen(3)`; glibc's values).
const RTLD_NOLOAD: c_int = 4;
/// Keeps it loaded whatever is closed.
const RTLD_NODELETE: c_int = 0x1000;

/// A copy of its table, as far as that goes: what a later version of the ABI added is null in an
/// older plugin's.
fn find_table(handle: &Handle) -> Result<abi::PluginTable, LoadError> {
    // SAFETY: the symbol's type is fixed by its name, which has the ABI's major version in it.
    let symbol = unsafe { handle.get::<*const abi::PluginTable>(abi::PLUGIN_SYMBOL.as_bytes()) };
    let address = symbol
        .map(|symbol| symbol.into_raw())
        .map_err(|e| LoadError::Symbol(error_text(e)))?;
    let found: *const abi::PluginTable = address.cast_const().cast();
    if found.is_null() {
        return Err(LoadError::Symbol("null".to_owned()));
    }
    // SAFETY: every version of the table begins with its size.
    let size = unsafe { (*found).size };
    let least = offset_of!(abi::PluginTable, save_state);
    if size < least {
        return Err(LoadError::Table {
            found: size,
            expected: least,
        });
    }
    let mut table = MaybeUninit::<abi::PluginTable>::zeroed();
    // Whole functions: a half of one would be no address.
    let bytes = size.min(size_of::<abi::PluginTable>()) & !(size_of::<usize>() - 1);
    // SAFETY: the table says that it is at least so long, and it is a static of the library's.
    unsafe { ptr::copy_nonoverlapping(found.cast::<u8>(), table.as_mut_ptr().cast(), bytes) };
    if let Some((function, _)) = needed().into_iter().find(|(_, offset)| {
        // SAFETY: the offset is a function's, which is as long as an address, in the table.
        let place = unsafe { table.as_ptr().byte_add(*offset) };
        // SAFETY: it was copied, or is zero; and the table is aligned for it.
        unsafe { place.cast::<usize>().read() == 0 }
    }) {
        return Err(LoadError::Function { function });
    }
    // SAFETY: what may not be null was copied, and is not.
    Ok(unsafe { table.assume_init() })
}

/// The functions that no table may leave out, and where they stand.
fn needed() -> [(&'static str, usize); 5] {
    [
        ("setup", offset_of!(abi::PluginTable, setup)),
        ("call", offset_of!(abi::PluginTable, call)),
        ("upgrade", offset_of!(abi::PluginTable, upgrade)),
        ("shutdown", offset_of!(abi::PluginTable, shutdown)),
        ("stop", offset_of!(abi::PluginTable, stop)),
    ]
}

pub(super) fn error_text(error: libloading::Error) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(&error) {
        text = format!("{text}: {source}");
    }
    text
}

/// An open library. Only [`Library::close`] closes it: one that is dropped on another way may have
/// code running, and stays mapped, its address range its own, and its file for debuggers.
pub(super) struct Library {
    /// `None` until it was found.
    table: Option<abi::PluginTable>,
    handle: ManuallyDrop<Handle>,
    owner: Arc<Owner>,
    heap: ManuallyDrop<Heap>,
    inspected: ManuallyDrop<Inspected>,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Library").field(&self.staged_path()).finish()
    }
}

impl Library {
    pub(super) fn table(&self) -> &abi::PluginTable {
        let Some(table) = &self.table else {
            unreachable!("found before the library is handed out")
        };
        table
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

    pub(super) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(super) fn usage(&self) -> &Arc<Usage> {
        self.heap.usage()
    }

    /// Why it cannot be closed now, if so. All threads must have left it before.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        if let Some(reason) = process::unloading_is_off() {
            return Some(Obstacle::ForGood(reason.to_owned()));
        }
        if !self.manifest().unload_safe {
            return Some(Obstacle::ForGood(
                "its manifest says `unload-safe=false`".to_owned(),
            ));
        }
        if !self.owner.is_tracked() {
            let reason = "it could not be told where it is mapped, or too many are";
            return Some(Obstacle::ForGood(reason.to_owned()));
        }
        if let Some(thread) = self.owner.aborted() {
            return Some(Obstacle::ForGood(format!(
                "the destructor of a thread-local panicked on {thread}, and was left unfinished"
            )));
        }
        // First: their functions' threads are in the census then.
        self.owner.stop_timers();
        let threads = self.owner.threads();
        if let Some(first) = threads.first() {
            let more = threads.len() - 1;
            let others = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            return Some(Obstacle::Passing(format!(
                "thread \"{}\" ({}){others} still running",
                first.name, first.id,
            )));
        }
        if let Some(visitor) = self.owner.visitors().first() {
            return Some(Obstacle::Passing(format!(
                "thread \"{}\" ({}) of the host, which ran its code, has not ended",
                visitor.name, visitor.id,
            )));
        }
        let left = self.owner.threads_to_leave();
        if left > 0 {
            return Some(Obstacle::Passing(format!(
                "{left} threads of the host still have its thread-locals"
            )));
        }
        (self.owner.put_signals_back() > 0).then(|| {
            // By the next try it has come back, if it was just called.
            Obstacle::Passing("a signal handler of its was in place until now".to_owned())
        })
    }

    /// Closes it if nothing stands against that, looks whether it is gone, and then frees its
    /// memory and deletes its file: backtraces and debuggers read it as long as it is mapped.
    /// `before` takes from it what it could still be reached by; its code may run once more there.
    ///
    /// # Errors
    /// With the library, if it could not be closed yet; without, if it stays for good.
    pub(super) fn close(self, before: impl FnOnce()) -> Result<(), (Option<Box<Self>>, String)> {
        // This thread runs its code now, if only its last.
        self.owner.visit();
        let mut obstacle = self.obstacle();
        if obstacle.is_none() {
            before();
            self.owner.leave_this_thread();
            obstacle = self.obstacle();
        }
        match obstacle {
            Some(Obstacle::Passing(reason)) => return Err((Some(Box::new(self)), reason)),
            Some(Obstacle::ForGood(reason)) => return Err((None, reason)),
            None => {}
        }
        let Self {
            table: _,
            handle,
            owner,
            heap,
            inspected,
        } = self;
        let alone = LINKER.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = ManuallyDrop::into_inner(handle);
        let close = || {
            owner.finish(&heap);
            handle.close()
        };
        if let Err(error) = owner.while_closing(close) {
            return Err((None, format!("closing it failed: {}", error_text(error))));
        }
        if process::is_mapped(inspected.staged_path()) {
            // Its code is still there, and may be called by whatever pins it.
            return Err((None, still_mapped(&inspected)));
        }
        owner.unmapped();
        drop(alone);
        drop(ManuallyDrop::into_inner(heap));
        drop(ManuallyDrop::into_inner(inspected));
        Ok(())
    }
}

/// What pins a library that `dlclose` left mapped, as far as its file tells.
fn still_mapped(inspected: &Inspected) -> String {
    let known = |warning: &&Warning| matches!(warning, Warning::UniqueSymbols { .. });
    match inspected.warnings().iter().find(known) {
        Some(warning) => format!("it is still mapped after it was closed: {warning}"),
        None => "it is still mapped after it was closed: something else in the process uses it, \
                 such as a library that is linked to it, or `dlopen` with RTLD_NODELETE"
            .to_owned(),
    }
}

/// Why a library cannot be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// It may end.
    Passing(String),
    /// It will not.
    ForGood(String),
}
