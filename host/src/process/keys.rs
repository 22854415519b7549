//! Keys of thread-specific data that plugins make.

use std::{
    ffi::c_void,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libc::pthread_key_t;

use super::{destructors::Destructor, hooks, owners::OwnerId};

struct Key {
    owner: OwnerId,
    key: pthread_key_t,
    destructor: Option<Destructor>,
}

static KEYS: Mutex<Vec<Key>> = Mutex::new(Vec::new());

fn keys() -> MutexGuard<'static, Vec<Key>> {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn remember(owner: OwnerId, key: pthread_key_t, destructor: Option<Destructor>) {
    keys().push(Key {
        owner,
        key,
        destructor,
    });
}

pub(super) fn forget(key: pthread_key_t) {
    // Most keys are not a plugin's; the list is as short as the list of loaded generations.
    keys().retain(|other| other.key != key);
}

/// How many keys plugins have.
pub(super) fn count() -> usize {
    keys().len()
}

/// Whether a destructor of the owner's keys has something to do on this thread.
pub(super) fn has(owner: OwnerId) -> bool {
    values(owner).next().is_some()
}

/// The owner's keys that have a destructor, and a value on this thread.
fn values(owner: OwnerId) -> impl Iterator<Item = (pthread_key_t, Destructor, *mut c_void)> {
    let with_destructor: Vec<(pthread_key_t, Destructor)> = keys()
        .iter()
        .filter(|key| key.owner == owner)
        .filter_map(|key| Some((key.key, key.destructor?)))
        .collect();
    with_destructor.into_iter().filter_map(|(key, destructor)| {
        // SAFETY: a key that is alive: only its owner deletes it, whose code is not running.
        let value = unsafe { libc::pthread_getspecific(key) };
        (!value.is_null()).then_some((key, destructor, value))
    })
}

/// Runs an owner's destructors of keys on this thread. Returns how many.
pub(super) fn run(owner: OwnerId) -> usize {
    let mut done = 0;
    for (key, destructor, value) in values(owner) {
        // SAFETY: alive, as above. Taken out first, as POSIX has it.
        unsafe { libc::pthread_setspecific(key, std::ptr::null()) };
        // SAFETY: the key's own destructor, of code that is still mapped, with this thread's value.
        unsafe { destructor(value) };
        done += 1;
    }
    done
}

/// Deletes an owner's keys; the system has 1,024 in all.
pub(super) fn delete(owner: OwnerId) {
    let mut keys = keys();
    keys.retain(|key| {
        if key.owner == owner {
            hooks::real_key_delete(key.key);
        }
        key.owner != owner
    });
}
