//! Where the workers of a process group have control groups.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::OptionError;

/// Where the workers of a process group have control groups (version 2), one each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupPlace {
    /// Below the host's own, if that is delegated to it; else nowhere.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// Below the host's own, which must be delegated to it.
    Required,
    /// Below the one at that path, which is there and absolute.
    Below(PathBuf),
}

impl CgroupPlace {
    pub(super) fn read(key: &str, value: &Value) -> Result<Self, OptionError> {
        let expected = "\"auto\", \"off\", \"required\" or the path of a control group from /";
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("off") => Ok(Self::Off),
            Some("required") => Ok(Self::Required),
            Some(path) if Path::new(path).is_absolute() && !path.contains('\0') => {
                Ok(Self::Below(path.into()))
            }
            _ => Err(OptionError::wrong(key, value, expected)),
        }
    }
}

impl fmt::Display for CgroupPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Required => f.write_str("required"),
            Self::Below(path) => path.display().fmt(f),
        }
    }
}
