//! Private copies of the libraries that plugins are linked to, opened before the plugin is.
//!
//! They have threads, keys and handlers of their own, of which nobody knows whose they are; so they
//! are never closed. One that has not changed is opened once, whoever is linked to it; a new
//! version is opened beside the old one, which stays.

#![expect(unsafe_code, reason = "opens libraries")]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use crate::{artifact::Links, id::Digest};

/// What is open, by the file's path: of which bytes, under which soname.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, (Digest, String)>>> = LazyLock::new(Mutex::default);

/// Opens private copies of what the plugin at `file` is linked to, and has its own private copy,
/// `staged`, ask for them. What cannot be had so is left to the dynamic linker, which takes a
/// library of that name that is loaded already.
pub(super) fn open(staged: &Path, file: &Path) {
    if let Err(reason) = relink(staged, file) {
        tracing::warn!(
            event = "linked",
            path = %file.display(),
            reason,
            remedy = "link the library with a soname of four bytes at least; else a new version of \
                      it is taken by `replug restart` only",
            "a library that it is linked to has no private copy",
        );
    }
}

fn relink(staged: &Path, file: &Path) -> Result<(), String> {
    let links = Links::of_file(staged).unwrap_or_default();
    let linked = links.linked(file);
    if linked.is_empty() {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("{}: {error}", staged.display());
    let mut bytes = fs::read(staged).map_err(failed)?;
    let dir = staged.parent().unwrap_or(Path::new("/"));
    let mut changed = false;
    for linked in linked {
        if !links.can_relink(&linked.name) {
            return Err(format!("{} cannot be renamed in it", linked.name));
        }
        let private = private(&linked.path, &linked.name, dir, 0)?;
        changed |= links.relink(&mut bytes, &linked.name, &private);
    }
    if changed {
        // In its place: the name and the inode are those that the host knows.
        fs::write(staged, &bytes).map_err(failed)?;
    }
    Ok(())
}

/// The soname of an open private copy of that library, which is asked for as `name`.
fn private(path: &Path, name: &str, dir: &Path, depth: u32) -> Result<String, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("{shown}: {error}");
    if depth > 16 {
        return Err(format!("{shown} is linked to itself"));
    }
    let mut bytes = fs::read(path).map_err(failed)?;
    let digest: Digest = blake3::hash(&bytes).into();
    let links = Links::read(&bytes).ok_or_else(|| format!("{shown} is no library"))?;
    let mut inner = Vec::new();
    for linked in links.linked(path) {
        if !links.can_relink(&linked.name) {
            return Err(format!("{} cannot be renamed in {shown}", linked.name));
        }
        let private = private(&linked.path, &linked.name, dir, depth + 1)?;
        inner.push((linked.name, private));
    }
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    // With what it is linked to: that may be another now.
    let key = inner
        .iter()
        .fold(path.to_owned(), |key, (_, private)| key.join(private));
    if let Some((known, soname)) = open.get(&key)
        && *known == digest
        && soname.len() == name.len()
    {
        return Ok(soname.clone());
    }
    if links.soname() != Some(name) {
        return Err(format!(
            "{shown} is asked for as {name}, and has another soname"
        ));
    }
    let soname = unused(name.len()).ok_or_else(|| format!("the name {name} is too short"))?;
    if !links.rename(&mut bytes, &soname) {
        return Err(format!("{shown} cannot be renamed"));
    }
    for (name, private) in &inner {
        links.relink(&mut bytes, name, private);
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let copy = dir.join(format!(
        "{stem}.linked-{}.so",
        soname.trim_start_matches(['~', '0'])
    ));
    fs::write(&copy, &bytes).map_err(failed)?;
    // SAFETY: as for the plugin itself, which is the operator's trust in it.
    let handle = unsafe { Handle::open(Some(&copy), RTLD_NOW | RTLD_LOCAL) };
    let handle =
        handle.map_err(|error| format!("{shown}: {}", super::library::error_text(error)))?;
    // Never closed.
    let _ = handle.into_raw();
    open.insert(key, (digest, soname.clone()));
    Ok(soname)
}

/// A name of that length that no library has; `None`: it is too short for one.
fn unused(len: usize) -> Option<String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut digits = Vec::new();
    while number > 0 {
        let digit = u32::try_from(number % 36).ok()?;
        digits.push(char::from_digit(digit, 36)?);
        number /= 36;
    }
    let digits: String = digits.iter().rev().collect();
    let width = len
        .checked_sub(1)
        .filter(|width| *width >= 3 && digits.len() <= *width)?;
    Some(format!("~{digits:0>width$}"))
}
