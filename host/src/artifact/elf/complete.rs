//! Whether an ELF file is of this host's architecture, and all there.

use std::fs::File;

use object::{
    NativeEndian, ReadCache, ReadRef,
    elf::{self, ET_DYN, PT_DYNAMIC, PT_LOAD, SHT_NOBITS, SHT_NULL},
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};

use super::{Header, Section, damaged};
use crate::artifact::refusal::Refusal;

/// A file and its length.
pub(super) type Data<'file> = (&'file ReadCache<&'file File>, u64);

pub(super) fn check_architecture((data, size): Data<'_>) -> Result<(), Refusal> {
    // Class, byte order and machine stand at the same place in every ELF file.
    const HEAD: u64 = 20;
    within("ELF header", 0, HEAD, size)?;
    let head = data
        .read_bytes_at(0, HEAD)
        .map_err(|()| damaged("its header"))?;
    let little = head[5] == elf::ELFDATA2LSB.0;
    let bytes = [head[18], head[19]];
    let machine = if little {
        u16::from_le_bytes(bytes)
    } else {
        u16::from_be_bytes(bytes)
    };
    let wide = head[4] == elf::ELFCLASS64.0;
    let fits = wide == cfg!(target_pointer_width = "64")
        && little == cfg!(target_endian = "little")
        && name_of(machine) == Some(std::env::consts::ARCH);
    if fits {
        return Ok(());
    }
    let mut found = name_of(machine).map_or_else(|| format!("machine {machine}"), str::to_owned);
    if wide != cfg!(target_pointer_width = "64") {
        found.push_str(if wide { ", 64-bit" } else { ", 32-bit" });
    }
    if little != cfg!(target_endian = "little") {
        found.push_str(if little {
            ", little-endian"
        } else {
            ", big-endian"
        });
    }
    Err(Refusal::Architecture {
        found,
        host: std::env::consts::ARCH,
    })
}

/// An architecture's name as Rust has it.
fn name_of(machine: u16) -> Option<&'static str> {
    Some(match elf::Machine(machine) {
        elf::EM_X86_64 => "x86_64",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_386 => "x86",
        elf::EM_ARM => "arm",
        elf::EM_PPC64 => "powerpc64",
        elf::EM_S390 => "s390x",
        elf::EM_LOONGARCH => "loongarch64",
        elf::EM_RISCV if cfg!(target_pointer_width = "32") => "riscv32",
        elf::EM_RISCV => "riscv64",
        _ => return None,
    })
}

/// The section headers. All sections are inside the file.
pub(super) fn sections<'file>(
    header: &Header,
    (data, size): Data<'file>,
) -> Result<&'file [Section], Refusal> {
    let start: u64 = header.e_shoff(NativeEndian);
    if start == 0 {
        return Ok(&[]);
    }
    let each = size_of::<Section>() as u64;
    let count = u64::from(header.e_shnum(NativeEndian)).max(1);
    within("table of sections", start, count * each, size)?;
    // With very many sections the count stands in the first one.
    let count = header.shnum(NativeEndian, data).map_err(damaged)?;
    within("table of sections", start, u64::from(count) * each, size)?;
    let sections = header
        .section_headers(NativeEndian, data)
        .map_err(damaged)?;
    for (index, section) in sections.iter().enumerate() {
        let kind = section.sh_type(NativeEndian);
        if kind != SHT_NULL && kind != SHT_NOBITS {
            let (start, length) = (
                section.sh_offset(NativeEndian),
                section.sh_size(NativeEndian),
            );
            within(&format!("section {index}"), start, length, size)?;
        }
    }
    Ok(sections)
}

pub(super) fn check_segments(header: &Header, (data, size): Data<'_>) -> Result<(), Refusal> {
    let each = size_of::<<Header as FileHeader>::ProgramHeader>() as u64;
    let count = u64::from(header.e_phnum(NativeEndian));
    within(
        "table of segments",
        header.e_phoff(NativeEndian),
        count * each,
        size,
    )?;
    let segments = header
        .program_headers(NativeEndian, data)
        .map_err(damaged)?;
    for (index, segment) in segments.iter().enumerate() {
        let (start, length) = (
            segment.p_offset(NativeEndian),
            segment.p_filesz(NativeEndian),
        );
        within(&format!("segment {index}"), start, length, size)?;
    }
    let has = |kind| {
        segments
            .iter()
            .any(|segment| segment.p_type(NativeEndian) == kind)
    };
    if header.e_type(NativeEndian) == ET_DYN && !(has(PT_LOAD) && has(PT_DYNAMIC)) {
        return Err(damaged("it has nothing to load"));
    }
    Ok(())
}

pub(super) fn within(part: &str, start: u64, length: u64, size: u64) -> Result<(), Refusal> {
    let end = start.saturating_add(length);
    if end <= size {
        return Ok(());
    }
    Err(Refusal::CutShort {
        part: part.to_owned(),
        end,
        size,
    })
}
