//! Several generations that come to serve in one step.

use std::collections::HashMap;

use serde_json::Value;

use super::{Claimant, Name, Owner, RegisterError, Registry};
use crate::id::AppName;

impl Registry {
    /// What these apps have is no obstacle for what others stage from now on, until this is called
    /// again: [`commit_all`](Self::commit_all) has the last word.
    pub fn set_leaving(&self, apps: impl IntoIterator<Item = AppName>) {
        self.lock().leaving = apps.into_iter().collect();
    }

    /// Those generations come to serve in one step, in the place of all that apps have which are
    /// leaving: what stands in the way of an entry goes.
    ///
    /// # Errors
    /// For the first whose entry another app has, or another of them; then nothing holds.
    pub fn commit_all(&self, all: &[Claimant]) -> Result<(), (Claimant, RegisterError)> {
        let mut state = self.lock();
        let mut new: HashMap<&Name, (&AppName, &Value)> = HashMap::new();
        for by in all {
            let staging = state.staged.get(&by.serial);
            for (name, value) in staging.iter().flat_map(|it| &it.entries) {
                let checked = state.check(&by.app, name, value, &state.leaving);
                checked.map_err(|error| (by.clone(), error))?;
                let (app, first) = new.entry(name).or_insert((&by.app, value));
                if *first != value {
                    return Err((by.clone(), name.conflict(app)));
                }
            }
        }
        let mut changed = false;
        for by in all {
            let staged = state.staged.remove(&by.serial);
            for (name, value) in staged.into_iter().flat_map(|staging| staging.entries) {
                if state.entries.get(&name).is_some_and(|it| it.value != value) {
                    // Of those who had it with another value, none is left but the app itself.
                    let mine = |owner: &Owner| owner.app == by.app;
                    if let Some(entry) = state.entries.get_mut(&name) {
                        entry.owners.retain(mine);
                    }
                }
                changed |= state.enter(by, name, value);
            }
        }
        drop(state);
        self.tell(changed);
        Ok(())
    }
}
