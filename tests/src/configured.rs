//! Sites with a `replug.toml`.

use std::fs;

use crate::host::{Finished, Site, finish, replug};

/// Puts a `replug.toml` with that text into the site.
///
/// # Panics
/// When it cannot be written.
pub fn write(site: &Site, text: &str) {
    fs::write(site.path().join("replug.toml"), text).unwrap();
}

/// `replug validate ARGS` in the site, run to its end.
pub async fn validate(site: &Site, args: &[&str]) -> Finished {
    let mut command = replug(["validate"]);
    command.args(args).current_dir(site.path());
    finish(command).await
}
