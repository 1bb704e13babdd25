//! `Joiner`: RTP payloads become a temporal unit again.

use super::{HAS_SIZE, Malformed, N, Obu, TEMPORAL_DELIMITER, TILE_LIST, W_SHIFT, Y, Z, leb128, read_leb128};

/// The largest temporal unit we put together, in bytes.
pub const MAX_UNIT: usize = 8 << 20;

/// Puts the payloads of one temporal unit together, in the low-overhead format:
/// a temporal delimiter, then every OBU with its size. Give it payloads in
/// order, none missing.
pub struct Joiner {
    unit: Vec<u8>,
    /// The OBU of which the last payload held a fragment to be continued.
    partial: Vec<u8>,
    is_open: bool,
}

impl Default for Joiner {
    fn default() -> Self {
        Self { unit: Vec::with_capacity(1 << 16), partial: Vec::with_capacity(1 << 16), is_open: false }
    }
}

impl Joiner {
    /// Forgets what came so far. \[real-time\]
    pub fn clear(&mut self) {
        self.unit.clear();
        self.partial.clear();
        self.is_open = false;
    }

    /// Takes the next payload. Allocates as the unit outgrows those before it.
    ///
    /// # Errors
    /// If it does not continue what came, or is damaged; `clear` then.
    pub fn push(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let (aggregation, mut rest) = payload.split_first().ok_or(Malformed::Length)?;
        let continues = aggregation & Z != 0;
        // AV1 RTP § 4.4, note: if N equals 1 then Z must equal 0.
        if rest.is_empty() || continues != self.is_open || (continues && aggregation & N != 0) {
            return Err(if rest.is_empty() { Malformed::Length } else { Malformed::Fragment });
        }
        let count = usize::from(aggregation >> W_SHIFT & 3);
        let mut place = 0;
        loop {
            place += 1;
            let mut element = rest;
            if place != count {
                let (size, taken) = read_leb128(rest).ok_or(Malformed::Length)?;
                element = rest.get(taken..).and_then(|rest| rest.get(..size)).ok_or(Malformed::Length)?;
                rest = &rest[taken..];
            }
            rest = &rest[element.len()..];
            let is_last = if count == 0 { rest.is_empty() } else { place == count };
            self.element(element, place == 1 && continues, is_last && aggregation & Y != 0)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// The whole unit; empty it with `clear` before the next. \[real-time\]
    ///
    /// # Errors
    /// If a fragment waits for its end, or nothing came.
    pub fn finish(&self) -> Result<&[u8], Malformed> {
        if self.is_open {
            return Err(Malformed::Fragment);
        }
        if self.unit.is_empty() { Err(Malformed::Empty) } else { Ok(&self.unit) }
    }

    fn element(&mut self, bytes: &[u8], continues: bool, open: bool) -> Result<(), Malformed> {
        // Sizes and the delimiter take fewer than 16 bytes more.
        if self.unit.len() + self.partial.len() + bytes.len() + 16 > MAX_UNIT {
            return Err(Malformed::TooLarge);
        }
        if !continues && !open {
            return append(&mut self.unit, bytes);
        }
        if !continues {
            self.partial.clear();
        }
        self.partial.extend_from_slice(bytes);
        self.is_open = open;
        if open { Ok(()) } else { append(&mut self.unit, &self.partial) }
    }
}

/// Adds a whole OBU element to the unit.
fn append(unit: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Malformed> {
    if bytes.is_empty() {
        return Ok(());
    }
    let (obu, taken) = Obu::parse(bytes)?;
    // § 4.5: obu_has_size_field should be 0, so it may be 1; then the size must
    // agree with the element's length.
    if taken != bytes.len() {
        return Err(Malformed::Length);
    }
    // § 5: receivers must ignore both of these.
    if matches!(obu.kind(), TEMPORAL_DELIMITER | TILE_LIST) {
        return Ok(());
    }
    if unit.is_empty() {
        unit.extend_from_slice(&[TEMPORAL_DELIMITER << 3 | HAS_SIZE, 0]);
    }
    unit.push(obu.header | HAS_SIZE);
    unit.extend(obu.extension);
    let (size, len) = leb128(obu.payload.len());
    unit.extend_from_slice(&size[..len]);
    unit.extend_from_slice(obu.payload);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Splitter;
    use super::super::tests::random_unit;
    use super::*;
    use fastrand::Rng;

    fn join(payloads: &[&[u8]]) -> Result<Vec<u8>, Malformed> {
        let mut joiner = Joiner::default();
        payloads.iter().try_for_each(|payload| joiner.push(payload))?;
        joiner.finish().map(<[u8]>::to_vec)
    }

    #[test]
    fn sizes_and_a_delimiter_are_put_back() {
        let unit = join(&[&[0x20, 2, 0x08, 9, 0x30, 1, 2, 3]]);
        assert_eq!(unit.unwrap(), [0x12, 0, 0x0a, 1, 9, 0x32, 3, 1, 2, 3]);
    }

    #[test]
    fn an_obu_in_three_packets_becomes_one() {
        let unit = join(&[&[0x50, 0x34], &[0xd0, 0x08, 1], &[0x90, 2]]);
        assert_eq!(unit.unwrap(), [0x12, 0, 0x36, 0x08, 2, 1, 2]);
    }

    #[test]
    fn sizes_inside_are_taken_if_they_agree() {
        assert_eq!(join(&[&[0x10, 0x32, 2, 1, 2]]).unwrap(), [0x12, 0, 0x32, 2, 1, 2]);
        assert_eq!(join(&[&[0x10, 0x32, 1, 1, 2]]), Err(Malformed::Length));
    }

    #[test]
    fn received_delimiters_and_tile_lists_are_ignored() {
        assert_eq!(join(&[&[0x30, 1, 0x10, 2, 0x40, 5, 0x30, 1]]).unwrap(), [0x12, 0, 0x32, 1, 1]);
        assert_eq!(join(&[&[0x10, 0x10]]), Err(Malformed::Empty));
    }

    #[test]
    fn fragments_without_start_or_end_are_refused() {
        assert_eq!(join(&[&[0x90, 1]]), Err(Malformed::Fragment));
        assert_eq!(join(&[&[0x50, 0x30]]), Err(Malformed::Fragment));
        assert_eq!(join(&[&[0x50, 0x30], &[0x10, 0x30]]), Err(Malformed::Fragment));
        assert_eq!(join(&[&[0x50, 0x30], &[0x98, 1]]), Err(Malformed::Fragment));
        assert_eq!(join(&[&[0x10]]), Err(Malformed::Length));
        assert_eq!(join(&[&[0x00, 9, 0x30]]), Err(Malformed::Length));
        assert_eq!(join(&[&[0x10, 0x04]]), Err(Malformed::Length));
    }

    #[test]
    fn a_unit_without_end_is_bounded() {
        let mut joiner = Joiner::default();
        let mut payload = vec![0; 60_000];
        payload[..2].copy_from_slice(&[0x50, 0x30]);
        joiner.push(&payload).unwrap();
        payload[0] = 0xd0;
        let refused = (0..1_000).find_map(|_| joiner.push(&payload).err());
        assert_eq!(refused, Some(Malformed::TooLarge));
    }

    #[test]
    fn no_mutation_makes_it_panic_or_grow() {
        let mut rng = Rng::with_seed(8);
        let (mut splitter, mut joiner) = (Splitter::default(), Joiner::default());
        for _ in 0..5_000 {
            let unit = random_unit(&mut rng);
            let limit = rng.usize(3..600);
            let count = splitter.plan(&unit, limit).unwrap();
            joiner.clear();
            for index in 0..count {
                let mut payload = vec![0; limit];
                let len = splitter.write(&unit, index, &mut payload);
                payload.truncate(rng.usize(..=len));
                for _ in 0..rng.usize(..3).min(payload.len()) {
                    let at = rng.usize(..payload.len().min(6));
                    payload[at] = rng.u8(..);
                }
                let _ = joiner.push(&payload);
            }
            assert!(joiner.finish().map_or(0, <[u8]>::len) <= 4 * unit.len() + 64);
        }
    }
}
