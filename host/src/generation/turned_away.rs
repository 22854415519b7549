//! Requests that are turned away, and how often that is said: whoever is flooded has his log spared.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long it takes from one word on it to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts those of which nothing was said yet.
#[derive(Debug, Default)]
pub(super) struct TurnedAway(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    unsaid: u64,
    said: Option<Instant>,
}

impl TurnedAway {
    /// One more is. Returns of how many it is to be said now, if it is.
    pub(super) fn one_more(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.unsaid += 1;
        let is_soon = |said: Instant| now.saturating_duration_since(said) < PAUSE;
        if state.said.is_some_and(is_soon) {
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_the_others_once_a_second() {
        let turned_away = TurnedAway::default();
        let start = Instant::now();
        let after = |millis| turned_away.one_more(start + Duration::from_millis(millis));
        assert_eq!(after(0), Some(1));
        assert_eq!(after(1), None);
        assert_eq!(after(999), None);
        assert_eq!(after(1000), Some(3));
        assert_eq!(after(1999), None);
        assert_eq!(after(60_000), Some(2));
    }
}
