//! `Mutator`: damages seeds, the same way every time.

use std::ops::Range;

use fastrand::Rng;

/// The longest input that comes out.
const MOST_BYTES: usize = 1 << 16;

/// Values at which lengths and counts go wrong.
const EXTREMES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, u64::MAX];

/// Damages seeds.
pub(crate) struct Mutator {
    rng: Rng,
    seeds: Vec<Vec<u8>>,
    words: &'static [&'static str],
    is_text: bool,
    input: Vec<u8>,
}

impl Mutator {
    /// At least one seed is needed.
    pub(crate) fn new(seed: u64, seeds: Vec<Vec<u8>>, words: &'static [&'static str]) -> Self {
        assert!(!seeds.is_empty(), "there is nothing to begin with");
        let is_text = seeds.iter().all(|seed| std::str::from_utf8(seed).is_ok());
        Self { rng: Rng::with_seed(seed), seeds, words, is_text, input: Vec::new() }
    }

    /// The next input: a seed with a thing or a few done to it, so that many
    /// inputs get past the first checks.
    pub(crate) fn next(&mut self) -> &[u8] {
        let seed = self.rng.usize(..self.seeds.len());
        self.input.clone_from(&self.seeds[seed]);
        self.mutate();
        while self.rng.bool() {
            self.mutate();
        }
        self.input.truncate(MOST_BYTES);
        &self.input
    }

    fn mutate(&mut self) {
        let at = self.place();
        match self.rng.u8(..if self.is_text { 24 } else { 9 }) {
            0 => self.change(at, |rng, byte| byte ^ 1 << rng.u8(..8)),
            1 => self.change(at, |rng, _| rng.u8(..)),
            // Off by a little: lengths that nearly fit.
            2 => self.change(at, |rng, byte| byte.wrapping_add_signed(rng.i8(-4..=4))),
            3 => self.extreme(at),
            4 => self.input.truncate(at),
            5 => {
                let end = self.end(at);
                self.input.drain(at..end);
            }
            6 => {
                let end = self.end(at);
                let again = self.input[at..end].to_vec();
                let to = self.place();
                self.input.splice(to..to, again);
            }
            7 => self.cross(at),
            8 => self.word(at),
            // Most damage to text never gets past the first look at it.
            _ => self.token(at),
        }
    }

    /// A place in the input, near its start more often than not: that is where
    /// headers are.
    fn place(&mut self) -> usize {
        let mut place = self.rng.usize(..=self.input.len());
        if self.rng.bool() {
            place = self.rng.usize(..=place);
        }
        place
    }

    /// The end of a piece that begins at `at`, short more often than not.
    fn end(&mut self, at: usize) -> usize {
        let left = self.input.len() - at;
        let most = if self.rng.bool() { left.min(16) } else { left };
        at + self.rng.usize(..=most)
    }

    fn change(&mut self, at: usize, to: impl FnOnce(&mut Rng, u8) -> u8) {
        if let Some(byte) = self.input.get_mut(at) {
            *byte = to(&mut self.rng, *byte);
        }
    }

    /// Overwrites a field of one, two, four or eight bytes of either order.
    fn extreme(&mut self, at: usize) {
        let value = EXTREMES[self.rng.usize(..EXTREMES.len())];
        let width = 1 << self.rng.usize(..4);
        let bytes =
            if self.rng.bool() { value.to_le_bytes() } else { value.rotate_right(8 * width).to_be_bytes() };
        let width = (width as usize).min(self.input.len() - at);
        self.input[at..at + width].copy_from_slice(&bytes[..width]);
    }

    /// Goes on with another seed from here, or from somewhere else in it.
    fn cross(&mut self, at: usize) {
        let other = &self.seeds[self.rng.usize(..self.seeds.len())];
        let from = if self.rng.bool() { at.min(other.len()) } else { self.rng.usize(..=other.len()) };
        self.input.truncate(at);
        self.input.extend_from_slice(&other[from..]);
    }

    /// Puts a name or number of another seed in place of the one that stands
    /// here, so that text stays well-formed.
    fn token(&mut self, at: usize) {
        let other = &self.seeds[self.rng.usize(..self.seeds.len())];
        let new = &other[token_at(other, self.rng.usize(..=other.len()))];
        let old = token_at(&self.input, at);
        self.input.splice(old, new.iter().copied());
    }

    /// Puts in a word, in place of what stands there or before it; where the
    /// format has none, a piece of another seed.
    fn word(&mut self, at: usize) {
        let word = if self.words.is_empty() {
            let other = &self.seeds[self.rng.usize(..self.seeds.len())];
            let from = self.rng.usize(..=other.len());
            &other[from..(from + self.rng.usize(..16)).min(other.len())]
        } else {
            self.words[self.rng.usize(..self.words.len())].as_bytes()
        };
        let replaced = if self.rng.bool() { word.len().min(self.input.len() - at) } else { 0 };
        self.input.splice(at..at + replaced, word.iter().copied());
    }
}

/// The letters, digits and `_` around `at`.
fn token_at(bytes: &[u8], at: usize) -> Range<usize> {
    let ends = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'_';
    let start = bytes[..at].iter().rposition(ends).map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(ends).map_or(bytes.len(), |after| at + after);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_they_differ_among_themselves() {
        let new = |seed| Mutator::new(seed, vec![b"RIFF....WAVEfmt ".to_vec(), vec![0xf7; 40]], &["data"]);
        let (mut one, mut two, mut other) = (new(1), new(1), new(2));
        let (mut inputs, mut same) = (Vec::new(), 0);
        for _ in 0..500 {
            let input = one.next().to_vec();
            assert_eq!(two.next(), input);
            same += usize::from(other.next() == input);
            inputs.push(input);
        }
        inputs.sort();
        inputs.dedup();
        assert!(inputs.len() > 400 && same < 100, "{} differ, {same} are alike", inputs.len());
    }

    #[test]
    fn a_token_is_a_whole_name() {
        let line = b"mic = { kind = \"test.tone_2\" }";
        for (at, token) in [(0, "mic"), (3, "mic"), (4, ""), (22, "tone_2"), (line.len(), "")] {
            assert_eq!(&line[token_at(line, at)], token.as_bytes(), "at {at}");
        }
    }

    #[test]
    fn no_chain_of_mutations_outgrows_the_bound() {
        let mut mutator = Mutator::new(3, vec![vec![0xff; 50_000], Vec::new()], &[]);
        assert!((0..200).all(|_| mutator.next().len() <= MOST_BYTES));
    }
}
