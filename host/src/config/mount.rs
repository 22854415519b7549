//! Where an app stands in the host's tree of paths.

use std::{fmt, str::FromStr};

use crate::id::AppName;

/// `/`, or a path such as `/hello` or `/shop/cart`: no slash at its end, no empty segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Mount(String);

/// Why a text is no mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// It does not begin with a slash.
    #[error("mount `{0}` must begin with `/`, as in `/hello`")]
    Relative(String),
    /// It has characters that a request's path cannot have as they are.
    #[error(
        "mount `{0}` may have letters, digits, `/` and -._~ only, and no empty or dot segments"
    )]
    Characters(String),
}

impl Mount {
    /// The whole tree.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// `/NAME`.
    #[must_use]
    pub fn of(name: &AppName) -> Self {
        Self(format!("/{name}"))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is left of a request's path below this mount, without the slash between the two;
    /// `None` when the path is not below it.
    #[must_use]
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.0 == "/" {
            return Some(path);
        }
        let rest = path.strip_prefix(&self.0)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

impl FromStr for Mount {
    type Err = MountError;

    fn from_str(text: &str) -> Result<Self, MountError> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err(MountError::Relative(text.to_owned()));
        };
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return Ok(Self::root());
        }
        let fine = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
        let good = inner
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(fine));
        if good {
            Ok(Self(format!("/{inner}")))
        } else {
            Err(MountError::Characters(text.to_owned()))
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_takes_whole_segments_only() {
        let mount: Mount = "/shop/".parse().unwrap();
        assert_eq!(mount.as_str(), "/shop");
        assert_eq!(mount.strip("/shop"), Some(""));
        assert_eq!(mount.strip("/shop/cart"), Some("/cart"));
        assert_eq!(mount.strip("/shopping"), None);
        assert_eq!(Mount::root().strip("/x"), Some("/x"));
    }

    #[test]
    fn what_no_path_can_be_is_refused() {
        for text in ["shop", "", "/a//b", "/a/../b", "/a b", "/%2f", "/a?b"] {
            assert!(text.parse::<Mount>().is_err(), "{text}");
        }
        assert_eq!("/".parse(), Ok(Mount::root()));
    }
}
