//! Names that operators give.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// Why a text cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("{of} name cannot be empty; give it letters, digits, `-`, `_` or `.`")]
    Empty {
        /// Whose it would be, as in "an app's".
        of: &'static str,
    },
    /// It is `.` or `..`.
    #[error("`{name}` cannot be {of} name, since it means a directory; add a letter")]
    Dots {
        /// Whose it would be.
        of: &'static str,
        /// The name.
        name: Box<str>,
    },
    /// A character in it is not allowed.
    #[error(
        "`{name}` cannot be {of} name because of {found:?}; use letters, digits, `-`, `_` and `.` \
         only"
    )]
    Character {
        /// Whose it would be.
        of: &'static str,
        /// The name.
        name: Box<str>,
        /// The first character that is not allowed.
        found: char,
    },
}

/// What is a name for one is a name for the other, too.
fn check(of: &'static str, name: &str) -> Result<Box<str>, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { of });
    }
    // As a segment of a URL or a path these two mean a place, and are resolved away.
    if name == "." || name == ".." {
        let name = name.into();
        return Err(NameError::Dots { of, name });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    match name.chars().find(|&c| !allowed(c)) {
        Some(found) => Err(NameError::Character {
            of,
            name: name.into(),
            found,
        }),
        None => Ok(name.into()),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $Name:ident, $of:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $Name(Box<str>);

        impl $Name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $Name {
            type Error = NameError;

            fn try_from(name: &str) -> Result<Self, NameError> {
                check($of, name).map(Self)
            }
        }

        impl FromStr for $Name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::try_from(name)
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Serialize for $Name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    )*};
}

names! {
    /// An app's name: one or more of `A-Z a-z 0-9 _ . -`, so that it can be a segment of a mount,
    /// a file's name and a metric's label as it is.
    AppName, "an app's";
    /// The name of a process group. Which texts are names is as with [`AppName`], so that it can
    /// be a socket's name and a metric's label as it is.
    GroupName, "a group's";
}

impl GroupName {
    /// The group that `--processes` makes.
    #[must_use]
    pub fn usual() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_a_mount_are_taken() {
        for name in ["hello", "my-app_2.0", "A", "..."] {
            assert_eq!(AppName::try_from(name).unwrap().as_str(), name);
            assert_eq!(GroupName::try_from(name).unwrap().as_str(), name);
        }
        let usual = GroupName::usual();
        assert_eq!(usual.as_str().parse(), Ok(usual));
    }

    #[test]
    fn other_names_are_refused_with_a_remedy() {
        for name in ["", ".", "..", "a/b", "ä", "a b", "a\0"] {
            let message = name.parse::<AppName>().unwrap_err().to_string();
            assert!(message.contains("an app's name"), "{message}");
            assert!(message.contains("; "), "{message}");
            let message = name.parse::<GroupName>().unwrap_err().to_string();
            assert!(message.contains("a group's name"), "{message}");
        }
    }
}
