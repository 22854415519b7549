//! What can be done to an app, and random sequences of it.

use crate::deploy::Way;

/// Something that is done to an app from outside.
///
/// Each can be done whatever was done before, so that a sequence stays one when some of it is left
/// out; where there is nothing to do it to, it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A version that was never there before is put in place.
    Write(Way),
    /// The file gets a new time, and keeps its bytes.
    Touch,
    /// The file is removed.
    Remove,
    /// A version that was there before is put back, with the time that it had then: so many before
    /// the newest.
    Restore(u64),
    /// A file that cannot be served is put in place.
    Break(Fault, Way),
    /// The newest version takes the place of what is there.
    Fix(Way),
    /// `replug rollback`
    RollBack,
    /// `replug pin`: what serves now (0), or what served so many before it.
    Pin(usize),
    /// `replug unpin`
    Unpin,
    /// `replug reload`
    Reload,
    /// So many requests that change the app's state.
    Count(u64),
    /// A new version is put in place, the host is killed while it loads it, and is started again.
    Kill,
}

/// Why a file cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends in the middle.
    CutShort,
    /// It is no library at all.
    Text,
    /// It speaks an ABI that is not yet.
    OtherAbi,
    /// Its setup function returns an error.
    SetupFails,
    /// Its setup function panics.
    SetupPanics,
    /// It refuses the state of the one before.
    RefusesState,
}

impl Fault {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::CutShort,
        Self::Text,
        Self::OtherAbi,
        Self::SetupFails,
        Self::SetupPanics,
        Self::RefusesState,
    ];
}

type Make = fn(&mut fastrand::Rng) -> Op;

/// How often each comes up, of 100.
const WEIGHTS: [(u32, Make); 12] = [
    (22, |random| Op::Write(way(random))),
    (9, |_| Op::Touch),
    (7, |_| Op::Remove),
    (9, |random| Op::Restore(random.u64(1..4))),
    (11, |random| {
        Op::Break(one_of(random, &Fault::ALL), way(random))
    }),
    (7, |random| Op::Fix(way(random))),
    (8, |_| Op::RollBack),
    (5, |random| Op::Pin(random.usize(..3))),
    (7, |_| Op::Unpin),
    (6, |_| Op::Reload),
    (7, |random| Op::Count(random.u64(1..6))),
    (2, |_| Op::Kill),
];

fn one_of<T: Copy>(random: &mut fastrand::Rng, all: &[T]) -> T {
    all[random.usize(..all.len())]
}

fn way(random: &mut fastrand::Rng) -> Way {
    one_of(random, &Way::ALL)
}

/// `len` operations, the same for the same seed. The first puts a version in place.
#[must_use]
pub fn plan(seed: u64, len: usize) -> Vec<Op> {
    let mut random = fastrand::Rng::with_seed(seed);
    let all: u32 = WEIGHTS.iter().map(|(weight, _)| weight).sum();
    let mut next = || {
        let mut left = random.u32(..all);
        let chosen = WEIGHTS.iter().find(|(weight, _)| {
            let found = left < *weight;
            left = left.saturating_sub(*weight);
            found
        });
        let (_, make) = chosen.expect("less than the sum of all");
        make(&mut random)
    };
    let rest = std::iter::repeat_with(&mut next).take(len.saturating_sub(1));
    std::iter::once(Op::Write(Way::Rename))
        .chain(rest)
        .collect()
}

/// The shortest sequence that still fails which can be had from `ops` by leaving things out: in
/// halves, in quarters, and so on, down to one by one. `fails` is asked of each.
pub async fn shortest(mut ops: Vec<Op>, mut fails: impl AsyncFnMut(&[Op]) -> bool) -> Vec<Op> {
    let mut piece = ops.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..ops.len().min(at + piece));
            if fails(&fewer).await {
                ops = fewer;
            } else {
                at += piece;
            }
        }
        // One by one until nothing more can go.
        piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
    }
    ops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_plan_and_other_seeds_have_others() {
        assert_eq!(plan(7, 50), plan(7, 50));
        assert_ne!(plan(7, 50), plan(8, 50));
        assert_eq!(plan(7, 50).len(), 50);
        assert_eq!(plan(7, 1), [Op::Write(Way::Rename)]);
    }

    #[test]
    fn each_operation_comes_up_about_as_often_as_its_weight_says() {
        let ops = plan(1, 10_000);
        let kind = |op: &Op| format!("{op:?}").split('(').next().unwrap().to_owned();
        let mut kinds: Vec<String> = ops.iter().map(kind).collect();
        let kills = kinds.iter().filter(|kind| *kind == "Kill").count();
        assert!((100..=300).contains(&kills), "{kills}");
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), WEIGHTS.len(), "{kinds:?}");
    }

    #[tokio::test]
    async fn what_does_not_matter_for_a_failure_is_left_out() {
        let mut ops = plan(3, 40);
        ops.retain(|op| !matches!(op, Op::Kill | Op::RollBack));
        ops.insert(9, Op::RollBack);
        ops.insert(30, Op::Kill);
        let fails = |ops: &[Op]| {
            let rolled_back = ops.iter().position(|op| *op == Op::RollBack);
            let killed = ops.iter().position(|op| *op == Op::Kill);
            rolled_back.is_some() && rolled_back < killed
        };
        let shortest = shortest(ops, async |ops: &[Op]| fails(ops)).await;
        assert_eq!(shortest, [Op::RollBack, Op::Kill]);
    }
}
