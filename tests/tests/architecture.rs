//! The code keeps to its design.

use replug_tests::{cargo, module_order};

#[test]
fn each_module_of_the_host_uses_only_those_above_it() {
    let uses = module_order::uses(&cargo::workspace().join("host/src"));
    assert!(uses.len() > 20, "found only {} uses: {uses:?}", uses.len());
    let forbidden: Vec<String> = uses
        .iter()
        .filter(|one| !one.is_allowed())
        .map(|one| format!("{}: {} uses {}", one.file.display(), one.user, one.used))
        .collect();
    assert!(
        forbidden.is_empty(),
        "against the order:\n{}",
        forbidden.join("\n")
    );
}

#[test]
fn every_module_of_the_host_has_its_place_in_the_order() {
    let src = cargo::workspace().join("host/src");
    for entry in std::fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let known = name == "lib" || module_order::ORDER.contains(&name.as_str());
        assert!(known, "{name} has no place in the order of modules");
        assert!(!path.ends_with("mod.rs"));
    }
}
