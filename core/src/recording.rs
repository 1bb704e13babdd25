//! Recordings: the frames of one link in a file, with their types and times.
//!
//! A recording holds frames of any kind (raw sound, raw pictures, packets, RTP, data)
//! as they were, and when each was taken, so that they can be played back
//! exactly. Numbers are little-endian. Times are nanoseconds; `arrival`, `pts`
//! and `captured` count from the start of the recording, so that a recording
//! made today plays tomorrow, and one made in virtual time is played back to
//! the same bytes.
//!
//! ```text
//! head    0  8  magic: "SIDEREC" and 0x1a
//!         8  2  version: 1
//!        10  2  length of the head, its checksum included; what is not known of
//!               a longer head is passed over
//!        12  8  seed of the run that made it
//!        20  8  when it began, on the clock of that run
//!        28 20  what it carries: a format as in records, then for pictures
//!               frames (4) in seconds (4); a zero stands for what is not known
//!         …  4  CRC-32 of all before it
//!
//! record  0  4  length of the body
//!         4  …  the body
//!         …  4  CRC-32 of length and body
//!
//! body    0  1  1: a frame; 2: the end
//!         1  1  flags: key 1, lost 2, discontinuity 4, silence 8, marker 16
//!         2  2  zero
//!         4 12  format: family (1 sound, 2 pictures, 3 packets, 4 RTP, 5 data;
//!               1 byte), codec (1 Opus, 2 AV1), layout (1 I420) or shape (1 face
//!               landmarks, 2 mask) (1), channels (2),
//!               samples a second or width (4), samples or height (4)
//!        16  8  number: frames before it, those that could not be recorded too
//!        24  8  arrival
//!        32  8  pts (signed)
//!        40  8  captured (signed)
//!        48  8  duration
//!        56  8  sequence
//!        64  …  payload: the bytes of a packet or of data; the samples of each channel in
//!               turn, 32-bit float; the rows of each plane in turn, unpadded
//! ```
//!
//! The end says by `number` how many frames there were, and by `arrival` when
//! the link ended. A file without one was cut: it plays up to its last whole
//! record.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::time::Duration;

use crate::context::Context;
use crate::data_shape::SHAPES;
use crate::frame::{AudioFormat, Flags, Format, Frame};
use crate::media_type::{Codec, MediaType, Size};
use crate::timestamp::Timestamp;

pub use reader::{Ending, Next, Reader, walk};
pub use writer::Writer;

const MAGIC: [u8; 8] = *b"SIDEREC\x1a";
const VERSION: u16 = 1;
/// Bytes of a head as it is written, its checksum included.
const HEAD_BYTES: usize = 52;
/// Bytes of a body before its payload.
const FIXED_BYTES: usize = 64;
/// Bytes of a record around its body.
const FRAMING: usize = 8;

/// The most bytes that one frame may have: 512 MiB.
pub const MOST_PAYLOAD: usize = 512 << 20;
/// The longest time that an arrival or a duration may be: a year.
const LONGEST: u64 = 366 * 86_400 * 1_000_000_000;
/// The furthest that other times may lie from the recording's start: 146 years.
const FURTHEST: u64 = 1 << 62;
/// As the kinds of file nodes read them.
const MOST_CHANNELS: u16 = 8;
const HIGHEST_RATE: u32 = 768_000;

const FRAME: u8 = 1;
const END: u8 = 2;

/// What each bit of a record's flags stands for.
const FLAGS: [Flags; 5] = [Flags::KEY, Flags::LOST, Flags::DISCONTINUITY, Flags::SILENCE, Flags::MARKER];
/// What each number of a codec stands for, from 1.
const CODECS: [Codec; 2] = [Codec::Opus, Codec::Av1];

/// What a recording says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it carries, as far as the graph knew.
    pub media: MediaType,
    /// The seed of the run that made it.
    pub seed: u64,
    /// When it began, on the clock of that run.
    pub started: Timestamp,
}

/// One frame of a recording, its payload aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// How many frames came before it, those that could not be recorded too:
    /// a gap says how many are missing.
    pub number: u64,
    /// When it was taken, after the recording's start.
    pub arrival: Duration,
    /// Its position on the sender's timeline, in nanoseconds after the
    /// recording's start; may be below zero.
    pub pts: i64,
    /// When it was captured, likewise.
    pub captured: i64,
    /// How long it lasts.
    pub duration: Duration,
    /// Its number at its source.
    pub sequence: u64,
    /// What is true of it.
    pub flags: Flags,
    /// What its payload is.
    pub format: Format,
}

impl Record {
    /// The frame again, out of the pool of output `port`, in a run in which the
    /// recording begins at `start`, captured at `captured`. `payload` is this
    /// record's own. \[real-time\]
    pub fn frame(
        &self,
        payload: &[u8],
        port: usize,
        start: Timestamp,
        captured: Timestamp,
        cx: &mut Context<'_>,
    ) -> Frame {
        let mut header = cx.born(captured, self.duration);
        header.pts = after(start, self.pts);
        header.sequence = self.sequence;
        header.flags = self.flags;
        let mut frame = match self.format {
            Format::Audio(audio) => cx.audio(port, audio, header),
            Format::Video(video) => cx.video(port, video, header),
            Format::Packet { codec, .. } => return cx.packet(port, codec, payload, header),
            Format::Rtp { codec, .. } => cx.rtp(port, codec, payload.len(), header),
            Format::Data { shape, .. } => return cx.data(port, shape, payload, header),
        };
        fill(&mut frame, payload);
        frame
    }

    /// When it was captured in a run in which the recording begins at `start`. \[any\]
    #[must_use]
    pub fn captured(&self, start: Timestamp) -> Timestamp {
        after(start, self.captured)
    }
}

/// The instant `nanos` after `start`, or before it.
fn after(start: Timestamp, nanos: i64) -> Timestamp {
    Timestamp::from_nanos(start.nanos().saturating_add_signed(nanos))
}

/// Nanoseconds from `start` to `at`.
const fn offset(start: Timestamp, at: Timestamp) -> i64 {
    at.nanos().wrapping_sub(start.nanos()).cast_signed()
}

/// Copies a payload into a frame of its format.
fn fill(frame: &mut Frame, payload: &[u8]) {
    match *frame.format() {
        Format::Audio(audio) => {
            let mut samples = payload.chunks_exact(4);
            for channel in 0..usize::from(audio.channels) {
                for (to, from) in frame.channel_mut(channel).iter_mut().zip(&mut samples) {
                    *to = f32::from_le_bytes(from.try_into().unwrap_or_default());
                }
            }
        }
        Format::Video(_) => {
            let mut rest = payload;
            for mut plane in frame.planes_mut() {
                for y in 0..plane.height {
                    let row = plane.row_mut(y);
                    let Some((from, more)) = rest.split_at_checked(row.len()) else { return };
                    row.copy_from_slice(from);
                    rest = more;
                }
            }
        }
        Format::Packet { .. } | Format::Rtp { .. } | Format::Data { .. } => {
            if let Some(to) = frame.storage_mut().get_mut(..payload.len()) {
                to.copy_from_slice(payload);
                frame.set_len(payload.len());
            }
        }
    }
}

/// Bytes of a frame's payload in a recording, where it can be recorded.
fn payload_bytes(format: &Format) -> Option<usize> {
    let bytes = match *format {
        Format::Audio(AudioFormat { rate, channels, samples }) => {
            let sane = (1..=HIGHEST_RATE).contains(&rate) && (1..=MOST_CHANNELS).contains(&channels);
            let bytes = u64::from(channels) * u64::from(samples) * size_of::<f32>() as u64;
            sane.then_some(bytes)?
        }
        Format::Video(video) => {
            let side = 1..=Size::MAX_SIDE;
            let sane = side.contains(&video.size.width) && side.contains(&video.size.height);
            let plane = |index| {
                let Size { width, height } = video.plane_size(index);
                u64::from(width) * u64::from(height)
            };
            sane.then(|| (0..3).map(plane).sum())?
        }
        Format::Packet { len, .. } | Format::Rtp { len, .. } => len as u64,
        Format::Data { shape, len } => SHAPES.contains(&shape).then_some(len as u64)?,
    };
    usize::try_from(bytes).ok().filter(|bytes| *bytes <= MOST_PAYLOAD)
}

/// Bytes that a recording needs for a frame of `format`. \[any\]
#[must_use]
pub fn record_bytes(format: &Format) -> usize {
    FRAMING + FIXED_BYTES + payload_bytes(format).unwrap_or(0)
}
