//! What is wrong in a configuration file, and where.

use std::{fmt, io, ops::Range, path::PathBuf};

/// Why a configuration file is not taken.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Something in it is wrong.
    Wrong {
        /// The file.
        path: PathBuf,
        /// All of it, by line.
        problems: Vec<Problem>,
    },
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What it is, and what would be right.
    pub text: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => {
                write!(f, "cannot read {}: {reason}", path.display())
            }
            Self::Wrong { path, problems } => {
                for (index, problem) in problems.iter().enumerate() {
                    let Problem { line, column, text } = problem;
                    let end = if index + 1 < problems.len() { "\n" } else { "" };
                    write!(f, "{}:{line}:{column}: {text}{end}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for FileError {}

impl FileError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "name a file that the host's user may read with --config",
            Self::Wrong { .. } => {
                "correct it, and check it with `replug validate`; docs/configuration.md has all keys"
            }
        }
    }
}

/// Problems of a text, as they are found.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<(usize, String)>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, at: Option<Range<usize>>, text: &str) {
        self.found
            .push((at.map_or(0, |span| span.start), text.to_owned()));
    }

    /// The line of that byte, from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_result(mut self) -> Result<(), Vec<Problem>> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort();
        let place = |(at, text): (usize, String)| {
            let before = self.text.get(..at).unwrap_or(self.text);
            let line = before.rsplit('\n').next().unwrap_or_default();
            Problem {
                line: before.matches('\n').count() + 1,
                column: line.chars().count() + 1,
                text,
            }
        };
        Err(self.found.into_iter().map(place).collect())
    }
}
