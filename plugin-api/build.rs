//! Hands the compiler's version and the target to the crate: the manifest names both.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    println!("cargo::rustc-env=REPLUG_RUSTC={}", version.trim());
    println!(
        "cargo::rustc-env=REPLUG_TARGET={}",
        env::var("TARGET").unwrap_or_default()
    );
}
