//! `DelayLine`: packets under way, let out when they are due.

use std::collections::BinaryHeap;

use sidetone_core::{Frame, Timestamp};

/// The most packets under way.
pub(crate) const MOST_HELD: usize = 8_192;

/// Packets under way, in a heap that never grows.
pub(crate) struct DelayLine {
    heap: BinaryHeap<Held>,
    /// Tells packets due at one instant apart.
    order: u64,
}

impl DelayLine {
    /// An empty one. \[control\]
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::with_capacity(MOST_HELD), order: 0 }
    }

    /// Holds a packet until `due`; false if there is no room. \[real-time\]
    pub(crate) fn hold(&mut self, due: Timestamp, frame: Frame) -> bool {
        let fits = self.heap.len() < MOST_HELD;
        if fits {
            self.heap.push(Held { due, order: self.order, frame });
            self.order += 1;
        }
        fits
    }

    /// When the next packet is due. \[real-time\]
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|held| held.due)
    }

    /// Takes the next packet, if it is due at `now`. \[real-time\]
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<Frame> {
        let is_due = self.next().is_some_and(|due| due <= now);
        is_due.then(|| self.heap.pop()).flatten().map(|held| held.frame)
    }
}

/// A packet under way.
struct Held {
    due: Timestamp,
    order: u64,
    frame: Frame,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Reversed: the heap's greatest is the next due.
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}
