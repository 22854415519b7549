//! `include/replug.h` is what cbindgen makes of `src/abi.rs` and `src/abi/tables.rs`, and a C compiler agrees with Rust
//! about its layout.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use cbindgen::{Builder, Config, DocumentationStyle, ExportConfig, Language};
use replug_plugin::abi;

const UPDATE: &str = "REPLUG_UPDATE_HEADER";

#[test]
fn header_is_what_the_abi_generates() {
    let generated = generate();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/replug.h");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, generated).unwrap();
        return;
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "{} is not what src/abi.rs generates; run the tests once with {UPDATE}=1",
        path.display(),
    );
}

macro_rules! layouts {
    ($($name:ident { $($field:ident),* })*) => {
        [$((stringify!($name), size_of::<abi::$name>(), align_of::<abi::$name>(), vec![
            $((stringify!($field), std::mem::offset_of!(abi::$name, $field))),*
        ])),*]
    };
}

#[test]
fn header_compiles_as_c_with_the_layout_of_rust() {
    let layouts = layouts! {
        Slice { ptr, len }
        Buf { ptr, len, owner, release }
        Header { name, value }
        Field { key, value }
        Failure { size, message, location, frames }
        Waker { data, extra, table }
        WakerTable { size, clone, wake_by_ref, drop }
        Body { this, table, lower, upper }
        BodyTable { size, poll, drop }
        Frame { size, data, trailers, trailer_count, failure }
        Stream { this, table }
        StreamTable { size, read, write, flush, shutdown, drop }
        Peer { kind, port, scope, ip }
        Request {
            size, method, uri, original_uri, headers, header_count, version, peer, request_id,
            body, mount
        }
        Call { this, table }
        CallTable { size, poll, drop }
        Response { size, status, header_count, headers, body, failure, data }
        LogRecord {
            size, level, line, target, message, file, spans, fields, field_count, request_id,
            frames, frame_count
        }
        Heap { size, heap, alloc, alloc_zeroed, realloc, free }
        HostTable {
            size, abi_major, abi_minor, log, track, register_entry, registrations, poll_registry,
            leave_registry, schedule, previous_state, request_reload, request_restart
        }
        State { size, schema, data, failure }
        SaveArgs { size, limit, timeout_ms }
        Task { this, table }
        TaskTable { size, poll, drop }
        SetupArgs {
            size, host, context, name, path, mount, group, settings, generation, mode, worker,
            max_level
        }
        SetupOutcome { size, app, failure, threads_left }
        StopArgs { size, reason, timeout_ms }
        StopReport { size, hooks_done, hooks_failed, threads_left }
        PluginTable {
            size, abi_major, abi_minor, setup, call, upgrade, shutdown, stop, save_state,
            run_schedule
        }
    };
    let mut source = generate();
    let mut claim = |claim: String| {
        writeln!(source, "_Static_assert({claim}, \"{claim}\");").unwrap();
    };
    for (name, size, align, fields) in layouts {
        claim(format!("sizeof(Replug{name}) == {size}"));
        claim(format!("_Alignof(Replug{name}) == {align}"));
        for (field, offset) in fields {
            let field = if field == "this" { "this_" } else { field };
            claim(format!("offsetof(Replug{name}, {field}) == {offset}"));
        }
    }
    for (name, value) in [
        ("ABI_MAJOR", u32::from(abi::ABI_MAJOR)),
        ("ABI_MINOR", u32::from(abi::ABI_MINOR)),
        ("PENDING", abi::PENDING),
        ("PANICKED", abi::PANICKED),
        ("PEER_UNIX", u32::from(abi::PEER_UNIX)),
        ("REASON_ABANDONED", abi::REASON_ABANDONED),
    ] {
        claim(format!("REPLUG_{name} == {value}"));
    }
    claim(format!(
        "sizeof(REPLUG_PLUGIN_SYMBOL) == {}",
        abi::PLUGIN_SYMBOL.len() + 1
    ));
    check_as_c(&source);
}

fn generate() -> String {
    let sources = ["src/abi.rs", "src/abi/tables.rs"]
        .map(|source| Path::new(env!("CARGO_MANIFEST_DIR")).join(source));
    let text = sources
        .each_ref()
        .map(|source| fs::read_to_string(source).unwrap())
        .concat();
    let names = |keyword| {
        text.lines()
            .filter_map(move |line: &str| line.strip_prefix(keyword))
            .filter_map(|rest| rest.split([' ', ':']).next())
            .map(str::to_owned)
    };
    let constants = names("pub const ").map(|name| (name.clone(), format!("REPLUG_{name}")));
    let export = ExportConfig {
        include: names("pub struct ").collect(),
        prefix: Some("Replug".to_owned()),
        rename: constants.collect(),
        renaming_overrides_prefixing: true,
        ..ExportConfig::default()
    };
    // cbindgen knows no constants of text.
    let symbol = abi::PLUGIN_SYMBOL;
    let heap = abi::HEAP_SYMBOL.to_str().unwrap();
    let config = Config {
        language: Language::C,
        header: Some(HEAD.to_owned()),
        include_guard: Some("REPLUG_H".to_owned()),
        no_includes: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        after_includes: Some(format!(
            "\n// The symbol of a plugin's table.\n\
             #define REPLUG_PLUGIN_SYMBOL \"{symbol}\"\n\
             extern const struct ReplugPluginTable {symbol};\n\
             \n\
             // The host's, for plugins with an allocator of their own making: where the memory of the\n\
             // library at that address is to come from. NULL: from the C library.\n\
             const struct ReplugHeap *{heap}(const void *address);"
        )),
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::C99,
        export,
        ..Config::default()
    };
    let mut header = Vec::new();
    let builder = sources
        .iter()
        .fold(Builder::new(), |builder, source| builder.with_src(source));
    builder
        .with_config(config)
        .generate()
        .unwrap()
        .write(&mut header);
    // Links are for rustdoc, and lead to other names here.
    let mut header = String::from_utf8(header).unwrap();
    for name in names("pub struct ") {
        header = header.replace(&format!("[`{name}"), &format!("[`Replug{name}"));
    }
    for name in names("pub const ") {
        header = header.replace(&format!("[`{name}`"), &format!("[`REPLUG_{name}`"));
    }
    header
        .replace("[`", "`")
        .replace("`]", "`")
        // A keyword of C++, which cbindgen renames in structs only.
        .replace("*this,", "*this_,")
        .replace("*this)", "*this_)")
}

const HEAD: &str = "\
// The C ABI between Replug and a plugin. Generated from plugin-api/src/abi.rs, whose tests keep
// it so; change that file, not this one.";

/// Has the C compiler check a source text, with warnings denied.
fn check_as_c(source: &str) {
    let mut compiler = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"])
        .args(["-x", "c", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`cc`, which Rust links with too, is to be installed");
    let mut stdin = compiler.stdin.take().unwrap();
    stdin.write_all(source.as_bytes()).unwrap();
    drop(stdin);
    let output = compiler.wait_with_output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{messages}");
}
