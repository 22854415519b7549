//! What has been loaded for an app, and what can be loaded again.

use std::{collections::VecDeque, io, path::PathBuf, time::SystemTime};

use serde::{Deserialize, Serialize};
use tempfile::TempPath;

use super::load::Times;
use crate::{
    artifact::StagingArea,
    id::{Digest, GenerationId},
};

/// Artifacts that are kept, the one that serves among them.
const ARTIFACTS: usize = 3;
/// Attempts that are remembered.
const ATTEMPTS: usize = 20;

/// An app's past.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The newest last.
    attempts: VecDeque<Attempted>,
    /// The one that served last at the end.
    kept: VecDeque<Kept>,
}

/// A copy of an artifact that has served.
#[derive(Debug)]
struct Kept {
    digest: Digest,
    file: TempPath,
}

/// An attempt to load something, and what it came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attempted {
    pub(super) generation: GenerationId,
    /// `None`: the file could not be read.
    pub(super) digest: Option<Digest>,
    pub(super) at: SystemTime,
    pub(super) cause: &'static str,
    pub(super) outcome: Outcome,
    pub(super) times: Times,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It serves, or has served.
    Served,
    /// It was not taken.
    Refused {
        /// Why.
        reason: String,
    },
    /// It served, and was replaced by one before it.
    RolledBack {
        /// Why.
        reason: String,
    },
}

impl History {
    pub(super) fn note(&mut self, attempted: Attempted) {
        if self.attempts.len() == ATTEMPTS {
            self.attempts.pop_front();
        }
        self.attempts.push_back(attempted);
    }

    /// That generation was rolled back.
    pub(super) fn rolled_back(&mut self, generation: GenerationId, why: &str) {
        let mut attempts = self.attempts.iter_mut().rev();
        if let Some(found) = attempts.find(|it| it.generation == generation) {
            found.outcome = Outcome::RolledBack {
                reason: why.to_owned(),
            };
        }
    }

    /// Keeps a copy of what serves now.
    pub(super) fn keep(
        &mut self,
        digest: Digest,
        staged: &std::path::Path,
        area: &StagingArea,
    ) -> io::Result<()> {
        if let Some(at) = self.kept.iter().position(|kept| kept.digest == digest) {
            // The order is that of serving.
            if let Some(kept) = self.kept.remove(at) {
                self.kept.push_back(kept);
            }
            return Ok(());
        }
        let file = area.keep(staged)?;
        self.kept.push_back(Kept { digest, file });
        if self.kept.len() > ARTIFACTS {
            self.kept.pop_front();
        }
        Ok(())
    }

    /// The copy of that artifact.
    pub(super) fn file(&self, digest: &Digest) -> Option<PathBuf> {
        let mut kept = self.kept.iter();
        kept.find(|kept| kept.digest == *digest)
            .map(|kept| kept.file.to_path_buf())
    }

    /// The artifact that served before `now`, is not that, and none of the `bad`: the newest such.
    pub(super) fn before(&self, now: &Digest, bad: &VecDeque<Digest>) -> Option<Digest> {
        let mut kept = self.kept();
        kept.find(|kept| kept != now && !bad.contains(kept))
    }

    /// Those artifacts whose digest begins so.
    pub(super) fn named(&self, prefix: &str) -> Vec<Digest> {
        let kept = self.kept.iter().map(|kept| kept.digest);
        kept.filter(|digest| digest.to_string().starts_with(prefix))
            .collect()
    }

    /// All artifacts that are kept, the newest first.
    pub(super) fn kept(&self) -> impl Iterator<Item = Digest> {
        self.kept.iter().rev().map(|kept| kept.digest)
    }

    /// All attempts that are remembered, the newest first.
    pub(super) fn attempts(&self) -> impl Iterator<Item = &Attempted> {
        self.attempts.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: u8) -> Digest {
        blake3::hash(&[of]).into()
    }

    #[test]
    fn the_last_three_artifacts_are_kept_and_one_that_serves_again_is_the_newest() {
        let area = StagingArea::new(None).unwrap();
        let mut history = History::default();
        let keep = |history: &mut History, number: u8| {
            let staged = area.path().join(format!("{number}.so"));
            std::fs::write(&staged, [number]).unwrap();
            history.keep(digest(number), &staged, &area).unwrap();
            // As when it is unloaded.
            std::fs::remove_file(staged).unwrap();
        };
        for number in 1..=4 {
            keep(&mut history, number);
        }
        assert_eq!(history.file(&digest(1)), None);
        let second = history.file(&digest(2)).unwrap();
        assert_eq!(std::fs::read(second).unwrap(), [2]);
        let good = VecDeque::new();
        assert_eq!(history.before(&digest(4), &good), Some(digest(3)));
        let bad = VecDeque::from([digest(3)]);
        assert_eq!(history.before(&digest(4), &bad), Some(digest(2)));
        keep(&mut history, 2);
        assert_eq!(history.before(&digest(2), &good), Some(digest(4)));
        keep(&mut history, 5);
        assert_eq!(
            history.kept().collect::<Vec<_>>(),
            [digest(5), digest(2), digest(4)]
        );
        let prefix = digest(2).short();
        assert_eq!(history.named(&prefix), [digest(2)]);
    }
}
