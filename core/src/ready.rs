//! `Ready`: which of a lane's nodes may have something to do: one bit each, in
//! the order of the lane.

/// A set of positions.
#[derive(Default)]
pub(crate) struct Ready {
    words: Vec<u64>,
}

impl Ready {
    /// Makes the set hold all of `0..count`, and nothing else. \[control\], or
    /// \[real-time\] where the count has not grown.
    pub(crate) fn set_all(&mut self, count: usize) {
        self.words.clear();
        self.words.resize(count.div_ceil(64), u64::MAX);
        if let Some(last) = self.words.last_mut().filter(|_| !count.is_multiple_of(64)) {
            *last = (1 << (count % 64)) - 1;
        }
    }

    /// Puts a position in. \[real-time\]
    pub(crate) fn set(&mut self, position: usize) {
        if let Some(word) = self.words.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    /// Takes out the first position that is not below `from`. \[real-time\]
    pub(crate) fn take(&mut self, from: usize) -> Option<usize> {
        let mut mask = u64::MAX << (from % 64);
        for (index, word) in self.words.iter_mut().enumerate().skip(from / 64) {
            let left = *word & mask;
            if left != 0 {
                *word &= !(left & left.wrapping_neg());
                return Some(index * 64 + left.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    /// Whether there is none. \[real-time\]
    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_in_order_and_once() {
        let mut ready = Ready::default();
        ready.set_all(130);
        let mut from = 0;
        for expected in 0..130 {
            assert_eq!(ready.take(from), Some(expected));
            from = expected + 1;
        }
        assert!(ready.take(from).is_none() && ready.is_empty());
        ready.set(70);
        ready.set(5);
        assert_eq!((ready.take(6), ready.take(6), ready.take(0)), (Some(70), None, Some(5)));
    }
}
