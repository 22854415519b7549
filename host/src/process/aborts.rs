//! Generations whose destructors aborted: they can never be unloaded.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::owners::OwnerId;

/// Whose destructor, and on which thread.
static ABORTS: Mutex<Vec<(OwnerId, String)>> = Mutex::new(Vec::new());

fn aborts() -> MutexGuard<'static, Vec<(OwnerId, String)>> {
    ABORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first counts. The list is as short as that of libraries that stay for good because of it.
pub(super) fn remember(owner: OwnerId, thread: String) {
    let mut aborts = aborts();
    if !aborts.iter().any(|(other, _)| *other == owner) {
        aborts.push((owner, thread));
    }
}

/// On which thread a destructor of the owner's aborted.
pub(super) fn of(owner: OwnerId) -> Option<String> {
    let aborts = aborts();
    let found = aborts.iter().find(|(other, _)| *other == owner);
    found.map(|(_, thread)| thread.clone())
}
