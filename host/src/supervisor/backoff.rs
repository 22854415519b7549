//! How long to wait before a worker that died is started again.

use std::time::{Duration, Instant};

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);
/// The longest, for one that died before it was ready.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest, for one that had been ready: what killed it was a request, or somebody outside.
const LONGEST_READY: Duration = Duration::from_secs(1);
/// Who lived so long has not died of its start.
const SOUND: Duration = Duration::from_secs(10);
/// So many deaths before it was ready, one after another, and it is not started again.
pub(super) const MOST: u32 = 5;

/// The deaths of one worker of a crew, and of those in its place.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Deaths without a sound life between them.
    deaths: u32,
    /// Of these, those before it was ready, the last ones.
    unready: u32,
}

impl Backoff {
    /// It died; it had been ready at that time, if it had. Says how long to wait, and `None` if it
    /// is not to be started again.
    pub(super) fn died(&mut self, ready: Option<Instant>) -> Option<Duration> {
        let longest = match ready {
            Some(ready) => {
                self.unready = 0;
                if ready.elapsed() >= SOUND {
                    self.deaths = 0;
                }
                LONGEST_READY
            }
            None => {
                self.unready += 1;
                LONGEST
            }
        };
        if self.unready >= MOST {
            return None;
        }
        let wait = FIRST.saturating_mul(1 << self.deaths.min(16)).min(longest);
        self.deaths += 1;
        // Up to a half more, so that workers that died together do not start together.
        Some(wait.mul_f64(1.0 + fastrand::f64() / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_those_who_never_get_ready_are_given_up() {
        let mut backoff = Backoff::default();
        let now = Some(Instant::now());
        let waits: Vec<_> = (0..12).map(|_| backoff.died(now).unwrap()).collect();
        assert!(waits[0] >= FIRST && waits[0] < FIRST * 2, "{waits:?}");
        assert!(waits[3] >= FIRST * 8, "{waits:?}");
        let bounds = LONGEST_READY..=LONGEST_READY * 3 / 2;
        assert!(bounds.contains(&waits[11]), "{waits:?}");
        for _ in 1..MOST {
            let wait = backoff.died(None).unwrap();
            assert!((LONGEST..=LONGEST * 3 / 2).contains(&wait), "{wait:?}");
        }
        assert_eq!(backoff.died(None), None);
    }

    #[test]
    fn a_sound_life_and_readiness_are_held_to_its_credit() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        for _ in 0..6 {
            backoff.died(Some(now));
        }
        let Some(long_ago) = now.checked_sub(SOUND) else {
            return;
        };
        assert!(backoff.died(Some(long_ago)).unwrap() < FIRST * 2);
        for _ in 1..MOST {
            backoff.died(None);
        }
        assert!(backoff.died(Some(now)).is_some());
        assert!(backoff.died(None).is_some());
    }
}
