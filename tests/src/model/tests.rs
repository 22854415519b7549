use super::*;
use crate::deploy::Way;

const WRITE: Op = Op::Write(Way::Rename);
const BREAK: Op = Op::Break(Fault::Text, Way::Rename);
const FIX: Op = Op::Fix(Way::Rename);

/// What a host that does all that it must shows after a step.
fn perfect(world: &World, step: &Step) -> Seen {
    let Some(version) = step.after else {
        return Seen::default();
    };
    let generation = match step.fresh() {
        Fresh::Yes => world.generation + 1,
        Fresh::No => world.generation,
    };
    Seen {
        version: Some(version),
        generation: Some(generation),
        count: Some(world.count),
        registered: entries_of(version),
        schedules: schedules_of(version),
    }
}

/// Applies them, and compares how each ends and what serves then.
fn check(named: bool, steps: &[(Op, End, Option<Version>)]) {
    let mut world = World::new(named);
    for (number, (op, end, serving)) in steps.iter().enumerate() {
        let step = world.apply(*op);
        assert_eq!((step.end, step.after), (*end, *serving), "{number}: {op:?}");
        assert_eq!(world.serving(), *serving);
        world.saw(&step, &perfect(&world, &step)).unwrap();
    }
}

#[test]
fn a_broken_file_leaves_what_serves_and_a_fixed_one_is_taken() {
    check(
        false,
        &[
            (BREAK, End::Refused, None),
            (WRITE, End::Serving, Some(1)),
            (BREAK, End::Refused, Some(1)),
            (Op::Touch, End::Refused, Some(1)),
            (Op::Reload, End::Denied, Some(1)),
            (FIX, End::Serving, Some(1)),
            (Op::Touch, End::Serving, Some(1)),
            (WRITE, End::Serving, Some(2)),
            (Op::Restore(1), End::Serving, Some(1)),
            (Op::Restore(9), End::Nothing, Some(1)),
        ],
    );
}

#[test]
fn what_was_rolled_back_is_not_taken_again_until_somebody_asks() {
    check(
        false,
        &[
            (WRITE, End::Serving, Some(1)),
            (Op::RollBack, End::Denied, Some(1)),
            (WRITE, End::Serving, Some(2)),
            (Op::RollBack, End::Serving, Some(1)),
            (Op::Touch, End::Refused, Some(1)),
            (Op::Reload, End::Serving, Some(2)),
            // It was asked for.
            (Op::Touch, End::Serving, Some(2)),
            (Op::RollBack, End::Serving, Some(1)),
            (WRITE, End::Serving, Some(3)),
            (Op::Restore(1), End::Refused, Some(3)),
        ],
    );
}

#[test]
fn what_is_pinned_serves_whatever_becomes_of_the_file() {
    check(
        false,
        &[
            (Op::Pin(0), End::Denied, None),
            (WRITE, End::Serving, Some(1)),
            (WRITE, End::Serving, Some(2)),
            (Op::Pin(1), End::Serving, Some(1)),
            (WRITE, End::Noted, Some(1)),
            (Op::RollBack, End::Denied, Some(1)),
            (Op::Reload, End::Serving, Some(1)),
            (Op::Remove, End::Noted, Some(1)),
            (Op::Unpin, End::Unmounted, None),
            (Op::Unpin, End::Denied, None),
        ],
    );
    check(
        false,
        &[
            (WRITE, End::Serving, Some(1)),
            (Op::Pin(0), End::Done, Some(1)),
            (Op::Unpin, End::Done, Some(1)),
            (Op::Pin(0), End::Done, Some(1)),
            (BREAK, End::Noted, Some(1)),
            (Op::Unpin, End::Refused, Some(1)),
        ],
    );
}

#[test]
fn a_named_app_is_remembered_without_its_file_and_another_is_not() {
    let ops = |pinned: End, then: Version| {
        [
            (WRITE, End::Serving, Some(1)),
            (WRITE, End::Serving, Some(2)),
            (Op::RollBack, End::Serving, Some(1)),
            (Op::Remove, End::Unmounted, None),
            (Op::Remove, End::Nothing, None),
            // Who puts it there again wants it, though it was rolled back.
            (FIX, End::Serving, Some(2)),
            (Op::Pin(1), pinned, Some(then)),
        ]
    };
    // Kept is 1 as well.
    check(true, &ops(End::Serving, 1));
    check(false, &ops(End::Nothing, 2));
}

#[test]
fn a_host_that_is_killed_forgets_all_but_the_file_and_what_was_written_of_the_state() {
    let mut world = World::new(false);
    let quiet = |world: &mut World, op: Op| {
        let step = world.apply(op);
        world.saw(&step, &perfect(world, &step)).unwrap();
    };
    quiet(&mut world, WRITE);
    world.counted(vec![2, 1, 3]).unwrap();
    quiet(&mut world, WRITE);
    world.retired();
    world.counted(vec![4, 5]).unwrap();
    quiet(&mut world, Op::Pin(0));
    let before = world.clone();
    for (count, fine) in [(2, false), (3, true), (4, true), (5, true), (6, false)] {
        let mut world = before.clone();
        let step = world.apply(Op::Kill);
        let seen = Seen {
            count: Some(count),
            generation: Some(1),
            ..perfect(&world, &step)
        };
        assert_eq!(world.saw(&step, &seen).is_ok(), fine, "{count}");
        if fine {
            assert_eq!((world.count(), world.serving()), (count, Some(3)));
            // Nothing is pinned any more, and there is nothing to go back to.
            assert_eq!(world.apply(Op::RollBack).end, End::Denied);
            assert_eq!(world.apply(WRITE).end, End::Serving);
        }
    }
}

#[test]
fn some_generation_serves_whenever_one_could() {
    for seed in 0..500 {
        let mut world = World::new(seed % 2 == 0);
        for op in plan(seed, 80) {
            let step = world.apply(op);
            world.saw(&step, &perfect(&world, &step)).unwrap();
            let why_not = match world.file {
                File::Absent | File::Broken(_) => true,
                File::Whole(version) => world.bad.contains(&version),
            };
            assert!(step.after.is_some() || why_not, "{seed}: {step:?}");
            // Only its removal ends an app.
            let may_end = matches!(step.end, End::Unmounted);
            let ended = step.before.is_some() && step.after.is_none();
            assert_eq!(ended, may_end, "{seed}: {step:?}");
            assert!(world.pin.is_none() || world.pin == step.after, "{seed}");
        }
    }
}

#[test]
fn whatever_is_not_as_it_must_be_is_found() {
    let mut found = 0;
    for seed in 0..100 {
        let mut world = World::new(false);
        for op in plan(seed, 40) {
            let step = world.apply(op);
            let right = perfect(&world, &step);
            let wrongs: [fn(&mut Seen); 8] = [
                |seen| seen.version = seen.version.map_or(Some(1), |_| None),
                |seen| seen.version = seen.version.map(|version| version + 1),
                |seen| seen.generation = seen.generation.map(|number| number - 1),
                |seen| seen.count = seen.count.map(|count| count + 1),
                |seen| seen.count = seen.count.map(|_| u64::MAX),
                |seen| seen.registered.extend([("more".to_owned(), 0)]),
                |seen| seen.registered.extend([("half".to_owned(), 7)]),
                |seen| seen.schedules.extend(["more".to_owned()]),
            ];
            for (number, make_wrong) in wrongs.iter().enumerate() {
                let mut wrong = right.clone();
                make_wrong(&mut wrong);
                if wrong != right {
                    let error = world.clone().saw(&step, &wrong);
                    assert!(error.is_err(), "{seed}: {number} of {step:?}");
                    found += 1;
                }
            }
            world.saw(&step, &right).unwrap();
        }
    }
    assert!(found > 10_000, "{found}");
}

#[test]
fn counts_that_are_lost_or_doubled_are_found() {
    let mut world = World::new(false);
    world.apply(WRITE);
    world.counted(vec![1, 2]).unwrap();
    for wrong in [vec![2], vec![3, 3], vec![4], vec![3, 5]] {
        assert!(world.clone().counted(wrong.clone()).is_err(), "{wrong:?}");
    }
    world.counted(vec![]).unwrap();
    world.counted(vec![4, 3]).unwrap();
    assert_eq!(world.count(), 4);
}

#[test]
fn answers_of_the_past_of_nobody_or_of_another_version_are_found() {
    let mut world = World::new(false);
    let first = world.apply(WRITE);
    first.check_answers(&[None, None, Some(1)]).unwrap();
    let second = world.apply(WRITE);
    let check = |step: &Step, answers: &[Option<Version>], part: &str| {
        let error = step.check_answers(answers).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    second.check_answers(&[Some(1), Some(1), Some(2)]).unwrap();
    check(&second, &[Some(1), Some(2), Some(1)], "answered again");
    check(&second, &[Some(1), None, Some(2)], "nothing answered");
    check(&second, &[Some(3)], "no part");
    let broken = world.apply(BREAK);
    check(&broken, &[Some(2), None], "nothing answered");
    let killed = world.apply(Op::Kill);
    killed
        .check_answers(&[Some(2), None, Some(3), None, Some(3)])
        .unwrap();
    check(&killed, &[Some(3), Some(2)], "answered again");
    let gone = world.apply(Op::Remove);
    gone.check_answers(&[Some(3), None]).unwrap();
    check(&gone, &[None, Some(3)], "answered again");
}
