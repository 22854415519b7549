//! Reading an ELF library's tables from the file, and nothing else of it.

use std::fs::File;

use memchr::memmem;
use object::{
    NativeEndian, ReadCache, ReadRef,
    elf::{
        self, DF_1_NODELETE, DF_1_PIE, DT_FLAGS_1, DT_NEEDED, DT_NULL, ET_CORE, ET_DYN, ET_EXEC,
        ET_REL, SHT_DYNAMIC, SHT_DYNSYM, SHT_STRTAB, SHT_SYMTAB, STB_GNU_UNIQUE,
    },
    read::elf::{Dyn, FileHeader, SectionHeader, Sym},
};

use self::complete::{check_architecture, check_segments, sections, within};
use super::refusal::Refusal;

mod complete;

// The ABI's layouts are pinned for 64 bits only.
type Header = elf::FileHeader64<NativeEndian>;
type Section = <Header as FileHeader>::SectionHeader;
type Symbol = <Header as FileHeader>::Sym;
type Dynamic = <Header as FileHeader>::Dyn;
/// Its entries, and the names that they point to.
type DynamicSection<'file> = (&'file [Dynamic], &'file [u8]);

/// The names of allocators' entry points, as crates that bundle one link them in, each between the
/// NULs that it stands between in the table of names.
const ALLOCATORS: [(&[u8], &str); 4] = [
    (b"\0mi_malloc\0", "mimalloc"),
    (b"\0_rjem_malloc\0", "jemalloc"),
    (b"\0je_malloc\0", "jemalloc"),
    (b"\0sn_malloc\0", "snmalloc"),
];
/// Beyond this many bytes of names, a debug build's, the search for allocators is not worth it.
const NAMES_SEARCHED: u64 = 16 << 20;
/// No manifest is longer; a section of that name that is, is not one.
const MANIFEST_BYTES: u64 = 64 << 10;

/// A library of the host's own architecture, known to be complete.
pub(super) struct Library<'file> {
    data: &'file ReadCache<&'file File>,
    sections: &'file [Section],
    names: &'file [u8],
}

/// What the dynamic linker is told about the library.
#[derive(Debug, Default)]
pub(super) struct DynamicFacts {
    pub(super) needed: Vec<String>,
    /// Where the word of flags stands in the file, and what it is to be, if `DF_1_NODELETE` is set.
    pub(super) no_delete: Option<FlagsWord>,
}

/// The flags of a dynamic section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlagsWord {
    /// Its place in the file.
    pub(super) offset: u64,
    /// Its value without `DF_1_NODELETE`.
    pub(super) cleared: u64,
}

/// What the dynamic symbol table tells.
#[derive(Debug, Default)]
pub(super) struct SymbolFacts {
    pub(super) has_entry: bool,
    pub(super) unique: Vec<String>,
}

impl<'file> Library<'file> {
    /// Checks architecture, kind and completeness.
    pub(super) fn open(data: &'file ReadCache<&'file File>) -> Result<Self, Refusal> {
        let size = data.len().map_err(|()| damaged("its length is unknown"))?;
        let head = (data, size);
        check_architecture(head)?;
        within("ELF header", 0, size_of::<Header>() as u64, size)?;
        let header = Header::parse(data).map_err(damaged)?;
        let sections = sections(header, head)?;
        check_segments(header, head)?;
        let mut library = Self {
            data,
            sections,
            names: &[],
        };
        library.names = library.section_names(header)?;
        library.check_kind(header)?;
        Ok(library)
    }

    fn section_names(&self, header: &Header) -> Result<&'file [u8], Refusal> {
        if self.sections.is_empty() {
            return Ok(&[]);
        }
        let index = header
            .section_strings_index(NativeEndian, self.data)
            .map_err(damaged)?;
        let names = self
            .sections
            .get(index.0)
            .filter(|section| section.sh_type(NativeEndian) == SHT_STRTAB)
            .ok_or_else(|| damaged("its sections have no names"))?
            .data(NativeEndian, self.data)
            .map_err(damaged)?;
        // Room for them that is not filled yet would look like a library without a manifest.
        if names.iter().all(|&byte| byte == 0) {
            return Err(damaged("its sections' names are blank"));
        }
        Ok(names)
    }

    fn check_kind(&self, header: &Header) -> Result<(), Refusal> {
        match header.e_type(NativeEndian) {
            ET_DYN => {}
            ET_EXEC => return Err(Refusal::NotALibrary("a program")),
            ET_REL => return Err(Refusal::NotALibrary("an object file (.o)")),
            ET_CORE => return Err(Refusal::NotALibrary("a core dump")),
            _ => return Err(Refusal::NotALibrary("an ELF file of an unknown sort")),
        }
        // Programs are position-independent too, and only this tells them apart.
        if self.flags()?.contains(DF_1_PIE) {
            return Err(Refusal::NotALibrary("a program"));
        }
        Ok(())
    }

    /// The bytes of the manifest's section.
    pub(super) fn manifest(&self, name: &str) -> Result<Option<&'file [u8]>, Refusal> {
        let named = |section: &&Section| self.name(section) == Some(name.as_bytes());
        let Some(section) = self.sections.iter().find(named) else {
            return Ok(None);
        };
        if section.sh_size(NativeEndian) > MANIFEST_BYTES {
            return Err(damaged("its manifest is longer than any can be"));
        }
        section
            .data(NativeEndian, self.data)
            .map(Some)
            .map_err(damaged)
    }

    pub(super) fn dynamic(&self) -> Result<DynamicFacts, Refusal> {
        let Some((entries, strings)) = self.dynamic_section()? else {
            return Err(damaged("it has no dynamic section"));
        };
        let needed = entries
            .iter()
            .filter(|entry| tag(entry) == DT_NEEDED)
            .map(|entry| {
                text_at(strings, value(entry)).ok_or_else(|| damaged("a needed library's name"))
            })
            .collect::<Result<_, _>>()?;
        Ok(DynamicFacts {
            needed,
            no_delete: self.no_delete()?,
        })
    }

    /// Looks for what the host needs and for what hinders unloading.
    pub(super) fn symbols(&self, entry: &str) -> Result<SymbolFacts, Refusal> {
        let mut facts = SymbolFacts::default();
        let Some(section) = self.section(SHT_DYNSYM) else {
            return Ok(facts);
        };
        let symbols: &[Symbol] = section
            .data_as_array(NativeEndian, self.data)
            .map_err(damaged)?;
        let strings = self.linked_strings(section)?;
        for symbol in symbols
            .iter()
            .filter(|symbol| !symbol.is_undefined(NativeEndian))
        {
            let name = bytes_at(strings, symbol.st_name(NativeEndian).into()).unwrap_or_default();
            facts.has_entry |= name == entry.as_bytes();
            if symbol.st_bind() == STB_GNU_UNIQUE {
                facts
                    .unique
                    .push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(facts)
    }

    /// The allocator that is linked in, as far as its names were not stripped.
    pub(super) fn allocator(&self) -> Result<Option<&'static str>, Refusal> {
        let Some(section) = self.section(SHT_SYMTAB) else {
            return Ok(None);
        };
        let Some(strings) = self.linked(section) else {
            return Ok(None);
        };
        if strings.sh_size(NativeEndian) > NAMES_SEARCHED {
            return Ok(None);
        }
        let names = strings.data(NativeEndian, self.data).map_err(damaged)?;
        let has = |entry: &[u8]| memmem::find(names, entry).is_some();
        Ok(ALLOCATORS
            .iter()
            .find(|(entry, _)| has(entry))
            .map(|(_, name)| *name))
    }

    /// The flags' word, if it pins the library.
    fn no_delete(&self) -> Result<Option<FlagsWord>, Refusal> {
        let flags = self.flags()?;
        if !flags.contains(DF_1_NODELETE) {
            return Ok(None);
        }
        let (Some(section), Some((entries, _))) =
            (self.section(SHT_DYNAMIC), self.dynamic_section()?)
        else {
            return Ok(None);
        };
        let at = entries.iter().position(|entry| tag(entry) == DT_FLAGS_1);
        Ok(at.map(|at| FlagsWord {
            // An entry is two words: its tag, and its value.
            offset: section.sh_offset(NativeEndian)
                + (at * size_of::<Dynamic>() + size_of::<u64>()) as u64,
            cleared: flags.0 & !DF_1_NODELETE.0,
        }))
    }

    fn flags(&self) -> Result<elf::DynamicFlags1, Refusal> {
        let entries = self
            .dynamic_section()?
            .map_or(&[][..], |(entries, _)| entries);
        let flags = entries
            .iter()
            .find(|entry| tag(entry) == DT_FLAGS_1)
            .map_or(0, value);
        Ok(elf::DynamicFlags1(flags))
    }

    fn dynamic_section(&self) -> Result<Option<DynamicSection<'file>>, Refusal> {
        let Some(section) = self.section(SHT_DYNAMIC) else {
            return Ok(None);
        };
        let entries: &[Dynamic] = section
            .data_as_array(NativeEndian, self.data)
            .map_err(damaged)?;
        let end = entries
            .iter()
            .position(|entry| tag(entry) == DT_NULL)
            .unwrap_or(entries.len());
        Ok(Some((&entries[..end], self.linked_strings(section)?)))
    }

    fn section(&self, kind: elf::SectionType) -> Option<&'file Section> {
        self.sections
            .iter()
            .find(|section| section.sh_type(NativeEndian) == kind)
    }

    fn linked(&self, section: &Section) -> Option<&'file Section> {
        self.sections
            .get(section.sh_link(NativeEndian) as usize)
            .filter(|linked| linked.sh_type(NativeEndian) == SHT_STRTAB)
    }

    fn linked_strings(&self, section: &Section) -> Result<&'file [u8], Refusal> {
        let linked = self
            .linked(section)
            .ok_or_else(|| damaged("a table has no names"))?;
        linked.data(NativeEndian, self.data).map_err(damaged)
    }

    fn name(&self, section: &Section) -> Option<&'file [u8]> {
        bytes_at(self.names, section.sh_name(NativeEndian).into())
    }
}

fn tag(entry: &Dynamic) -> elf::DynamicTag {
    entry.d_tag(NativeEndian)
}

fn value(entry: &Dynamic) -> u64 {
    entry.d_val(NativeEndian)
}

fn damaged(what: impl ToString) -> Refusal {
    Refusal::Damaged(what.to_string())
}

fn bytes_at(strings: &[u8], at: u64) -> Option<&[u8]> {
    let rest = strings.get(usize::try_from(at).ok()?..)?;
    rest.split(|&byte| byte == 0).next()
}

fn text_at(strings: &[u8], at: u64) -> Option<String> {
    Some(String::from_utf8_lossy(bytes_at(strings, at)?).into_owned())
}
