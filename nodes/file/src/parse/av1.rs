//! As much of an AV1 temporal unit as a file needs: whether a decoder can start
//! at it, and how large its pictures are.
//!
//! Source: AV1 Bitstream & Decoding Process Specification, § 5.3 (OBUs), § 5.5
//! (sequence header), § 5.9 (frame header). Damage ends the walk; it is the
//! decoder's to judge.

use sidetone_core::Size;

const SEQUENCE_HEADER: u8 = 1;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;

/// Whether a decoder can start at this temporal unit: it holds a sequence
/// header and then a shown key frame (§ 7.6.2). \[any\]
#[must_use]
pub fn is_key(unit: &[u8]) -> bool {
    let mut reduced = None;
    for (kind, payload) in obus(unit) {
        let mut bits = Bits::new(payload);
        match kind {
            SEQUENCE_HEADER => reduced = is_reduced_still_picture(payload),
            // A reduced still picture's only frame is a key frame. Otherwise:
            // show_existing_frame = 0, frame_type = 0 (key), show_frame = 1.
            FRAME_HEADER | FRAME => match reduced {
                Some(true) => return true,
                Some(false) => return bits.take(4) == Some(0b0001),
                None => return false,
            },
            _ => {}
        }
    }
    false
}

/// How large the pictures are at most, if a sequence header says so. \[any\]
#[must_use]
pub fn picture_size(unit: &[u8]) -> Option<Size> {
    obus(unit).find(|(kind, _)| *kind == SEQUENCE_HEADER).and_then(|(_, payload)| sequence_size(payload))
}

/// The OBUs of `bytes`, type and payload, up to the first that is damaged.
fn obus(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || take_obu(&mut rest))
}

/// § 5.3: the first OBU of `bytes`, which then hold what follows it.
fn take_obu<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (header, mut rest) = bytes.split_first()?;
    let (forbidden, kind) = (header & 0x80 != 0, (header >> 3) & 0x0f);
    let (has_extension, has_size) = (header & 0x04 != 0, header & 0x02 != 0);
    if forbidden {
        return None;
    }
    if has_extension {
        rest = rest.get(1..)?;
    }
    let size = if has_size { take_leb128(&mut rest)? } else { rest.len() };
    let (payload, after) = rest.split_at_checked(size)?;
    *bytes = after;
    Some((kind, payload))
}

/// § 4.10.5: at most eight bytes, seven bits each, and a value of 32 bits.
fn take_leb128(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for index in 0..8 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok().and_then(|value| usize::try_from(value).ok());
        }
    }
    None
}

fn is_reduced_still_picture(sequence_header: &[u8]) -> Option<bool> {
    let mut bits = Bits::new(sequence_header);
    bits.take(4)?; // seq_profile, still_picture
    bits.flag()
}

/// § 5.5.1, as far as max_frame_width and max_frame_height.
fn sequence_size(sequence_header: &[u8]) -> Option<Size> {
    let mut bits = Bits::new(sequence_header);
    bits.take(4)?; // seq_profile, still_picture
    if bits.flag()? {
        bits.take(5)?; // seq_level_idx
    } else {
        let mut decoder_delay_bits = None;
        if bits.flag()? {
            bits.take(32)?; // num_units_in_display_tick
            bits.take(32)?; // time_scale
            if bits.flag()? {
                bits.take_uvlc()?; // num_ticks_per_picture_minus_1
            }
            if bits.flag()? {
                decoder_delay_bits = Some(bits.take(5)? + 1);
                bits.take(32)?; // num_units_in_decoding_tick
                bits.take(10)?; // two lengths
            }
        }
        let has_initial_delay = bits.flag()?;
        for _ in 0..=bits.take(5)? {
            bits.take(12)?; // operating_point_idc
            if bits.take(5)? > 7 {
                bits.take(1)?; // seq_tier
            }
            if let Some(length) = decoder_delay_bits
                && bits.flag()?
            {
                bits.take(length)?;
                bits.take(length)?;
                bits.take(1)?;
            }
            if has_initial_delay && bits.flag()? {
                bits.take(4)?;
            }
        }
    }
    let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
    Some(Size::new(bits.take(width_bits)? + 1, bits.take(height_bits)? + 1))
}

/// Bits, the highest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn flag(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }

    /// § 4.10.3.
    fn take_uvlc(&mut self) -> Option<()> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        if zeros < 32 { self.take(zeros).map(|_| ()) } else { Some(()) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The start of a temporal unit as libaom writes it for 1280x720: temporal
    /// delimiter, sequence header, and a frame that begins with `frame`.
    pub(crate) fn unit(with_sequence: bool, frame: u8) -> Vec<u8> {
        let mut unit = vec![0x12, 0x00];
        if with_sequence {
            unit.extend([0x0a, 0x0b, 0x00, 0x00, 0x00, 0x2d, 0x4c, 0xff, 0xb3, 0xcf, 0xbf, 0x98, 0x04]);
        }
        unit.extend([0x32, 0x03, frame, 0x00, 0x82]);
        unit
    }

    #[test]
    fn only_a_shown_key_frame_behind_a_sequence_header_is_a_start() {
        assert!(is_key(&unit(true, 0b0001_0000)));
        assert!(!is_key(&unit(false, 0b0001_0000)), "no sequence header");
        assert!(!is_key(&unit(true, 0b0011_0000)), "an inter frame");
        assert!(!is_key(&unit(true, 0b0000_0000)), "a key frame that is not shown");
        assert!(!is_key(&unit(true, 0b1000_0000)), "a frame shown again");
        assert!(is_key(&[0x0a, 0x01, 0b0001_1000, 0x32, 0x00]), "a reduced still picture");
    }

    #[test]
    fn the_size_stands_in_the_sequence_header() {
        assert_eq!(picture_size(&unit(true, 0x10)), Some(Size::new(1280, 720)));
        assert_eq!(picture_size(&unit(false, 0x10)), None);
    }

    #[test]
    fn an_obu_without_a_size_reaches_to_the_end() {
        let unit = [0x0a, 0x01, 0b0000_0000, 0x30, 0x10, 0x00];
        assert!(is_key(&unit));
    }

    #[test]
    fn damage_ends_the_walk() {
        let whole = unit(true, 0x10);
        for cut in 0..whole.len() - 3 {
            assert!(!is_key(&whole[..cut]));
        }
        assert!(!is_key(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]));
        assert!(!is_key(&[0x8a, 0x00]));
        let mut rng = fastrand::Rng::with_seed(4);
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..rng.usize(1..8) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            let _ = is_key(&bytes);
            if let Some(size) = picture_size(&bytes) {
                assert!(size.width <= 65_536 && size.height <= 65_536);
            }
        }
    }
}
