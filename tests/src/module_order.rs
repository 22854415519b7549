//! Which modules of the host use which.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The host's modules, lowest first; one uses only those before it.
pub const ORDER: &[&str] = &[
    "id",
    "exit_code",
    "config",
    "telemetry",
    "process",
    "artifact",
    "watcher",
    "loader",
    "workers",
    "generation",
    "registry",
    "state",
    "app",
    "router",
    "trunk",
    "proxy",
    "reload",
    "dispatch",
    "server",
    "admin",
    "channel",
    "worker",
    "supervisor",
    "cli",
    "main",
];

/// A use of one module in another's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The file.
    pub file: PathBuf,
    /// The top module that it belongs to.
    pub user: String,
    /// The top module that is used.
    pub used: String,
}

impl Use {
    /// Whether the order allows it.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        let place = |name: &str| ORDER.iter().position(|module| *module == name);
        self.user == self.used
            || place(&self.used).is_some_and(|used| Some(used) < place(&self.user))
    }
}

/// All uses of top modules in the sources below `src`; `lib.rs`, which only names them, is left
/// out.
///
/// # Panics
/// When the sources cannot be read.
#[must_use]
pub fn uses(src: &Path) -> Vec<Use> {
    let mut uses = Vec::new();
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && path != src.join("lib.rs") {
                let file = path.strip_prefix(src).expect("below src").to_owned();
                let top = file.iter().next().expect("not empty").to_string_lossy();
                let user = top.trim_end_matches(".rs").to_owned();
                let depth = file.iter().count();
                let code = fs::read_to_string(&path).unwrap();
                uses.extend(used_modules(&code, depth).into_iter().map(|used| Use {
                    file: file.clone(),
                    user: user.clone(),
                    used,
                }));
            }
        }
    }
    uses
}

/// The top modules that a file's code names, by `crate::` or, in a file that lies so deep, by as
/// many `super::`. The program, `main.rs`, is above them all.
#[must_use]
pub fn used_modules(code: &str, depth: usize) -> Vec<String> {
    let code: String = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect();
    let code: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut used = Vec::new();
    let root = "super::".repeat(depth);
    for prefix in ["crate::", &root] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            used.extend(first_names(&code[at + prefix.len()..]));
        }
    }
    // Within its own tests, a file's `super::` is the file, whose items are no modules of the top.
    used.retain(|name| prefix_is_module(name));
    used.dedup();
    used
}

fn prefix_is_module(name: &str) -> bool {
    ORDER.contains(&name)
}

/// `a` of `a::b`, or `a` and `c` of `{a::b, c}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut names = vec![name(group)];
    let mut depth = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, depth: usize, expected: &[&str]) {
        assert_eq!(used_modules(code, depth), expected, "{code}");
    }

    #[test]
    fn uses_are_found_however_they_are_written() {
        check("use crate::router::Router;", 1, &["router"]);
        check(
            "use crate::{\n    app::{App, id},\n    config,\n};",
            1,
            &["app", "config"],
        );
        check(
            "fn f() -> crate::id::Digest { crate::reload::f() }",
            1,
            &["id", "reload"],
        );
        check("use super::super::server::Server;", 2, &["server"]);
        check(
            "pub(crate) fn f() {} // crate::cli\n/// [`crate::cli`]",
            1,
            &[],
        );
        check("use super::library::Library;", 2, &[]);
        check("use other_crate::cli::X;", 1, &[]);
    }

    #[test]
    fn only_what_stands_above_may_be_used() {
        let allowed = |user: &str, used: &str| {
            let (user, used) = (user.to_owned(), used.to_owned());
            Use {
                file: PathBuf::new(),
                user,
                used,
            }
            .is_allowed()
        };
        assert!(allowed("cli", "id"));
        assert!(allowed("server", "server"));
        assert!(!allowed("id", "cli"));
        assert!(!allowed("watcher", "loader"));
    }
}
