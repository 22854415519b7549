//! Whether a library is still mapped.

use std::{fs, os::unix::ffi::OsStrExt as _, path::Path};

use super::owners;

/// Whether a library is still in this process: the dynamic linker knows it, or code of its file is
/// mapped.
#[must_use]
pub fn is_mapped(path: &Path) -> bool {
    owners::range_of(path).is_some() || has_code_of(path)
}

/// What the kernel says; a kernel that cannot be asked (no descriptor is left, say) says no, and
/// the dynamic linker's word stands.
fn has_code_of(path: &Path) -> bool {
    let Ok(maps) = fs::read("/proc/self/maps") else {
        return false;
    };
    let path = path.as_os_str().as_bytes();
    // See proc(5): address, permissions, offset, device, inode, path; one mapping a line.
    maps.split(|byte| *byte == b'\n').any(|line| {
        let executable = line
            .split(|byte| *byte == b' ')
            .nth(1)
            .is_some_and(|p| p.contains(&b'x'));
        executable && line.windows(path.len()).any(|window| window == path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_mapped_and_its_source_is_not() {
        assert!(is_mapped(&std::env::current_exe().unwrap()));
        assert!(!is_mapped(Path::new("/no/such/file")));
    }
}
