//! What the probe is told to do, so that each version differs from others in what the host keeps
//! for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Value, json};

use super::{Fault, Version, Violation};

/// The kind of what versions register.
pub const KIND: &str = "model";
/// A schedule that all versions have, and one that only odd ones have.
pub const TICK: &str = "tick";
pub const ODD: &str = "odd";

/// What a version registers under [`KIND`]: something that all have, something whose value
/// changes, and something that comes and goes.
#[must_use]
pub fn entries_of(version: Version) -> BTreeMap<String, u64> {
    let third = version % 3;
    [
        ("all".to_owned(), 0),
        ("half".to_owned(), version % 2),
        (format!("third-{third}"), third),
    ]
    .into()
}

/// The schedules of a version.
#[must_use]
pub fn schedules_of(version: Version) -> BTreeSet<String> {
    let odd = (version % 2 == 1).then_some(ODD);
    odd.into_iter().chain([TICK]).map(str::to_owned).collect()
}

/// The version by which the probe is told to fail so, if that is its doing and not the file's.
#[must_use]
pub fn version_of(fault: Fault) -> Option<Version> {
    match fault {
        Fault::CutShort | Fault::Text | Fault::OtherAbi => None,
        Fault::SetupFails => Some(9_001),
        Fault::SetupPanics => Some(9_002),
        Fault::RefusesState => Some(9_003),
    }
}

/// The probe's settings, for versions up to `most`; its schedules write to `log`.
#[must_use]
pub fn settings(most: Version, log: &Path) -> Value {
    let those = |wanted: fn(Version) -> u64, is: u64| -> Vec<Version> {
        (1..=most)
            .filter(|version| wanted(*version) == is)
            .collect()
    };
    let mut register = vec![json!({ "kind": KIND, "key": "all", "value": 0 })];
    for half in 0..2 {
        let versions = those(|version| version % 2, half);
        register.push(json!({ "kind": KIND, "key": "half", "value": half, "versions": versions }));
    }
    for third in 0..3 {
        let (key, versions) = (
            format!("third-{third}"),
            those(|version| version % 3, third),
        );
        register.push(json!({ "kind": KIND, "key": key, "value": third, "versions": versions }));
    }
    // An empty list would mean all.
    register.retain(|entry| entry["versions"] != json!([]));
    let of = |fault, how| BTreeMap::from([(version_of(fault).unwrap_or_default(), how)]);
    let mut setup_of = of(Fault::SetupFails, "error");
    setup_of.extend(of(Fault::SetupPanics, "panic"));
    json!({
        "register": register,
        "schedule": [
            { "name": TICK, "every-ms": 20, "log": log },
            { "name": ODD, "every-ms": 20, "log": log, "versions": those(|it| it % 2, 1) },
        ],
        "state": { "schema": 1 },
        "setup-of": setup_of,
        "restore-of": of(Fault::RefusesState, "refuse"),
    })
}

/// Checks what schedules wrote in one run of a host, while the app was mounted (generations are
/// counted anew after that): `NAME generation N version V begin` and the same with `end`.
///
/// # Errors
/// When a call began before the one before had ended, an older generation called after a newer one,
/// or a version that has no such schedule was called.
pub fn check_calls(lines: &str) -> Result<(), Violation> {
    // By name: the generation of the last call, and whether it is under way.
    let mut last: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
    for line in lines.lines() {
        let wrong = |what: &str| Violation(format!("{what}: {line}"));
        let words: Vec<&str> = line.split(' ').collect();
        let [name, "generation", generation, "version", version, what] = words[..] else {
            return Err(wrong("no line of a schedule"));
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong("no number"));
        let (generation, version) = (number(generation)?, number(version)?);
        if !schedules_of(version).contains(name) {
            return Err(wrong("that version has no such schedule"));
        }
        let (before, running) = last.get(name).copied().unwrap_or_default();
        match what {
            "begin" if running => return Err(wrong("it began while another was under way")),
            "begin" if generation < before => return Err(wrong("an older one came after")),
            "end" if !running || generation != before => {
                return Err(wrong("it ended and had not begun"));
            }
            "begin" | "end" => {}
            _ => return Err(wrong("no line of a schedule")),
        }
        last.insert(name, (generation, what == "begin"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_register_for_each_version_what_the_model_expects_of_it() {
        let settings = settings(20, Path::new("/log"));
        let has = |entry: &Value, version: Version| {
            let versions = entry.get("versions").and_then(Value::as_array);
            versions.is_none_or(|all| all.contains(&json!(version)))
        };
        for version in 1..=20 {
            let entries = settings["register"].as_array().unwrap().iter();
            let found: BTreeMap<String, u64> = entries
                .filter(|entry| has(entry, version))
                .map(|entry| {
                    let key = entry["key"].as_str().unwrap().to_owned();
                    (key, entry["value"].as_u64().unwrap())
                })
                .collect();
            assert_eq!(found, entries_of(version));
            let schedules = settings["schedule"].as_array().unwrap().iter();
            let found: BTreeSet<String> = schedules
                .filter(|entry| has(entry, version))
                .map(|entry| entry["name"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(found, schedules_of(version));
        }
        assert_eq!(settings["setup-of"]["9002"], "panic");
        assert_ne!(entries_of(4), entries_of(7));
    }

    #[test]
    fn calls_that_overlap_or_come_from_the_past_are_found() {
        let fine = "tick generation 1 version 1 begin\ntick generation 1 version 1 end\n\
                    odd generation 1 version 1 begin\ntick generation 2 version 2 begin\n\
                    odd generation 1 version 1 end\ntick generation 2 version 2 end\n";
        check_calls(fine).unwrap();
        let check = |lines: &str, part: &str| {
            let error = check_calls(lines).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        let begin = "tick generation 2 version 2 begin\n";
        check(&begin.repeat(2), "under way");
        let other = "tick generation 3 version 3 begin\n";
        check(&format!("{begin}{other}"), "under way");
        let past =
            format!("{begin}tick generation 2 version 2 end\ntick generation 1 version 1 begin");
        check(&past, "older");
        check("odd generation 2 version 2 begin", "no such schedule");
        check("tick generation 2 version 2 end", "had not begun");
        check("tick generation 2", "no line");
    }
}
