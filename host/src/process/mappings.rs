//! Whether a file is still mapped.

use std::{fs, io, os::unix::ffi::OsStrExt as _, path::Path};

/// Whether any code of a file is mapped into this process.
///
/// # Errors
/// When the system does not say.
pub fn is_mapped(path: &Path) -> io::Result<bool> {
    let maps = fs::read("/proc/self/maps")?;
    let path = path.as_os_str().as_bytes();
    // See proc(5): address, permissions, offset, device, inode, path; one mapping a line.
    Ok(maps.split(|byte| *byte == b'\n').any(|line| {
        let executable = line
            .split(|byte| *byte == b' ')
            .nth(1)
            .is_some_and(|p| p.contains(&b'x'));
        executable && line.windows(path.len()).any(|window| window == path)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_mapped_and_its_source_is_not() {
        assert!(is_mapped(&std::env::current_exe().unwrap()).unwrap());
        assert!(!is_mapped(Path::new("/no/such/file")).unwrap());
    }
}
