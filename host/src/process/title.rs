//! How this process is called in lists of processes.

use std::{ffi::CString, fs, io, ops::Range, ptr};

use rustix::thread::set_name;

/// Has lists of processes show `title`, instead of the command line: `ps` and `top` with arguments
/// as much of it as the command line was long, and without them its first 15 bytes. Programs read
/// the command line from the memory of the process that it describes, so it is overwritten there;
/// `std::env::args` is of no use from then on, and is to be read before.
///
/// To be called on the first thread, before there is another, which might be reading the arguments:
/// else only the short name is set.
///
/// # Errors
/// When the title contains a NUL byte, or the system does not tell where the command line is.
pub fn set_title(title: &str) -> io::Result<()> {
    let short = CString::new(&title.as_bytes()[..title.len().min(15)])?;
    if title.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    set_name(&short)?;
    if !super::inherited::is_alone() {
        return Ok(());
    }
    let Range { start, end } = command_line()?;
    let room = end - start;
    // The last byte stays a NUL: else the kernel takes the environment for a part of it.
    let text = &title.as_bytes()[..title.len().min(room.saturating_sub(1))];
    let memory: *mut u8 = ptr::with_exposed_provenance_mut(start);
    // SAFETY: the kernel put the arguments there, on the first stack, where they stay for as long as
    // the process runs; there is no other thread that could be reading them. Whoever reads them
    // later finds a NUL behind each, within the same bounds.
    unsafe { ptr::write_bytes(memory, 0, room) };
    // SAFETY: the same, and no more than there is room for.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), memory, text.len()) };
    Ok(())
}

/// The addresses of this process's arguments.
fn command_line() -> io::Result<Range<usize>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    range(&stat).ok_or_else(|| io::Error::other("the system does not say where they are"))
}

fn range(stat: &str) -> Option<Range<usize>> {
    // The second field, a name in parentheses, may contain anything; the third follows.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_whitespace().skip(48 - 3);
    let start = fields.next()?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    (0 < start && start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_where_the_kernel_says() {
        let lines = command_line().unwrap();
        let shown = fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(lines.len(), shown.len());
    }

    #[test]
    fn a_name_in_parentheses_does_not_mislead() {
        let rest: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("1 (a ) b) {}", rest.join(" "));
        assert_eq!(range(&stat), Some(48..49));
        assert_eq!(range("1 (a) R 0 0"), None);
        assert_eq!(range(""), None);
    }
}
