//! `Tally`: which packets of a stream came.

use std::ops::Range;

/// No run sends as many of one stream; who says so is not believed.
const MOST: u64 = 1 << 26;

/// Which of a stream's numbered packets came.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Bit n % 64 of word n / 64: packet n came.
    came: Vec<u64>,
    /// How many came once more.
    pub(super) duplicates: u64,
    /// The least and the greatest of those that were sent within the time of the
    /// measurement.
    measured: Option<(u64, u64)>,
}

impl Tally {
    /// Packet `n` came, which was sent within the time of the measurement or was not.
    /// Whether it is new.
    pub(super) fn add(&mut self, n: u64, is_measured: bool) -> bool {
        let Ok(word) = usize::try_from(n / 64) else { return false };
        if n >= MOST {
            return false;
        }
        if self.came.len() <= word {
            self.came.resize(word + 1, 0);
        }
        if self.came[word] >> (n % 64) & 1 == 1 {
            self.duplicates += u64::from(is_measured);
            return false;
        }
        self.came[word] |= 1 << (n % 64);
        if is_measured {
            let (least, most) = self.measured.unwrap_or((n, n));
            self.measured = Some((least.min(n), most.max(n)));
        }
        true
    }

    /// From the first to the last that were sent within the measurement and came.
    pub(super) fn measured(&self) -> Range<u64> {
        self.measured.map_or(0..0, |(least, most)| least..most + 1)
    }

    /// How many of these came.
    pub(super) fn count(&self, range: Range<u64>) -> u64 {
        let words = self.came.iter().zip(0_u64..);
        let bits = words.map(|(word, at)| {
            let first = range.start.saturating_sub(at * 64).min(64);
            let end = range.end.saturating_sub(at * 64).min(64);
            let ones = |bits: u64| if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            (word & ones(end) & !ones(first)).count_ones()
        });
        bits.map(u64::from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_counts_once_and_ranges_count_what_is_in_them() {
        let mut tally = Tally::default();
        for n in (0..300).filter(|n| n % 3 != 0) {
            assert!(tally.add(n, (100..200).contains(&n)));
        }
        assert!(!tally.add(1, false) && !tally.add(100, true) && !tally.add(MOST, true));
        assert_eq!((tally.duplicates, tally.measured()), (1, 100..200));
        for range in [0..0, 0..300, 63..65, 64..128, 5..6, 6..7, 250..900] {
            let expected = range.clone().filter(|n| n % 3 != 0 && *n < 300).count() as u64;
            assert_eq!(tally.count(range.clone()), expected, "{range:?}");
        }
    }
}
