//! When a worker has done its part, sleeps, or hangs.

use std::time::{Duration, Instant};

use crate::{config::GroupOptions, loader::StopReason};

/// What is known of one worker's life, and when it is to end.
#[derive(Debug)]
pub(super) struct Wear {
    /// So many requests, and another takes its place.
    requests: Option<u64>,
    /// At that time another takes its place.
    until: Option<Instant>,
    /// How many requests it had been given when it was looked at, and since when.
    quiet: (u64, Instant),
    /// A question that its HTTP threads have not answered yet, and when it was put.
    asked: Option<(u64, Instant)>,
    next: u64,
}

/// What is to be done with a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Another is to take its place.
    Renewal(StopReason),
    /// It is to end until there is a request.
    Sleep,
    /// It is asked whether its HTTP threads turn.
    Question(u64),
    /// They do not: it is to be killed.
    Hangs,
}

impl Wear {
    pub(super) fn new(options: &GroupOptions, now: Instant) -> Self {
        let requests = Some(options.max_requests).filter(|most| *most > 0);
        let interval = Some(options.restart_interval).filter(|time| !time.is_zero());
        Self {
            // Less up to a tenth, so that workers that began together do not end together.
            requests: requests.map(|most| most - fastrand::u64(..=most / 10)),
            until: interval
                .and_then(|time| now.checked_add(time.mul_f64(1.0 - fastrand::f64() / 10.0))),
            quiet: (0, now),
            asked: None,
            next: 0,
        }
    }

    /// Its HTTP threads have answered.
    pub(super) fn turned(&mut self, turn: u64) {
        if self.asked.is_some_and(|(asked, _)| asked == turn) {
            self.asked = None;
        }
    }

    /// Looks at a worker that was given so many requests, and holds so many.
    pub(super) fn look(
        &mut self,
        options: &GroupOptions,
        taken: u64,
        holds: usize,
        now: Instant,
    ) -> Due {
        if self.requests.is_some_and(|most| taken >= most) {
            return Due::Renewal(StopReason::MaxRequests);
        }
        if self.until.is_some_and(|until| until <= now) {
            return Due::Renewal(StopReason::MaxAge);
        }
        if taken != self.quiet.0 || holds > 0 {
            self.quiet = (taken, now);
        }
        let quiet = now.duration_since(self.quiet.1);
        if is_over(quiet, options.inactivity_timeout) {
            return Due::Sleep;
        }
        match self.asked {
            Some((_, since)) if is_over(now.duration_since(since), options.hang_timeout) => {
                Due::Hangs
            }
            Some(_) => Due::Nothing,
            None if options.hang_timeout.is_zero() => Due::Nothing,
            None => {
                self.next += 1;
                self.asked = Some((self.next, now));
                Due::Question(self.next)
            }
        }
    }
}

/// How often workers have to be looked at for these options.
pub(super) fn interval(options: &GroupOptions) -> Duration {
    let times = [
        options.restart_interval,
        options.inactivity_timeout,
        options.hang_timeout,
    ];
    let set = times.into_iter().filter(|time| !time.is_zero());
    let shortest = set.min().unwrap_or(LONGEST);
    let most = if options.max_requests > 0 {
        BY_REQUESTS
    } else {
        LONGEST
    };
    (shortest / 10).clamp(SHORTEST, most)
}

/// How often workers have to say what they took themselves; `None`: it does not matter.
/// `has_most_requests`: an app of theirs is replaced after so many.
pub(super) fn counting(options: &GroupOptions, has_most_requests: bool) -> Option<Duration> {
    let most = |time: Duration| {
        if has_most_requests {
            time.min(BY_REQUESTS)
        } else {
            time
        }
    };
    let matters = options.max_requests > 0 || !options.inactivity_timeout.is_zero();
    let matters = matters || has_most_requests;
    (matters && !options.listen.is_empty()).then(|| most(interval(options)))
}

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(5);
/// Requests are not waited for by time.
const BY_REQUESTS: Duration = Duration::from_millis(100);

fn is_over(time: Duration, limit: Duration) -> bool {
    !limit.is_zero() && time >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> GroupOptions {
        GroupOptions {
            hang_timeout: Duration::ZERO,
            ..GroupOptions::default()
        }
    }

    #[test]
    fn each_limit_holds_whatever_the_others_are() {
        let now = Instant::now();
        let later = now + Duration::from_secs(10);
        let none = options();
        assert_eq!(
            Wear::new(&none, now).look(&none, 1_000, 1, later),
            Due::Nothing
        );
        let requests = GroupOptions {
            max_requests: 5,
            ..options()
        };
        let mut wear = Wear::new(&requests, now);
        assert_eq!(wear.look(&requests, 4, 9, later), Due::Nothing);
        let due = Due::Renewal(StopReason::MaxRequests);
        assert_eq!(wear.look(&requests, 5, 9, now), due);
        let age = GroupOptions {
            restart_interval: Duration::from_secs(10),
            ..options()
        };
        let mut wear = Wear::new(&age, now);
        assert_eq!(wear.look(&age, 0, 0, now), Due::Nothing);
        let due = Due::Renewal(StopReason::MaxAge);
        assert_eq!(wear.look(&age, 0, 0, later), due);
    }

    #[test]
    fn it_sleeps_when_it_holds_nothing_and_was_given_nothing_for_so_long() {
        let sleepy = GroupOptions {
            inactivity_timeout: Duration::from_secs(2),
            ..options()
        };
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut wear = Wear::new(&sleepy, now);
        assert_eq!(wear.look(&sleepy, 3, 0, at(1)), Due::Nothing);
        assert_eq!(wear.look(&sleepy, 3, 1, at(2)), Due::Nothing);
        assert_eq!(wear.look(&sleepy, 3, 0, at(3)), Due::Nothing);
        assert_eq!(wear.look(&sleepy, 3, 0, at(4)), Due::Sleep);
    }

    #[test]
    fn it_hangs_when_it_does_not_answer_in_time() {
        let watched = GroupOptions {
            hang_timeout: Duration::from_secs(2),
            ..options()
        };
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut wear = Wear::new(&watched, now);
        assert_eq!(wear.look(&watched, 0, 0, at(0)), Due::Question(1));
        assert_eq!(wear.look(&watched, 0, 0, at(1)), Due::Nothing);
        wear.turned(1);
        assert_eq!(wear.look(&watched, 0, 0, at(2)), Due::Question(2));
        wear.turned(1);
        assert_eq!(wear.look(&watched, 0, 0, at(3)), Due::Nothing);
        assert_eq!(wear.look(&watched, 0, 0, at(4)), Due::Hangs);
    }
}
