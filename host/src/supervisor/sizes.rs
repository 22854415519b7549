//! How many workers groups are to have: as many as configured, more or fewer by signals.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::id::GroupName;

/// How many workers each group is to have. Shared by all who have a clone.
///
/// There may be several sizes of one group at a time: a crew that is started for a configuration
/// which then does not come into force leaves the one that serves as it is.
#[derive(Clone, Debug, Default)]
pub struct Sizes(Arc<Mutex<HashMap<GroupName, Vec<Size>>>>);

#[derive(Debug)]
struct Size {
    configured: u32,
    /// Crews listen.
    wanted: watch::Sender<u32>,
    /// Each crew that goes by it has another.
    share: Arc<()>,
}

/// The size that a crew goes by.
#[derive(Debug)]
pub(super) struct CrewSize {
    wanted: watch::Receiver<u32>,
    share: Mutex<Option<Arc<()>>>,
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
        let sizes = sizes
            .iter()
            .flat_map(|(group, of_one)| of_one.iter().map(move |size| (group, size)));
        for (group, size) in sizes.filter(|(_, size)| size.is_in_use()) {
            let Size {
                configured, wanted, ..
            } = size;
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
    pub(super) fn of(&self, group: &GroupName, processes: NonZeroUsize) -> CrewSize {
        let configured = u32::try_from(processes.get()).unwrap_or(u32::MAX);
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sizes.entry(group.clone()).or_default();
        // One that nobody goes by holds on, unless another came after it.
        let newest = known.pop();
        known.retain(Size::is_in_use);
        known.extend(newest);
        let at = known.iter().position(|it| it.configured == configured);
        let size = match at {
            Some(at) => known.remove(at),
            None => Size {
                configured,
                wanted: watch::Sender::new(configured),
                share: Arc::default(),
            },
        };
        let crew = CrewSize {
            wanted: size.wanted.subscribe(),
            share: Mutex::new(Some(Arc::clone(&size.share))),
        };
        known.push(size);
        crew
    }
}

impl Size {
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.share) > 1
    }
}

impl CrewSize {
    /// How many workers there are to be now.
    pub(super) fn now(&self) -> u32 {
        *self.wanted.borrow()
    }

    /// The same, for who waits for it to change.
    pub(super) fn wanted(&self) -> watch::Receiver<u32> {
        self.wanted.clone()
    }

    /// The crew ends: nobody need tell it any more.
    pub(super) fn give_up(&self) {
        self.share
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
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
        assert_eq!(crew.now(), 3);
        assert_eq!(sizes.of(&blue, two()).now(), 3);
        for _ in 0..5 {
            sizes.change(Change::Fewer, "a test");
        }
        assert_eq!(crew.now(), 1);
        let four = NonZeroUsize::new(4).unwrap();
        assert_eq!(sizes.of(&blue, four).now(), 4);
    }

    #[test]
    fn a_group_without_workers_is_left_as_it_is_configured() {
        let sizes = Sizes::default();
        let blue = GroupName::try_from("blue").unwrap();
        drop(sizes.of(&blue, two()));
        sizes.change(Change::More, "a test");
        assert_eq!(sizes.of(&blue, two()).now(), 2);
    }

    #[test]
    fn a_configuration_that_does_not_come_into_force_takes_no_crew_out_of_reach() {
        let sizes = Sizes::default();
        let blue = GroupName::try_from("blue").unwrap();
        let four = NonZeroUsize::new(4).unwrap();
        let serves = sizes.of(&blue, two());
        drop(sizes.of(&blue, four));
        sizes.change(Change::More, "a test");
        assert_eq!(serves.now(), 3);
        // Nor is that forgotten.
        let next = sizes.of(&blue, two());
        assert_eq!(next.now(), 3);
        // One that comes into force is another matter, once those before end.
        let other = sizes.of(&blue, four);
        serves.give_up();
        next.give_up();
        sizes.change(Change::More, "a test");
        assert_eq!((other.now(), next.now()), (5, 3));
        assert_eq!(sizes.of(&blue, two()).now(), 2);
    }
}
