//! The host's log, read as it is written.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use serde_json::Value;
use tokio::sync::watch;

use crate::deadline;

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event(Value);

impl Event {
    /// The event's kind: `serving`, `refused`; empty for lines that are not the host's.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("event")
    }

    /// A text field; empty if there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// A number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.0[key].as_u64()
    }

    /// Any field.
    #[must_use]
    pub fn field(&self, key: &str) -> &Value {
        &self.0[key]
    }

    /// Whether it is of that kind and about that app's generation.
    #[must_use]
    pub fn is(&self, kind: &str, app: &str, generation: u64) -> bool {
        self.kind() == kind
            && self.text("app") == app
            && self.number("generation") == Some(generation)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Default)]
struct Lines {
    events: Vec<Event>,
    /// What is not JSON: panics, and whatever else goes to standard error.
    others: Vec<String>,
    ended: bool,
}

/// What the host has logged so far.
#[derive(Clone, Debug)]
pub struct Log {
    lines: Arc<Mutex<Lines>>,
    grown: watch::Receiver<usize>,
}

impl Log {
    /// Reads it on a thread of its own.
    pub fn read(stderr: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Lines::default()));
        let (sender, grown) = watch::channel(0);
        let shared = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut lines = shared.lock().unwrap_or_else(PoisonError::into_inner);
                match serde_json::from_str(&line) {
                    Ok(value) => lines.events.push(Event(value)),
                    Err(_) => lines.others.push(line),
                }
                drop(lines);
                sender.send_modify(|count| *count += 1);
            }
            shared.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            sender.send_modify(|count| *count += 1);
        });
        Self { lines, grown }
    }

    /// The first event that `wanted` takes, whether it has been logged or will be.
    ///
    /// # Panics
    /// With the whole log, when the deadline passes or the log ends.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.wait_for_nth(what, 1, wanted).await
    }

    /// The event number `nth`, from 1, that `wanted` takes.
    ///
    /// # Panics
    /// With the whole log, when the deadline passes or the log ends.
    pub async fn wait_for_nth(
        &self,
        what: &str,
        nth: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Event {
        let mut grown = self.grown.clone();
        let mut seen = 0;
        let mut found = 0;
        let search = async {
            loop {
                grown.borrow_and_update();
                {
                    let lines = self.lock();
                    for event in &lines.events[seen..] {
                        found += usize::from(wanted(event));
                        if found == nth {
                            return Some(event.clone());
                        }
                    }
                    seen = lines.events.len();
                    if lines.ended {
                        return None;
                    }
                }
                if grown.changed().await.is_err() {
                    return None;
                }
            }
        };
        match tokio::time::timeout(deadline(), search).await {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the host has ended without {what}; its log:\n{self}"),
            Err(_) => panic!("no {what} within {:?}; the host's log:\n{self}", deadline()),
        }
    }

    /// Takes out all events, as soon as there is one; none: the log has ended. For whoever alone
    /// reads a log that is too long to be kept: what is taken is not found by the others.
    pub async fn take(&self) -> Vec<Event> {
        let mut grown = self.grown.clone();
        loop {
            grown.borrow_and_update();
            {
                let mut lines = self.lock();
                if !lines.events.is_empty() || lines.ended {
                    return std::mem::take(&mut lines.events);
                }
            }
            if grown.changed().await.is_err() {
                return Vec::new();
            }
        }
    }

    /// Waits until the log has ended.
    pub async fn end(&self) {
        let mut grown = self.grown.clone();
        let ended = grown.wait_for(|_| self.lock().ended);
        // An error means that the reading thread has gone, which is an end too.
        let _ = crate::in_time("the log's end", ended).await;
    }

    /// The events so far that `wanted` takes.
    #[must_use]
    pub fn all(&self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.lock()
            .events
            .iter()
            .filter(|event| wanted(event))
            .cloned()
            .collect()
    }

    /// Lines that are no events.
    #[must_use]
    pub fn other_lines(&self) -> Vec<String> {
        self.lock().others.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LAST: usize = 80;
        let lines = self.lock();
        for event in lines
            .events
            .iter()
            .skip(lines.events.len().saturating_sub(LAST))
        {
            writeln!(f, "  {event}")?;
        }
        lines
            .others
            .iter()
            .try_for_each(|line| writeln!(f, "  | {line}"))
    }
}
