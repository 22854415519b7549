//! What is worth saying about a library that may be loaded all the same.

use serde::Serialize;

/// Something about a library that will, or may, make trouble later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Warning {
    /// Symbols that the dynamic linker shares for the whole process.
    #[error(
        "{count} unique symbols ({example}) keep old generations mapped; build its C++ parts \
         with -fno-gnu-unique"
    )]
    UniqueSymbols {
        /// How many there are.
        count: usize,
        /// One or two of them.
        example: String,
    },
    /// An allocator of its own, whose memory is lost at each reload.
    #[error(
        "it bundles {name}: that memory is not given back at a reload; leave the allocator to \
         export_app!"
    )]
    Allocator {
        /// Which.
        name: &'static str,
    },
    /// A panic in it ends the process.
    #[error("panic = \"abort\": any panic in it ends the host")]
    PanicAbort,
    /// Rust's standard library is not inside it.
    #[error(
        "it needs {library}, the compiler's own: it runs only where that very toolchain is; \
         build without -C prefer-dynamic"
    )]
    DynamicStd {
        /// The library's name.
        library: String,
    },
    /// It was built for another target of the same architecture.
    #[error("it is built for {plugin} and the host for {host}: it may lack symbols when it loads")]
    OtherTarget {
        /// Its target triple.
        plugin: String,
        /// The host's.
        host: String,
    },
    /// Its author says that it must not be unmapped.
    #[error("it says that it cannot be unloaded: old generations stay mapped")]
    NotUnloadSafe,
}
