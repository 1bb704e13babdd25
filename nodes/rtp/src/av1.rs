//! AV1 in RTP: "RTP Payload Format For AV1 (v1.0)",
//! <https://aomediacodec.github.io/av1-rtp-spec/>, called "AV1 RTP" here, and as
//! much of the AV1 bitstream specification as it needs: OBU headers, sizes, and
//! where a coded video sequence starts.
//!
//! `rtc-rtp`'s AV1 code is the twin in the tests, where it is right. It is not
//! used itself: it allocates for every packet, sets N on every sequence header
//! (also those before delta frames), puts spatial layers together in one packet
//! (against AV1 RTP § 5), and panics on damaged sizes (an OBU longer than its
//! unit, an extension flag on an OBU of one byte).

mod join;
mod split;

pub use join::{Joiner, MAX_UNIT};
pub use split::Splitter;

use std::fmt;

/// Aggregation header, AV1 RTP § 4.4: the first element continues a fragment.
const Z: u8 = 0x80;
/// The last element continues in the next packet.
const Y: u8 = 0x40;
/// Where the number of elements stands, 0 for "all have lengths".
const W_SHIFT: u32 = 4;
/// The packet is the first of a coded video sequence.
const N: u8 = 0x08;

/// OBU header, AV1 § 5.3.2: an extension byte follows.
const HAS_EXTENSION: u8 = 0x04;
/// A size follows.
const HAS_SIZE: u8 = 0x02;

/// OBU types, AV1 § 6.2.2.
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;

/// Why bytes are not AV1, or not AV1 in RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A length runs past its end, or is no length.
    Length,
    /// An OBU header has its forbidden bit set.
    Header,
    /// A fragment has no start or no end.
    Fragment,
    /// There is nothing in it.
    Empty,
    /// It is larger than we take.
    TooLarge,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "an AV1 length is wrong",
            Self::Header => "an OBU header is wrong",
            Self::Fragment => "an OBU fragment lacks its start or end",
            Self::Empty => "there is no OBU",
            Self::TooLarge => "the temporal unit is too large",
        })
    }
}

impl std::error::Error for Malformed {}

/// One OBU without its size field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// Its header byte, `obu_has_size_field` cleared.
    pub header: u8,
    /// Its extension byte, if it has one.
    pub extension: Option<u8>,
    /// What follows.
    pub payload: &'a [u8],
}

impl<'a> Obu<'a> {
    /// Its type, AV1 § 6.2.2. \[any\]
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.header >> 3 & 0x0f
    }

    /// Reads the OBU at the start of `bytes`, and says how many bytes it takes:
    /// all, if it has no size field. \[real-time\]
    ///
    /// # Errors
    /// If there is no whole OBU there.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), Malformed> {
        let (header, mut rest) = bytes.split_first().ok_or(Malformed::Length)?;
        if header & 0x80 != 0 {
            return Err(Malformed::Header);
        }
        let mut extension = None;
        if header & HAS_EXTENSION != 0 {
            let [byte, after @ ..] = rest else { return Err(Malformed::Length) };
            extension = Some(*byte);
            rest = after;
        }
        let mut payload = rest;
        if header & HAS_SIZE != 0 {
            let (size, taken) = read_leb128(rest).ok_or(Malformed::Length)?;
            payload = rest.get(taken..).and_then(|rest| rest.get(..size)).ok_or(Malformed::Length)?;
            rest = &rest[taken..];
        }
        let obu = Self { header: header & !HAS_SIZE, extension, payload };
        Ok((obu, bytes.len() - rest.len() + payload.len()))
    }
}

/// The OBUs of a temporal unit, one after another; ends at the first that is
/// malformed. \[real-time\]
pub fn obus(mut bytes: &[u8]) -> impl Iterator<Item = Result<Obu<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let parsed = Obu::parse(bytes);
        bytes = parsed.as_ref().map_or(&[], |(_, taken)| &bytes[*taken..]);
        Some(parsed.map(|(obu, _)| obu))
    })
}

/// Whether a new coded video sequence starts with this temporal unit, so that a
/// decoder can start there. \[real-time\]
///
/// AV1 § 7.5: a sequence header comes before the first frame header, which has
/// `frame_type` KEY_FRAME, `show_frame` 1, `show_existing_frame` 0 and
/// `temporal_id` 0.
#[must_use]
pub fn starts_sequence(unit: &[u8]) -> bool {
    let mut reduced = None;
    for obu in obus(unit).map_while(Result::ok) {
        match (obu.kind(), obu.payload.first()) {
            // § 5.5.1: seq_profile f(3), still_picture f(1),
            // reduced_still_picture_header f(1).
            (SEQUENCE_HEADER, Some(first)) => reduced = Some(first & 0x08 != 0),
            (FRAME | FRAME_HEADER, Some(first)) => {
                let base_layer = obu.extension.is_none_or(|extension| extension >> 5 == 0);
                // § 5.9.2: show_existing_frame f(1), frame_type f(2),
                // show_frame f(1), unless all that is implied.
                return base_layer && reduced.is_some_and(|reduced| reduced || first & 0xf0 == 0x10);
            }
            _ => {}
        }
    }
    false
}

/// Whether an RTP payload says that it is the first of a coded video sequence:
/// N, AV1 RTP § 4.4. \[real-time\]
#[must_use]
pub fn payload_starts_sequence(payload: &[u8]) -> bool {
    payload.first().is_some_and(|aggregation| aggregation & (N | Z) == N)
}

/// A leb128 number and how many bytes it takes; AV1 § 4.10.5: at most eight, and
/// below 2^32. \[real-time\]
#[must_use]
pub fn read_leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}

/// The bytes that `value` takes in leb128.
const fn leb128_len(value: usize) -> usize {
    let mut rest = value >> 7;
    let mut len = 1;
    while rest > 0 {
        rest >>= 7;
        len += 1;
    }
    len
}

/// `value` in leb128, and how many of the bytes are used.
fn leb128(value: usize) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut rest = value;
    let len = leb128_len(value);
    for byte in &mut bytes[..len] {
        #[allow(clippy::cast_possible_truncation)] // masked to seven bits
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        *byte = if rest > 0 { low | 0x80 } else { low };
    }
    (bytes, len)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fastrand::Rng;

    /// An OBU of `kind` in the low-overhead format, with its size.
    pub(crate) fn obu(kind: u8, extension: Option<u8>, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind << 3 | HAS_SIZE];
        if let Some(extension) = extension {
            bytes[0] |= HAS_EXTENSION;
            bytes.push(extension);
        }
        let (size, len) = leb128(payload.len());
        bytes.extend(&size[..len]);
        bytes.extend(payload);
        bytes
    }

    /// A temporal unit that begins with its delimiter; `key` ones start a coded
    /// video sequence.
    pub(crate) fn unit(key: bool, bytes: usize) -> Vec<u8> {
        let mut unit = vec![0x12, 0];
        if key {
            unit.extend(obu(SEQUENCE_HEADER, None, &[0, 0, 0, 4, 60, 200]));
        }
        let mut frame: Vec<u8> = (0..bytes.max(1)).map(|at| (at % 251) as u8).collect();
        frame[0] = if key { 0x10 } else { 0x30 };
        unit.extend(obu(FRAME, None, &frame));
        unit
    }

    /// A temporal unit of random OBUs that all survive packing.
    pub(crate) fn random_unit(rng: &mut Rng) -> Vec<u8> {
        let mut unit = vec![0x12, 0];
        for _ in 0..rng.usize(1..8) {
            let kind = [SEQUENCE_HEADER, FRAME_HEADER, 4, 5, FRAME, 7][rng.usize(..6)];
            let extension = rng.bool().then(|| rng.u8(..) & 0xf8);
            let length = if rng.u8(..4) == 0 { rng.usize(..3_000) } else { rng.usize(..40) };
            let payload: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
            unit.extend(obu(kind, extension, &payload));
        }
        unit
    }

    #[test]
    fn leb128_reads_back_and_refuses_what_av1_does_not_allow() {
        for value in [0, 1, 127, 128, 300, 16_451, 0x0fff_ffff, 0xffff_ffff] {
            let (bytes, len) = leb128(value);
            assert_eq!(read_leb128(&bytes[..len]), Some((value, len)));
            assert_eq!(read_leb128(&bytes[..len - 1]), None);
        }
        // § 4.10.5 allows padding with zeros, up to eight bytes.
        assert_eq!(read_leb128(&[0xc3, 0x80, 0x81, 0x80, 0]), Some((16_451, 5)));
        assert_eq!(read_leb128(&[0x80; 9]), None);
        assert_eq!(read_leb128(&[0xff, 0xff, 0xff, 0xff, 0x7f]), None);
    }

    #[test]
    fn only_a_shown_key_frame_after_a_sequence_header_starts_a_sequence() {
        assert!(starts_sequence(&unit(true, 10)));
        assert!(!starts_sequence(&unit(false, 10)));
        let header = obu(SEQUENCE_HEADER, None, &[0]);
        let shown_key = obu(FRAME, None, &[0x10]);
        let starts = |parts: &[&[u8]]| starts_sequence(&parts.concat());
        assert!(starts(&[&header, &shown_key]));
        assert!(!starts(&[&shown_key]), "no sequence header");
        assert!(!starts(&[&header, &obu(FRAME, None, &[0x30])]), "an inter frame with a repeated header");
        assert!(!starts(&[&header, &obu(FRAME, None, &[0x00])]), "not shown");
        assert!(!starts(&[&header, &obu(FRAME, Some(0x20), &[0x10])]), "not the base layer");
        assert!(starts(&[&obu(SEQUENCE_HEADER, None, &[0x18]), &obu(FRAME, None, &[0])]), "a still picture");
    }

    #[test]
    fn no_bytes_make_the_walk_panic() {
        let mut rng = Rng::with_seed(4);
        for _ in 0..20_000 {
            let mut bytes = random_unit(&mut rng);
            bytes.truncate(rng.usize(..=bytes.len().min(60)));
            for _ in 0..rng.usize(..4).min(bytes.len()) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            assert!(obus(&bytes).count() <= bytes.len());
            let _ = (starts_sequence(&bytes), payload_starts_sequence(&bytes));
        }
    }
}
