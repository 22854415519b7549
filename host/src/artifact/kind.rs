//! What a file is, by its first bytes.

use std::fmt;

/// How many of a file's first bytes tell its kind.
pub(super) const HEAD: usize = 512;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file in ELF, as this system's libraries are; it may still be the wrong sort of one.
    Elf,
    /// The first bytes of an ELF file and no more.
    ElfBeginning,
    /// Nothing but zeros at its beginning: room made for what is still to be written.
    Zeros,
    /// An archive of object files: `.a`, `.rlib`.
    StaticLibrary,
    /// What rustc keeps of a crate for type checking.
    RustMetadata,
    /// A library or program of Apple's systems.
    MachO,
    /// A library or program of Windows.
    Windows,
    /// A WebAssembly module.
    Wasm,
    /// A program for an interpreter.
    Script,
    /// What git leaves in place of a large file.
    GitLfs,
    /// Text.
    Text,
    /// Something packed.
    Compressed,
    /// Something else.
    Unknown,
}

impl FileKind {
    /// Tells it by up to [`HEAD`] bytes.
    pub(super) fn of(head: &[u8]) -> Self {
        const ELF: &[u8] = b"\x7fELF";
        let begins = |magic: &[&[u8]]| magic.iter().any(|magic| head.starts_with(magic));
        if head.starts_with(ELF) {
            Self::Elf
        } else if ELF.starts_with(head) {
            Self::ElfBeginning
        } else if head.iter().all(|&byte| byte == 0) {
            Self::Zeros
        } else if begins(&[b"!<arch>\n", b"!<thin>\n"]) {
            Self::StaticLibrary
        } else if begins(&[b"rust\0\0"]) {
            Self::RustMetadata
        } else if begins(&[
            b"\xcf\xfa\xed\xfe",
            b"\xce\xfa\xed\xfe",
            b"\xca\xfe\xba\xbe",
        ]) {
            Self::MachO
        } else if begins(&[b"MZ"]) {
            Self::Windows
        } else if begins(&[b"\0asm"]) {
            Self::Wasm
        } else if begins(&[b"#!"]) {
            Self::Script
        } else if begins(&[b"version https://git-lfs"]) {
            Self::GitLfs
        } else if begins(&[
            b"\x1f\x8b",
            b"PK\x03\x04",
            b"\xfd7zXZ",
            b"\x28\xb5\x2f\xfd",
            b"BZh",
        ]) {
            Self::Compressed
        } else if is_text(head) {
            Self::Text
        } else {
            Self::Unknown
        }
    }

    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Elf | Self::ElfBeginning | Self::Zeros => {
                "write the whole library; it is taken when it is complete"
            }
            Self::StaticLibrary | Self::RustMetadata => {
                "set crate-type = [\"cdylib\"] under [lib] in its Cargo.toml, and name the .so file"
            }
            Self::MachO | Self::Windows | Self::Wasm => {
                "build it for this system: cargo build --release, without --target"
            }
            Self::GitLfs => "fetch the file itself: git lfs pull",
            Self::Compressed => "unpack it first",
            Self::Script | Self::Text | Self::Unknown => {
                "name a library that cargo built from a crate with crate-type = [\"cdylib\"]"
            }
        }
    }
}

fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The cut may go through a character.
        Err(error) => error.error_len().is_none() && head.len() == HEAD,
    };
    valid && !head.contains(&0)
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elf => "an ELF file",
            Self::ElfBeginning => "only the first bytes of an ELF file",
            Self::Zeros => "a file of zeros",
            Self::StaticLibrary => "a static library (.a or .rlib)",
            Self::RustMetadata => "a Rust metadata file (.rmeta)",
            Self::MachO => "a Mach-O file of macOS",
            Self::Windows => "a Windows program or DLL",
            Self::Wasm => "a WebAssembly module",
            Self::Script => "a script",
            Self::GitLfs => "a Git LFS pointer",
            Self::Text => "a text file",
            Self::Compressed => "a compressed file",
            Self::Unknown => "a file of an unknown kind",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_first_bytes_tell_its_kind() {
        let check = |head: &[u8], kind| assert_eq!(FileKind::of(head), kind);
        check(b"\x7fELF\x02\x01\x01", FileKind::Elf);
        check(b"\x7fE", FileKind::ElfBeginning);
        check(&[0; HEAD], FileKind::Zeros);
        check(b"!<arch>\n/      ", FileKind::StaticLibrary);
        check(b"\xcf\xfa\xed\xfe\x07\0\0\x01", FileKind::MachO);
        check(b"MZ\x90\0", FileKind::Windows);
        check(b"\0asm\x01\0\0\0", FileKind::Wasm);
        check(b"#!/bin/sh\n", FileKind::Script);
        check(
            b"version https://git-lfs.github.com/spec/v1\n",
            FileKind::GitLfs,
        );
        check("grüß dich\n".as_bytes(), FileKind::Text);
        check(
            "ü".repeat(HEAD).as_bytes()[1..].get(1..=HEAD).unwrap(),
            FileKind::Text,
        );
        check(b"\x1f\x8b\x08", FileKind::Compressed);
        check(b"ab\0cd", FileKind::Unknown);
    }
}
