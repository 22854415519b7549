//! What the host's log says of the generations.

use std::collections::BTreeSet;

use replug_tests::log::Event;

/// More of a kind say nothing new.
const MOST_TROUBLES: usize = 5;

/// All generations so far, and what went wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Generations {
    /// The newest that has served; they are numbered from 1.
    pub serving: u64,
    /// Those whose library the host has closed and verified to be gone.
    pub unloaded: BTreeSet<u64>,
    /// How many ended otherwise, or had to wait because something of them was still in use.
    pub quarantined: u64,
    /// How many times the host took descriptors for left behind.
    pub suspicions: u64,
    /// How many other lines of the log were warnings or errors.
    pub warnings: u64,
    /// The first of those lines.
    pub troubles: Vec<String>,
}

impl Generations {
    /// Takes a line of the log in. An error is the end of the run: what was deployed will not
    /// serve.
    pub(super) fn note(&mut self, event: &Event) -> Result<(), String> {
        if event.kind() == "descriptors-left" {
            // The host's guess, from two looks at the whole process. Here they are counted.
            self.suspicions += 1;
        } else if matches!(event.text("level"), "WARN" | "ERROR") {
            self.warnings += 1;
            if self.troubles.len() < MOST_TROUBLES {
                self.troubles.push(event.to_string());
            }
        }
        let generation = event.number("generation");
        match event.kind() {
            "serving" => {
                let expected = self.serving + 1;
                if generation != Some(expected) {
                    return Err(format!("not generation {expected}: {event}"));
                }
                self.serving = expected;
            }
            "retired" if event.text("outcome") == "unloaded" => self.unloaded.extend(generation),
            "retired" | "quarantined" => self.quarantined += 1,
            "refused" => return Err(format!("refused: {event}")),
            _ => {}
        }
        Ok(())
    }

    /// How many old ones are still to go.
    pub(super) fn pending(&self) -> u64 {
        // Lines of two threads may come in any order.
        self.serving.saturating_sub(1 + self.unloaded.len() as u64)
    }
}
