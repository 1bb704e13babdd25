//! `Timers`: when which cell of a lane asked to be called: a binary heap that
//! knows where each cell stands in it, so that a cell has at most one instant
//! and changing it allocates nothing.

use crate::timestamp::Timestamp;

/// Instants by cell.
#[derive(Default)]
pub(crate) struct Timers {
    heap: Vec<(Timestamp, usize)>,
    /// Where in the heap each cell's instant is, plus one.
    at: Vec<usize>,
}

impl Timers {
    /// Makes room for cells `0..cells`. \[control\]
    pub(crate) fn reserve(&mut self, cells: usize) {
        self.at.resize(cells.max(self.at.len()), 0);
        self.heap.reserve(self.at.len() - self.heap.len());
    }

    /// Takes the instants of another over, which has no more cells. \[real-time\]
    pub(crate) fn take_over(&mut self, other: &mut Self) {
        self.heap.append(&mut other.heap);
        self.at[..other.at.len()].copy_from_slice(&other.at);
    }

    /// The earliest instant. \[real-time\]
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.heap.first().map(|(when, _)| *when)
    }

    /// Sets a cell's instant, or takes it away. \[real-time\]
    #[inline]
    pub(crate) fn set(&mut self, cell: usize, when: Option<Timestamp>) {
        if when.is_some() || self.at[cell] != 0 {
            self.change(cell, when);
        }
    }

    fn change(&mut self, cell: usize, when: Option<Timestamp>) {
        match (self.at[cell].checked_sub(1), when) {
            (None, None) => {}
            (None, Some(when)) => {
                self.heap.push((when, cell));
                self.at[cell] = self.heap.len();
                self.up(self.heap.len() - 1);
            }
            (Some(place), Some(when)) => {
                self.heap[place].0 = when;
                let place = self.up(place);
                self.down(place);
            }
            (Some(place), None) => {
                self.at[cell] = 0;
                let Some(last) = self.heap.pop() else { return };
                if last.1 != cell {
                    self.heap[place] = last;
                    self.at[last.1] = place + 1;
                    let place = self.up(place);
                    self.down(place);
                }
            }
        }
    }

    /// Takes a cell whose instant has come. \[real-time\]
    pub(crate) fn expire(&mut self, now: Timestamp) -> Option<usize> {
        let cell = self.heap.first().filter(|(when, _)| *when <= now)?.1;
        self.set(cell, None);
        Some(cell)
    }

    fn up(&mut self, mut place: usize) -> usize {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        place
    }

    fn down(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let Some(&first) = self.heap.get(left) else { return };
            let least =
                if self.heap.get(left + 1).is_some_and(|right| *right < first) { left + 1 } else { left };
            if self.heap[place] <= self.heap[least] {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.at[self.heap[a].1] = a + 1;
        self.at[self.heap[b].1] = b + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_come_in_order_however_they_were_changed() {
        const CELLS: usize = 40;
        let mut random = fastrand::Rng::with_seed(7);
        let mut timers = Timers::default();
        timers.reserve(CELLS);
        let mut expected: Vec<Option<Timestamp>> = vec![None; CELLS];
        // Miri runs a thousand times slower, and there is nothing unsafe here for it to find.
        for _ in 0..if cfg!(miri) { 200 } else { 2_000 } {
            let cell = random.usize(..CELLS);
            let when = random.bool().then(|| Timestamp::from_nanos(random.u64(..1_000)));
            timers.set(cell, when);
            expected[cell] = when;
            assert_eq!(timers.first(), expected.iter().flatten().min().copied());
        }
        let mut last = Timestamp::ZERO;
        while let Some(cell) = timers.expire(Timestamp::from_nanos(500)) {
            let when = expected[cell].take().unwrap();
            assert!(when >= last && when <= Timestamp::from_nanos(500));
            last = when;
        }
        assert!(expected.iter().flatten().all(|when| *when > Timestamp::from_nanos(500)));
    }
}
