use super::*;

fn fingerprint(size: u64, mtime: i64, ctime: i64) -> Fingerprint {
    Fingerprint {
        device: 1,
        inode: 1,
        size,
        mtime_ns: mtime,
        ctime_ns: ctime,
    }
}

/// What a write leaves, now or at a later step.
fn written(size: u64, step: i64) -> Look {
    let at = young() + step;
    present(fingerprint(size, at, at))
}

fn present(fingerprint: Fingerprint) -> Look {
    Look::Present {
        fingerprint,
        names: 1,
    }
}

/// A time that is young for as long as a test runs.
fn young() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_nanos()).unwrap() + 3_600_000_000_000
}

fn known() -> Entry {
    Entry::known(present(fingerprint(10, 1, 1)))
}

#[test]
fn a_writer_that_never_closes_is_taken_for_done_when_it_pauses() {
    let mut entry = Entry::unknown();
    let now = Instant::now();
    let (half, more) = (written(5, 0), written(9, 1));
    assert_eq!(entry.on(Evidence::Written, half, now), None);
    assert_eq!(entry.deadline(), Some(now + STALLED));
    assert_eq!(entry.expire(more, now), None, "two looks must agree");
    assert_eq!(entry.expire(more, now), Some(Outcome::Changed));
}

#[test]
fn an_mtime_set_alone_is_not_waited_for_as_a_write() {
    let mut entry = known();
    let now = Instant::now();
    let look = present(fingerprint(10, 2, young()));
    assert_eq!(entry.on(Evidence::Written, look, now), None);
    assert_eq!(entry.deadline(), Some(now + QUIET));
    assert_eq!(entry.expire(look, now + QUIET), Some(Outcome::Changed));
}

#[test]
fn two_equal_looks_end_the_wait() {
    let mut entry = Entry::unknown();
    let now = Instant::now();
    let look = present(fingerprint(5, 1, young()));
    assert_eq!(entry.on(Evidence::Appeared, look, now), None);
    assert_eq!(entry.deadline(), Some(now + QUIET));
    assert_eq!(entry.expire(look, now), Some(Outcome::Changed));
    assert_eq!(entry.deadline(), None);
}

#[test]
fn a_second_name_or_age_vouches_for_a_file() {
    let now = Instant::now();
    let young = fingerprint(5, 1, young());
    let linked = Look::Present {
        fingerprint: young,
        names: 2,
    };
    assert_eq!(
        known().on(Evidence::Appeared, linked, now),
        Some(Outcome::Changed)
    );
    assert_eq!(known().on(Evidence::Appeared, present(young), now), None);
    let old = present(fingerprint(5, 1, 1));
    assert_eq!(
        known().on(Evidence::Appeared, old, now),
        Some(Outcome::Changed)
    );
}

#[test]
fn an_empty_file_is_waited_for_whatever_the_event_says() {
    let now = Instant::now();
    let empty = present(fingerprint(0, 2, 2));
    for evidence in [Evidence::Done, Evidence::Appeared, Evidence::Touched] {
        let mut entry = known();
        assert_eq!(entry.on(evidence, empty, now), None);
        assert!(entry.deadline().is_some());
    }
}

#[test]
fn the_same_bytes_twice_are_reported_once_and_permissions_never() {
    let now = Instant::now();
    let mut entry = known();
    let new = present(fingerprint(10, 2, 2));
    assert_eq!(entry.on(Evidence::Done, new, now), Some(Outcome::Changed));
    assert_eq!(entry.on(Evidence::Done, new, now), None);
    let chmodded = present(fingerprint(10, 2, 3));
    assert_eq!(entry.on(Evidence::Touched, chmodded, now), None);
    assert_eq!(entry.on(Evidence::Done, chmodded, now), None);
}

#[test]
fn bytes_written_under_an_old_mtime_are_a_change() {
    let now = Instant::now();
    let mut entry = known();
    let look = present(fingerprint(10, 1, 2));
    assert_eq!(entry.on(Evidence::Written, look, now), None);
    assert_eq!(entry.on(Evidence::Done, look, now), Some(Outcome::Changed));
}

#[test]
fn a_second_write_within_the_clocks_step_is_a_change() {
    let now = Instant::now();
    let look = present(fingerprint(10, young(), young()));
    let mut entry = Entry::unknown();
    assert_eq!(entry.on(Evidence::Done, look, now), Some(Outcome::Changed));
    assert_eq!(entry.on(Evidence::Done, look, now), None);
    assert_eq!(entry.on(Evidence::Written, look, now), None);
    assert_eq!(entry.on(Evidence::Done, look, now), Some(Outcome::Changed));
}

#[test]
fn a_missing_file_is_removed_only_after_the_grace_period() {
    let now = Instant::now();
    let mut entry = known();
    assert_eq!(entry.on(Evidence::Appeared, Look::Missing, now), None);
    assert_eq!(entry.deadline(), Some(now + GRACE));
    // More events while it is missing do not put the end off.
    assert_eq!(
        entry.on(Evidence::Appeared, Look::Missing, now + QUIET),
        None
    );
    assert_eq!(entry.deadline(), Some(now + GRACE));
    assert_eq!(
        entry.expire(Look::Missing, now + GRACE),
        Some(Outcome::Removed)
    );
    assert!(entry.is_void());
}

#[test]
fn what_cannot_be_looked_at_is_not_removed() {
    let now = Instant::now();
    let mut entry = known();
    assert_eq!(entry.on(Evidence::Appeared, Look::Unknown, now), None);
    assert_eq!(entry.deadline(), None);
    entry.on(Evidence::Appeared, Look::Missing, now);
    assert_eq!(entry.expire(Look::Unknown, now + GRACE), None);
    assert!(!entry.is_void());
}
