use std::{fs, path::PathBuf};

use super::*;
use crate::artifact::{
    StagingArea,
    sample::{Sample, manifest, source},
};

/// Stages and inspects a file as the host does.
fn take(path: impl AsRef<Path>) -> Result<Inspected, InspectError> {
    take_with(path, InspectPolicy::default())
}

fn take_with(path: impl AsRef<Path>, policy: InspectPolicy) -> Result<Inspected, InspectError> {
    let area = StagingArea::new(None).unwrap();
    let staged = area.stage(&ArtifactPath::new(path).unwrap(), 1).unwrap();
    inspect(staged, |_| policy)
}

/// The refusal of a file, whose message names the file.
fn refusal(path: &PathBuf) -> Refusal {
    let error = take(path).unwrap_err();
    assert!(
        error.to_string().starts_with(&path.display().to_string()),
        "{error}"
    );
    assert!(!error.remedy().is_empty());
    error.refusal
}

/// The refusal of a sample after its bytes were changed.
fn refusal_after(change: impl FnOnce(&mut Vec<u8>)) -> Refusal {
    let sample = Sample::new();
    let path = sample.plugin(&manifest());
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    refusal(&path)
}

#[test]
fn a_good_plugin_is_accepted() {
    let sample = Sample::new();
    let inspected = take(sample.plugin(&manifest())).unwrap();
    assert_eq!(inspected.manifest().name, "sample");
    assert_eq!(inspected.warnings(), []);
    assert_eq!(inspected.dependencies(), Vec::<String>::new());
}

#[test]
fn a_stripped_plugin_is_accepted() {
    let sample = Sample::new();
    let flags = ["-shared", "-nostdlib", "-Wl,--strip-all"];
    take(sample.compile("libs.so", &source(&manifest()), &flags)).unwrap();
}

#[test]
fn every_cut_is_refused() {
    let sample = Sample::new();
    let path = sample.plugin(&manifest());
    let whole = fs::read(&path).unwrap();
    let step = (whole.len() / 200).max(1);
    let cuts = (1..whole.len())
        .step_by(step)
        .chain([1, 2, 3, 4, 19, 20, 63, 64, whole.len() - 1]);
    for cut in cuts {
        fs::write(&path, &whole[..cut]).unwrap();
        let refusal = refusal(&path);
        assert!(refusal.maybe_incomplete(), "at {cut}: {refusal}");
    }
}

#[test]
fn a_file_that_is_still_zeros_somewhere_is_never_a_final_refusal() {
    let sample = Sample::new();
    let path = sample.plugin(&manifest());
    let whole = fs::read(&path).unwrap();
    for written in (0..whole.len()).step_by(whole.len() / 50) {
        // What a writer leaves that reserved the whole length first.
        let mut bytes = vec![0; whole.len()];
        bytes[..written].copy_from_slice(&whole[..written]);
        fs::write(&path, bytes).unwrap();
        if let Err(error) = take(&path) {
            assert!(error.maybe_incomplete(), "at {written}: {error}");
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let sample = Sample::new();
    let path = sample.plugin(&manifest());
    let whole = fs::read(&path).unwrap();
    let scratch = sample.dir.path().join("flipped.so");
    // xorshift64: seeded, so that a failure comes again.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..2_000 {
        let mut bytes = whole.clone();
        // Half of them in the headers, where they hurt.
        let range = if round % 2 == 0 { 64 * 12 } else { bytes.len() };
        for _ in 0..=random(3) {
            let at = random(range);
            bytes[at] ^= 1 << random(8);
        }
        if round % 4 == 1 {
            let tail = bytes.len() - 1 - random(64 * 20);
            bytes[tail] ^= 1 << random(8);
        }
        fs::write(&scratch, bytes).unwrap();
        let file = File::open(&scratch).unwrap();
        drop(examine(
            &file,
            |_| InspectPolicy::default(),
            &mut Findings::default(),
        ));
    }
}

#[test]
fn another_architecture_is_refused_by_name() {
    let arm = refusal_after(|bytes| bytes[18..20].copy_from_slice(&183_u16.to_le_bytes()));
    assert!(arm.to_string().contains("is built for aarch64"), "{arm}");
    let odd = refusal_after(|bytes| bytes[18..20].copy_from_slice(&0x7777_u16.to_le_bytes()));
    assert!(odd.to_string().contains("machine 30583"), "{odd}");
    let narrow = refusal_after(|bytes| bytes[4] = 1);
    assert!(narrow.to_string().contains("32-bit"), "{narrow}");
    let big = refusal_after(|bytes| bytes[5] = 2);
    assert!(big.to_string().contains("big-endian"), "{big}");
}

#[test]
fn what_is_no_library_is_refused_by_kind() {
    let sample = Sample::new();
    let file = |name: &str, bytes: &[u8]| {
        let path = sample.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let check = |path: PathBuf, expected: &str| {
        let refusal = refusal(&path);
        assert!(refusal.to_string().contains(expected), "{refusal}");
        assert!(!refusal.maybe_incomplete(), "{refusal}");
    };
    check(file("text.so", b"hello\n"), "is a text file");
    check(file("libx.a", b"!<arch>\n"), "is a static library");
    let main = "int main(void) { return 0; }";
    check(sample.compile("fixed", main, &["-no-pie"]), "is a program");
    check(sample.compile("pie", main, &["-pie"]), "is a program");
    check(sample.compile("x.o", main, &["-c"]), "is an object file");
}

#[test]
fn a_library_without_export_app_is_refused_with_that_remedy() {
    let sample = Sample::new();
    let path = sample.compile("libplain.so", "int f(void) { return 1; }", &["-shared"]);
    let error = take(path).unwrap_err();
    assert!(matches!(error.refusal, Refusal::NoManifest), "{error}");
    assert!(error.remedy().contains("export_app!"));
}

#[test]
fn a_manifest_decides() {
    let sample = Sample::new();
    let check = |from: &str, to: &str| refusal(&sample.plugin(&manifest().replace(from, to)));
    let abi = format!("abi={ABI_MAJOR}.");
    assert!(matches!(
        check(&abi, "abi=2."),
        Refusal::Abi { found: (2, _) }
    ));
    assert!(check(&abi, "abi=2.").remedy().contains("update replug"));
    assert!(matches!(check(&abi, "abi=x."), Refusal::Manifest(_)));
    assert!(matches!(check("REPLUG", "GULPER"), Refusal::Manifest(_)));
    assert!(matches!(
        check("panic=unwind", "panic=abort"),
        Refusal::PanicAbort
    ));
    let blank = "\0".repeat(100);
    assert!(matches!(check(&manifest(), &blank), Refusal::BlankManifest));
}

#[test]
fn a_newer_minor_abi_is_accepted() {
    let sample = Sample::new();
    let newer = manifest().replace(&format!("abi={ABI_MAJOR}.1"), &format!("abi={ABI_MAJOR}.9"));
    assert_eq!(
        take(sample.plugin(&newer)).unwrap().manifest().abi,
        (ABI_MAJOR, 9)
    );
}

#[test]
fn a_manifest_without_the_table_is_refused() {
    let sample = Sample::new();
    let source = source(&manifest()).replace(PLUGIN_SYMBOL, "something_else");
    let path = sample.compile("libx.so", &source, &["-shared"]);
    assert!(matches!(refusal(&path), Refusal::NoEntry));
}

#[test]
fn panic_abort_is_taken_when_it_is_allowed() {
    let sample = Sample::new();
    let path = sample.plugin(&manifest().replace("panic=unwind", "panic=abort"));
    let inspected = take_with(
        path,
        InspectPolicy {
            allow_panic_abort: true,
        },
    )
    .unwrap();
    assert_eq!(inspected.warnings(), [Warning::PanicAbort]);
}

#[test]
fn what_hinders_unloading_is_warned_of() {
    let sample = Sample::new();
    let unique = "\n__asm__(\".type once, @gnu_unique_object\");\nint once = 1;\n\
                  void *mi_malloc(unsigned long n) { return 0; }\n";
    let manifest = manifest()
        .replace("unload-safe=true", "unload-safe=false")
        .replace(host_target(), "other-target");
    let source = source(&manifest) + unique;
    let flags = ["-shared", "-Wl,--no-as-needed"];
    let inspected = take(sample.compile("libx.so", &source, &flags)).unwrap();
    let warnings = inspected.warnings();
    let is = |found: fn(&Warning) -> bool| assert!(warnings.iter().any(found), "{warnings:?}");
    is(|it| {
        *it == Warning::UniqueSymbols {
            count: 1,
            example: "once".to_owned(),
        }
    });
    is(|it| *it == Warning::Allocator { name: "mimalloc" });
    is(|it| matches!(it, Warning::OtherTarget { plugin, .. } if plugin == "other-target"));
    is(|it| *it == Warning::NotUnloadSafe);
    assert_eq!(inspected.dependencies(), ["libc.so.6"]);
}

#[test]
fn nodelete_is_cleared_in_the_copy_of_a_library_that_can_be_unloaded() {
    let flags = ["-shared", "-nostdlib", "-Wl,-z,nodelete,-z,now"];
    let check = |manifest: &str, cleared: bool| {
        let sample = Sample::new();
        let original = sample.compile("libx.so", &source(manifest), &flags);
        let before = fs::read(&original).unwrap();
        let area = StagingArea::new(None).unwrap();
        let staged = area
            .stage(&ArtifactPath::new(&original).unwrap(), 1)
            .unwrap();
        let inspected = inspect(staged, |_| InspectPolicy::default()).unwrap();
        let mut findings = Findings::default();
        let copy = File::open(inspected.staged_path()).unwrap();
        examine(&copy, |_| InspectPolicy::default(), &mut findings).unwrap();
        assert_eq!(findings.no_delete.is_none(), cleared);
        // The other flags stay, and the file that was deployed is left alone.
        let after = fs::read(inspected.staged_path()).unwrap();
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert_eq!(changed, usize::from(cleared));
        assert_eq!(fs::read(&original).unwrap(), before);
    };
    check(&manifest(), true);
    check(
        &manifest().replace("unload-safe=true", "unload-safe=false"),
        false,
    );
}

#[test]
fn a_dynamic_standard_library_is_warned_of() {
    let needed = ["libc.so.6".to_owned(), "libstd-0123.so".to_owned()];
    let library = "libstd-0123.so".to_owned();
    assert_eq!(dynamic_std(&needed), Some(Warning::DynamicStd { library }));
    assert_eq!(dynamic_std(&needed[..1]), None);
}
