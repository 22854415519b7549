//! More or fewer workers than there were.

use super::{Muster, Place};

impl Muster {
    /// There are to be so many from now on. Those with the highest numbers go.
    pub(super) fn resize(&mut self, size: u32) {
        let before = std::mem::replace(&mut self.size, size);
        for number in size..before {
            self.empty(number);
        }
        for number in u32::try_from(self.places.len()).unwrap_or(u32::MAX)..size {
            self.places.push(Place::empty(number));
        }
        // Where others are empty, this crew follows another or is followed: whoever has emptied
        // them has them filled when there is room, these with them.
        let mut old = self.places.iter().filter(|place| place.number < before);
        if old.any(|place| place.vacant && place.number < size) {
            return;
        }
        for at in 0..self.places.len() {
            if (before..size).contains(&self.places[at].number) {
                self.fill(at);
            }
        }
    }
}
