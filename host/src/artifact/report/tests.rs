use super::*;
use crate::artifact::sample::{Sample, manifest};

#[test]
fn a_good_plugin_is_told_of_in_aligned_lines() {
    let sample = Sample::new();
    let path = sample.plugin(&manifest());
    let report = inspect_file(&path).unwrap();
    assert!(report.accepted());
    let text = report.to_string();
    assert!(text.starts_with("  accepted    sample 0.1.0\n"), "{text}");
    assert!(
        text.contains(&format!("  blake3      {}\n", report.digest)),
        "{text}"
    );
    assert!(
        text.contains("  abi         1.1 (this host: 1.1)\n"),
        "{text}"
    );
    assert!(text.ends_with('\n') && !text.contains("warning"), "{text}");
}

#[test]
fn a_refused_plugin_is_told_of_with_reason_remedy_and_manifest() {
    let sample = Sample::new();
    let path = sample.plugin(&manifest().replace("abi=1.", "abi=9."));
    let report = inspect_file(&path).unwrap();
    assert!(!report.accepted());
    let text = report.to_string();
    assert!(
        text.contains("  reason      it speaks plugin ABI 9.1"),
        "{text}"
    );
    assert!(text.contains("  remedy      update replug"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["manifest"]["abi"], "9.1");
    assert_eq!(json["verdict"]["verdict"], "refused");
    assert_eq!(json["path"], path.to_str().unwrap());
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let error = inspect_file("/nonexistent/libx.so").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/nonexistent/libx.so does not exist"),
        "{error}"
    );
    assert!(!error.remedy().is_empty());
    assert!(inspect_file("").is_err());
}

#[test]
fn sizes_are_for_people() {
    let check = |size, text: &str| assert_eq!(Size(size).to_string(), text);
    check(999, "999 bytes");
    check(1_200, "1.2 kB");
    check(26_887_016, "26.9 MB");
    check(3_000_000_000, "3.0 GB");
}
