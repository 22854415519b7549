//! `[apps.NAME]`

use serde_json::Value;
use toml::{Spanned, de::DeValue};

use super::{APP, FileApp, Key, Reader};
use crate::{
    config::{Mount, OptionError, option::KEYS, value::to_json},
    id::AppName,
};

/// What no two apps may have in common, and where it was said.
#[derive(Default)]
struct Claims {
    paths: Vec<Claim>,
    mounts: Vec<Claim>,
}

struct Claim {
    what: String,
    app: AppName,
    at: usize,
}

impl Reader<'_, '_> {
    pub(super) fn apps(&mut self, key: &Key<'_>, value: &Spanned<DeValue<'_>>) {
        let Some(table) = self.table(key, value) else {
            return;
        };
        // By line, so that the second of two is the one that is named.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut claims = Claims::default();
        for (key, value) in entries {
            match AppName::try_from(&**key.get_ref()) {
                Ok(name) => self.app(key, &name, value, &mut claims),
                Err(error) => self.problems.add(Some(key.span()), &error.to_string()),
            }
        }
    }

    fn app(
        &mut self,
        key: &Key<'_>,
        name: &AppName,
        value: &Spanned<DeValue<'_>>,
        claims: &mut Claims,
    ) {
        let mut app = FileApp::default();
        let mut mounted_at = key.span().start;
        let known = [APP, KEYS].concat();
        self.each(key, value, &known, |this, key, value| {
            let at = value.span().start;
            match key {
                "path" => {
                    let path = this.path(key, &to_json(value.get_ref()))?;
                    this.claim(
                        &mut claims.paths,
                        "path",
                        path.display().to_string(),
                        name,
                        at,
                    );
                    app.path = Some(path);
                }
                "mount" => {
                    app.mount = Some(mount(&to_json(value.get_ref()))?);
                    mounted_at = at;
                }
                "settings" => match to_json(value.get_ref()) {
                    Value::Object(settings) => app.settings = settings,
                    other => return Err(OptionError::wrong(key, &other, "a table")),
                },
                _ => app.options.push(this.option(Some(name), key, value)?),
            }
            Ok(())
        });
        // Without a path it may never be there, and have no mount.
        let default = app.path.as_ref().map(|_| Mount::of(name));
        if let Some(mount) = app.mount.as_ref().or(default.as_ref()) {
            let mount = mount.to_string();
            self.claim(&mut claims.mounts, "mount", mount, name, mounted_at);
        }
        self.file.apps.insert(name.clone(), app);
    }

    fn claim(
        &mut self,
        claims: &mut Vec<Claim>,
        kind: &str,
        what: String,
        app: &AppName,
        at: usize,
    ) {
        if let Some(before) = claims.iter().find(|before| before.what == what) {
            let Claim {
                app: other,
                at: first,
                ..
            } = before;
            let line = self.problems.line_of(*first);
            let text = format!(
                "{kind} `{what}` of app `{app}` is that of app `{other}` too, in line {line}; give \
                 one of them another",
            );
            self.problems.add(Some(at..at), &text);
            return;
        }
        let app = app.clone();
        claims.push(Claim { what, app, at });
    }
}

fn mount(value: &Value) -> Result<Mount, OptionError> {
    let wrong = |expected: String| OptionError::wrong("mount", value, expected);
    let text = value
        .as_str()
        .ok_or_else(|| wrong("a path, as in \"/shop\"".to_owned()))?;
    text.parse()
        .map_err(|error| wrong(format!("a mount: {error}")))
}
