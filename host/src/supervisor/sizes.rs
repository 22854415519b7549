//! How many workers groups are to have: as many as configured, more or fewer by signals.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::id::GroupName;

/// How many workers each group is to have. Shared by all who have a clone.
#[derive(Clone, Debug, Default)]
pub struct Sizes(Arc<Mutex<HashMap<GroupName, Size>>>);

#[derive(Debug)]
struct Size {
    configured: u32,
    /// Crews listen.
    wanted: watch::Sender<u32>,
}

/// Which way a size changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One worker more.
    More,
    /// One worker less, unless it is the last.
    Fewer,
}

impl Sizes {
    /// Changes the size of each group that has workers, which see to it at once. It holds for the
    /// crews that follow, too, until a configuration says another number than before. `who` wants
    /// it.
    pub fn change(&self, change: Change, who: &str) {
        let sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, Size { configured, wanted }) in sizes.iter() {
            if wanted.receiver_count() == 0 {
                continue;
            }
            let now = *wanted.borrow();
            let next = match change {
                Change::More => now.saturating_add(1),
                Change::Fewer => now.saturating_sub(1).max(1),
            };
            tracing::info!(
                event = "resized",
                group = group.as_str(),
                who,
                workers = next,
                configured,
                "{who}: group `{group}` is to have {next} workers (configured are {configured})",
            );
            wanted.send_replace(next);
        }
    }

    /// Of a group that is configured to have so many.
    pub(super) fn of(&self, group: &GroupName, processes: NonZeroUsize) -> watch::Receiver<u32> {
        let configured = u32::try_from(processes.get()).unwrap_or(u32::MAX);
        let size = || Size {
            configured,
            wanted: watch::Sender::new(configured),
        };
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sizes.entry(group.clone()).or_insert_with(size);
        if known.configured != configured {
            *known = size();
        }
        known.wanted.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> NonZeroUsize {
        NonZeroUsize::new(2).unwrap()
    }

    #[test]
    fn a_size_is_kept_until_another_one_is_configured_and_is_never_none() {
        let sizes = Sizes::default();
        let blue = GroupName::try_from("blue").unwrap();
        let crew = sizes.of(&blue, two());
        sizes.change(Change::More, "a test");
        assert_eq!(*crew.borrow(), 3);
        assert_eq!(*sizes.of(&blue, two()).borrow(), 3);
        for _ in 0..5 {
            sizes.change(Change::Fewer, "a test");
        }
        assert_eq!(*crew.borrow(), 1);
        let four = NonZeroUsize::new(4).unwrap();
        assert_eq!(*sizes.of(&blue, four).borrow(), 4);
    }

    #[test]
    fn a_group_without_workers_is_left_as_it_is_configured() {
        let sizes = Sizes::default();
        let blue = GroupName::try_from("blue").unwrap();
        drop(sizes.of(&blue, two()));
        sizes.change(Change::More, "a test");
        assert_eq!(*sizes.of(&blue, two()).borrow(), 2);
    }
}
