//! What another process takes up.

use std::fs;

/// What a process takes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Bytes of it that are in memory; what it shares with others counts, too.
    pub memory: u64,
    /// Its threads.
    pub threads: u32,
}

/// Of the process with that id; `None`: it is gone, or may not be looked at.
#[must_use]
pub fn vitals(pid: u32) -> Option<Vitals> {
    Vitals::read(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

impl Vitals {
    fn read(status: &str) -> Option<Self> {
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            // In KiB. One that has ended and is still listed has none.
            memory: number("VmRSS:")? << 10,
            threads: u32::try_from(number("Threads:")?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_as_the_system_shows_it() {
        let status = "Name:\tVmRSS: 1\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        let expected = Vitals {
            memory: 2 << 20,
            threads: 7,
        };
        assert_eq!(Vitals::read(status), Some(expected));
        assert_eq!(Vitals::read("Name:\tx\nThreads:\t1\n"), None);
        assert!(vitals(std::process::id()).is_some_and(|own| own.memory > 0 && own.threads > 0));
    }
}
