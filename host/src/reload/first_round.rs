//! The first round of loading.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use super::load::Attempt;
use crate::id::ArtifactPath;

/// What the first round of loading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstRound {
    /// Apps that serve.
    pub serving: usize,
    /// Artifacts that were refused.
    pub refused: usize,
}

/// Results of the first round, which are taken in the order of the command line: which of two
/// apps gets a mount must not depend on which loads faster.
#[derive(Debug)]
pub(super) struct FirstRoundState {
    order: VecDeque<ArtifactPath>,
    results: HashMap<ArtifactPath, Attempt>,
    refused: usize,
    done: Option<oneshot::Sender<FirstRound>>,
}

impl FirstRoundState {
    pub(super) fn new(order: VecDeque<ArtifactPath>, done: oneshot::Sender<FirstRound>) -> Self {
        Self {
            order,
            results: HashMap::new(),
            refused: 0,
            done: Some(done),
        }
    }

    /// How many are before that one, which has not had its turn.
    pub(super) fn place(&self, path: &ArtifactPath) -> Option<usize> {
        self.order.iter().position(|other| other == path)
    }

    /// Keeps a result until its turn; gives it back when it is not of the first round.
    pub(super) fn keep(&mut self, path: &ArtifactPath, attempt: Attempt) -> Option<Attempt> {
        if !self.order.contains(path) {
            return Some(attempt);
        }
        self.results.insert(path.clone(), attempt);
        None
    }

    /// The next result whose turn it is.
    pub(super) fn next(&mut self) -> Option<(ArtifactPath, Attempt)> {
        let attempt = self.results.remove(self.order.front()?)?;
        self.refused += usize::from(attempt.result.is_err());
        Some((self.order.pop_front()?, attempt))
    }

    /// Whether each of the wanted has been tried.
    pub(super) fn is_over(&self) -> bool {
        self.done.is_none()
    }

    /// Says that it is over, once it is.
    pub(super) fn finish(&mut self, serving: usize) {
        if self.order.is_empty()
            && let Some(done) = self.done.take()
        {
            let _ = done.send(FirstRound {
                serving,
                refused: self.refused,
            });
        }
    }
}
