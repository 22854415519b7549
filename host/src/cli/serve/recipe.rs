//! How a host's configuration is made, at its start and again.

use std::path::PathBuf;

use super::{NOTHING, NOTHING_REMEDY, Options};
use crate::config::{AppOptions, Config, Source};

/// The command line's part, and where the file's is.
#[derive(Debug)]
pub(in crate::cli) struct Recipe {
    options: Options,
    /// What to serve besides what the file names.
    sources: Vec<Source>,
    /// What holds for apps unless somebody says otherwise.
    defaults: AppOptions,
    /// Where relative paths begin.
    dir: Option<PathBuf>,
}

/// Why there is no configuration, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Wrong {
    pub(in crate::cli) reason: String,
    pub(in crate::cli) remedy: String,
}

impl Recipe {
    /// To be called before any plugin's code runs.
    pub(in crate::cli) fn new(
        options: Options,
        sources: Vec<Source>,
        defaults: AppOptions,
    ) -> Self {
        Self {
            options,
            sources,
            defaults,
            dir: std::env::current_dir().ok(),
        }
    }

    /// The configuration as it is now.
    ///
    /// # Errors
    /// When something is wrong with the file, or with it and the command line together.
    pub(in crate::cli) fn read(&self) -> Result<Config, Wrong> {
        let wrong = |error: &dyn std::fmt::Display, remedy: &str| Wrong {
            reason: error.to_string(),
            remedy: remedy.to_owned(),
        };
        let dir = std::env::current_dir().ok();
        if dir != self.dir {
            let shown = |dir: &Option<PathBuf>| {
                let dir = dir.as_ref().map(|dir| dir.display().to_string());
                dir.unwrap_or_else(|| "not there".to_owned())
            };
            let error = format!(
                "a plugin has changed the host's directory: it is {}, and was {}",
                shown(&dir),
                shown(&self.dir)
            );
            return Err(wrong(&error, "have no plugin do so, and restart the host"));
        }
        let file = self.options.file.read();
        let file = file.map_err(|error| wrong(&error, error.remedy()))?;
        let given = self.options.clone().into_overrides(self.sources.clone());
        let config = Config::resolve(given, file, self.defaults.clone());
        config.map_err(|error| wrong(&error, error.remedy()))
    }

    /// The same, if there is something to serve.
    ///
    /// # Errors
    /// The same, or that there is nothing.
    pub(super) fn read_again(&self) -> Result<Config, Wrong> {
        let config = self.read()?;
        if config.sources.is_empty() {
            return Err(Wrong {
                reason: NOTHING.to_owned(),
                remedy: NOTHING_REMEDY.to_owned(),
            });
        }
        Ok(config)
    }
}
