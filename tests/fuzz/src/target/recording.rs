//! Recordings of frames.

use sidetone::recording::walk;
use sidetone::{Flags, Frame};

use crate::Target;
use crate::nodes::{pictures, tone};
use crate::target::codec::av1_units;
use crate::target::file::{in_bounds, written};

pub(crate) const RECORDING: Target = Target {
    name: "recording",
    // A change breaks a checksum nearly always; what stands behind the checksums
    // is tried with all of them made to fit.
    run: |bytes| {
        let plain = walk(bytes).is_ok_and(|frames| in_bounds(frames, bytes));
        let fitting = with_checksums(bytes);
        walk(&fitting).is_ok_and(|frames| in_bounds(frames, bytes)) || plain
    },
    seeds: || {
        let flagged = |mut frames: Vec<Frame>| {
            frames.iter_mut().for_each(|frame| frame.header.flags = Flags::KEY.with(Flags::MARKER));
            frames
        };
        [tone(40), pictures(2), flagged(av1_units())]
            .map(|frames| written("file.frames_sink", &[], frames))
            .into()
    },
    words: &["SIDEREC\u{1a}"],
    most_mib: 4,
};

/// The same bytes with every checksum that their lengths lead to made to fit.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut begin = 0usize;
    let mut length = bytes.get(10..12).map_or(0, |at| usize::from(u16::from_le_bytes([at[0], at[1]])));
    while let Some(end) = begin.checked_add(length).filter(|end| length >= 4 && *end <= bytes.len()) {
        let sum = crc32fast::hash(&bytes[begin..end - 4]);
        bytes[end - 4..end].copy_from_slice(&sum.to_le_bytes());
        begin = end;
        let body = bytes[begin..].first_chunk::<4>().map_or(0, |at| u32::from_le_bytes(*at) as usize);
        length = body.saturating_add(8);
    }
    bytes
}
