//! Whether another process is on its way out.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// The kernel's `PF_EXITING`: the thread ends, and does nothing of its own any more.
const EXITING: u32 = 0x4;

/// Where `flags` stands in `/proc/PID/stat`, counted from the state, which follows the name.
const FLAGS: usize = 6;

/// Whether a process is dead or dying, by its descriptor (`pidfd`).
///
/// The system closes what a process has open when the last of its threads gives up the table of
/// files. Each thread is marked as ending before it does that. So whoever sees that a connection
/// has ended, and then asks this, knows who ended it: the process's death, or the process itself.
/// Its death becomes known later than that (`do_exit`: `exit_signals`, `exit_files`, `exit_notify`).
///
/// # Errors
/// When the system does not say, as where `/proc` shows nothing of the process.
pub fn is_ending(process: impl AsFd) -> io::Result<bool> {
    let process = process.as_fd();
    if is_dead(process)? {
        return Ok(true);
    }
    let flags = flags_of(process);
    // Its id may have become another's meanwhile, but only after its death.
    if is_dead(process)? {
        return Ok(true);
    }
    Ok(flags? & EXITING != 0)
}

fn is_dead(process: BorrowedFd<'_>) -> io::Result<bool> {
    let now = Timespec::default();
    loop {
        let mut dead = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
        match poll(&mut dead, Some(&now)) {
            Err(Errno::INTR) => {}
            polled => return Ok(polled? > 0),
        }
    }
}

fn flags_of(process: BorrowedFd<'_>) -> io::Result<u32> {
    // Its id as `/proc` has it, which may be that of an outer container.
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?.trim();
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    flags(&stat).ok_or(io::ErrorKind::InvalidData.into())
}

fn flags(stat: &[u8]) -> Option<u32> {
    // The name may have anything in it, brackets too.
    let behind = memchr::memrchr(b')', stat)?;
    let fields = std::str::from_utf8(&stat[behind + 1..]).ok()?;
    fields.split_ascii_whitespace().nth(FLAGS)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        os::fd::OwnedFd,
        process::{Child, Command, Stdio},
        thread,
    };

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    fn start(script: &str) -> (Child, OwnedFd) {
        let mut command = Command::new("sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.args(["-c", script]).spawn().unwrap();
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        (child, process)
    }

    /// Waits until its output is closed.
    fn end_of_output(child: &mut Child) {
        let mut output = child.stdout.take().unwrap();
        output.read_to_end(&mut Vec::new()).unwrap();
    }

    #[test]
    fn a_process_is_ending_when_its_end_has_closed_what_it_had_open_and_ever_after() {
        thread::scope(|scope| {
            // Often, and many at once, so that some are looked at before they are dead.
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let (mut child, process) = start("read line");
                        child.kill().unwrap();
                        end_of_output(&mut child);
                        assert!(is_ending(&process).unwrap());
                        child.wait().unwrap();
                        assert!(is_ending(&process).unwrap());
                    }
                });
            }
        });
    }

    #[test]
    fn a_process_that_closes_what_it_has_open_itself_is_not_ending() {
        let (mut child, process) = start("exec >&-; read line");
        end_of_output(&mut child);
        assert!(!is_ending(&process).unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(is_ending(&process).unwrap());
    }

    #[test]
    fn flags_are_found_whatever_the_name_is() {
        let stat = b"7 (a) R 1 (b) Z 1 7 7 0 -1 4194308 0 0";
        assert_eq!(flags(stat), Some(0x0040_0004));
        assert_eq!(flags(b"7 (cut"), None);
    }
}
