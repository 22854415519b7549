//! Whose code an address is.
//!
//! The hooks ask this on every call, from any thread, possibly while the dynamic linker holds its
//! lock; so it is a table of atomics that is read without a lock, and costs one load while no
//! plugin is there.

use std::{
    cell::Cell,
    collections::HashSet,
    ffi::{CStr, OsStr, c_int, c_void},
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
};

use replug_plugin::{abi, glue::frames};

use super::heap::Heap;

/// More generations than this at once are not tracked, and stay loaded.
const CAPACITY: usize = 4096;
const PAGE_BITS: u32 = 12;
const LENGTH_BITS: u32 = 28;

/// Where each owner's library is: its first page and its number of pages in one word, so that no
/// reader sees half of a change. 0: free, or not known yet.
static RANGES: [AtomicU64; CAPACITY] = [const { AtomicU64::new(0) }; CAPACITY];
/// The owners' numbers; 0: free.
static IDS: [AtomicU64; CAPACITY] = [const { AtomicU64::new(0) }; CAPACITY];
/// Where each owner's memory comes from; null: from the C library.
static HEAPS: [AtomicPtr<abi::Heap>; CAPACITY] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CAPACITY];
/// No slot at or beyond this was ever used.
static USED: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A loaded library, to the hooks.
#[derive(Debug)]
pub struct Owner {
    id: u64,
    slot: Option<usize>,
    /// Its slot may be another's by now.
    is_gone: AtomicBool,
}

/// An owner's number; never used again.
pub(super) type OwnerId = u64;

impl Owner {
    /// An owner whose library is not open yet. `heap` must live until [`Owner::release`].
    #[must_use]
    pub(crate) fn new(heap: Option<&Heap>) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let slot = IDS.iter().position(|slot| {
            slot.compare_exchange(0, id, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        });
        if let Some(slot) = slot {
            let table = heap.map_or(ptr::null(), Heap::table);
            HEAPS[slot].store(table.cast_mut(), Ordering::Release);
            USED.fetch_max(slot + 1, Ordering::AcqRel);
        }
        let is_gone = AtomicBool::new(false);
        Self { id, slot, is_gone }
    }

    /// Gives its addresses up: its library is unmapped, and the next may be mapped there.
    pub(crate) fn release(&self) {
        if self.is_gone.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(slot) = self.slot {
            // In this order: a slot without a range is nobody's.
            RANGES[slot].store(0, Ordering::Release);
            HEAPS[slot].store(ptr::null_mut(), Ordering::Release);
            IDS[slot].store(0, Ordering::Release);
        }
    }

    pub(super) fn id(&self) -> OwnerId {
        self.id
    }

    /// Whether its calls can be told from others: there was room in the table, and its library
    /// was found.
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        self.range() != 0
    }

    pub(super) fn has(&self, address: usize) -> bool {
        contains(self.range(), address)
    }

    /// The address at which its library is mapped, page number 0 of its file; `None`: it is not.
    pub(crate) fn base(&self) -> Option<usize> {
        let first = (self.range() >> LENGTH_BITS) << PAGE_BITS;
        (first != 0).then_some(first as usize)
    }

    /// 0: its library is not mapped.
    fn range(&self) -> u64 {
        match self.slot {
            Some(slot) if !self.is_gone.load(Ordering::Acquire) => {
                RANGES[slot].load(Ordering::Acquire)
            }
            _ => 0,
        }
    }

    fn set_range(&self, start: usize, end: usize) {
        let Some(slot) = self.slot else { return };
        let (first, last) = (start >> PAGE_BITS, end.div_ceil(1 << PAGE_BITS));
        let packed = ((first as u64) << LENGTH_BITS) | (last - first) as u64;
        RANGES[slot].store(packed, Ordering::Release);
    }
}

fn contains(packed: u64, address: usize) -> bool {
    let (first, length) = (packed >> LENGTH_BITS, packed & ((1 << LENGTH_BITS) - 1));
    let page = (address >> PAGE_BITS) as u64;
    page.wrapping_sub(first) < length
}

/// The owner whose library is being closed; 0: none is.
static CLOSING: AtomicU64 = AtomicU64::new(0);

impl Owner {
    /// Closes its library. One at a time.
    pub(crate) fn while_closing<R>(&self, close: impl FnOnce() -> R) -> R {
        CLOSING.store(self.id, Ordering::Release);
        let result = close();
        CLOSING.store(0, Ordering::Release);
        result
    }
}

pub(super) fn is_closing(owner: OwnerId) -> bool {
    CLOSING.load(Ordering::Acquire) == owner
}

/// Whose code that address is.
pub(super) fn of(address: usize) -> Option<OwnerId> {
    slot_of(address)
        .map(|slot| IDS[slot].load(Ordering::Acquire))
        .filter(|id| *id != 0)
}

/// The heap of the library that the address is in; null if there is none.
pub(super) fn heap_of(address: usize) -> *const abi::Heap {
    slot_of(address).map_or(ptr::null(), |slot| HEAPS[slot].load(Ordering::Acquire))
}

/// The innermost owner among those who called, when another library calls on a plugin's behalf.
/// Walks the stack: for what is seldom done.
pub(super) fn among_callers() -> Option<OwnerId> {
    if USED.load(Ordering::Acquire) == 0 {
        return None;
    }
    frames::capture().into_iter().find_map(of)
}

/// The library that this thread is opening, if the dynamic linker is the caller: a constructor that
/// ends with a call is left before that call.
pub(super) fn of_constructor(caller: usize) -> Option<OwnerId> {
    let loading = LOADING.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: null, or set by `while_loading`, which is below us on this thread's stack.
    let loading = unsafe { loading.as_ref() }?;
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address may be asked about; filled in if the answer is not 0.
    let known = unsafe { libc::dladdr(caller as *const c_void, info.as_mut_ptr()) };
    // SAFETY: takes a number.
    let linker = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
    // SAFETY: looked at only if it was filled in.
    let is_linker = known != 0 && unsafe { info.assume_init() }.dli_fbase as usize == linker;
    is_linker.then_some(loading.owner.id)
}

fn slot_of(address: usize) -> Option<usize> {
    let used = USED.load(Ordering::Acquire);
    if used == 0 {
        return None;
    }
    find(used, address).or_else(|| {
        // A constructor: the library is mapped, and nobody could say where so far.
        if learn_while_loading() {
            find(used, address)
        } else {
            None
        }
    })
}

fn find(used: usize, address: usize) -> Option<usize> {
    RANGES[..used]
        .iter()
        .position(|range| contains(range.load(Ordering::Acquire), address))
}

/// What a thread is opening.
struct Loading<'a> {
    owner: &'a Owner,
    path: &'a Path,
}

thread_local! {
    /// What this thread is opening, or null. A plain pointer: with a destructor, its first use
    /// would call the hook that asks for it.
    static LOADING: Cell<*const Loading<'static>> = const { Cell::new(ptr::null()) };
}

pub(super) fn while_loading<R>(owner: &Owner, path: &Path, open: impl FnOnce() -> R) -> R {
    let loading = Loading { owner, path };
    LOADING.set((&raw const loading).cast());
    let result = open();
    learn_while_loading();
    LOADING.set(ptr::null());
    result
}

/// Finds out where the library that this thread is opening is. True: it is known now, and was not
/// before.
fn learn_while_loading() -> bool {
    let loading = LOADING.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: null, or set by `while_loading`, which is below us on this thread's stack.
    let Some(Loading { owner, path }) = (unsafe { loading.as_ref() }) else {
        return false;
    };
    if owner.is_tracked() {
        return false;
    }
    let found = range_of(path);
    if let Some((start, end)) = found {
        owner.set_range(start, end);
    }
    found.is_some()
}

/// Where a library is mapped, from its first to behind its last loaded segment.
pub(super) fn range_of(path: &Path) -> Option<(usize, usize)> {
    let mut found = None;
    each_object(|name, info| {
        if name.to_bytes() != path.as_os_str().as_bytes() {
            return false;
        }
        // SAFETY: an object's program headers are so many, and are mapped with it.
        let headers =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let base = info.dlpi_addr as usize;
        for header in headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
        {
            let start = base + header.p_vaddr as usize;
            let end = start + header.p_memsz as usize;
            let (low, high) = found.unwrap_or((start, end));
            found = Some((low.min(start), high.max(end)));
        }
        true
    });
    found
}

/// All objects that have a name.
pub(super) fn loaded() -> HashSet<PathBuf> {
    let mut loaded = HashSet::new();
    each_object(|name, _| {
        if !name.is_empty() {
            loaded.insert(PathBuf::from(OsStr::from_bytes(name.to_bytes())));
        }
        false
    });
    loaded
}

/// Shows `look` each loaded object, until it says that it has seen enough.
fn each_object(mut look: impl FnMut(&CStr, &libc::dl_phdr_info) -> bool) {
    type Look<'a> = dyn FnMut(&CStr, &libc::dl_phdr_info) -> bool + 'a;

    unsafe extern "C" fn show(info: *mut libc::dl_phdr_info, _: usize, look: *mut c_void) -> c_int {
        // SAFETY: our own, see below.
        let look = unsafe { &mut *look.cast::<&mut Look<'_>>() };
        // SAFETY: the dynamic linker's, for this call.
        let info = unsafe { &*info };
        if info.dlpi_name.is_null() {
            return 0;
        }
        // SAFETY: a name ends with a NUL.
        let name = unsafe { CStr::from_ptr(info.dlpi_name) };
        c_int::from(look(name, info))
    }
    let mut look: &mut Look<'_> = &mut look;
    // SAFETY: the callback takes our closure and keeps nothing.
    unsafe { libc::dl_iterate_phdr(Some(show), (&raw mut look).cast()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_owners_until_the_owner_is_gone() {
        let (first, second) = (Owner::new(None), Owner::new(None));
        let base = 0x7000_0000_0000;
        first.set_range(base, base + 0x3001);
        second.set_range(base + 0x8000, base + 0x9000);
        assert_eq!(of(base), Some(first.id()));
        assert_eq!(of(base + 0x3000), Some(first.id()));
        assert_eq!(of(base + 0x4000), None);
        assert_eq!(of(base - 1), None);
        assert_eq!(of(base + 0x8fff), Some(second.id()));
        first.release();
        assert_eq!(of(base), None);
        assert!(!first.has(base));
        assert_eq!(of(base + 0x8000), Some(second.id()));
    }

    #[test]
    fn the_range_of_a_library_has_its_code() {
        let own = std::env::current_exe().unwrap();
        // The program itself is nameless to the dynamic linker; the C library is not.
        assert_eq!(range_of(&own), None);
        let mut info = MaybeUninit::<libc::Dl_info>::uninit();
        let address = libc::getpid as *const c_void;
        // SAFETY: an address of the C library, and room for what is said of it.
        let known = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
        assert_ne!(known, 0);
        // SAFETY: filled by the call above.
        let info = unsafe { info.assume_init() };
        // SAFETY: the name of a loaded object.
        let name = unsafe { CStr::from_ptr(info.dli_fname) };
        let path = Path::new(OsStr::from_bytes(name.to_bytes()));
        let (start, end) = range_of(path).unwrap();
        assert!((start..end).contains(&(address as usize)));
    }
}
