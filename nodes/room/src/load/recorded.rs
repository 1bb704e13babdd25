//! `Recording`: sizes, instants and key frames of RTP packets that somebody recorded, for
//! publishers to send again and again.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use sidetone_core::Format;
use sidetone_core::media_type::Codec;
use sidetone_core::read_error::ReadError;
use sidetone_core::recording::{Next, Reader};
use str0m::format::detect_av1_keyframe;

use crate::protocol::Kind;
use crate::rtp_header::RtpHeader;

use super::pattern::{Step, interval_of, ticks_of};
use super::stamp;

/// Frames that are taken of a recording: ten hours of pictures.
const MOST_FRAMES: usize = 1 << 20;
/// Payloads longer than this are cut: no path carries them.
const MOST_PAYLOAD: usize = 1_400;
/// The least from one frame to the next: a recording may have any number at once.
const LEAST_APART: Duration = Duration::from_micros(100);
/// Where nothing came for longer than this, the recording goes on.
const MOST_APART: Duration = Duration::from_secs(10);

/// Why a recording cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum BadRecording {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It has no such packets.
    #[error("it has no RTP packets of {0}: record a link behind the node that packs them")]
    Empty(Codec),
}

/// Recorded packets of one stream. At least one frame is in it.
#[derive(Clone, Debug)]
pub struct Recording(Arc<[Frame]>);

/// What was recorded at once.
#[derive(Clone, Debug, PartialEq)]
struct Frame {
    /// Of its payloads.
    sizes: Vec<usize>,
    step: Step,
}

impl Recording {
    /// Reads a recording of `file.frames_sink` or `net.record`: its RTP packets of Opus or,
    /// for pictures, AV1, others being let be. \[control\]
    ///
    /// # Errors
    /// It is damaged, or has none of those.
    pub fn read(kind: Kind, from: impl Read) -> Result<Self, BadRecording> {
        let codec = match kind {
            Kind::Audio => Codec::Opus,
            Kind::Video => Codec::Av1,
        };
        let mut reader = Reader::new(from)?;
        let mut frames: Vec<Frame> = Vec::new();
        let mut last: Option<(u32, Duration)> = None;
        while let Next::Frame(record) = reader.read()? {
            if !matches!(record.format, Format::Rtp { codec: of, .. } if of == codec) {
                continue;
            }
            let Some(header) = RtpHeader::read(reader.payload()) else { continue };
            let (begins, len) = header.payload;
            let payload = &reader.payload()[begins..begins + len];
            let size = len.clamp(stamp::LEAST, MOST_PAYLOAD);
            match (last, frames.last_mut()) {
                (Some((timestamp, _)), Some(frame)) if timestamp == header.timestamp => {
                    frame.sizes.push(size)
                }
                (before, frame) => {
                    if let (Some((timestamp, arrival)), Some(frame)) = (before, frame) {
                        let apart = record.arrival.saturating_sub(arrival);
                        frame.step.interval = apart.clamp(LEAST_APART, MOST_APART);
                        frame.step.ticks = header.timestamp.wrapping_sub(timestamp);
                    }
                    if frames.len() == MOST_FRAMES {
                        break;
                    }
                    let is_key = kind == Kind::Video && detect_av1_keyframe(payload);
                    // From the last one to the first again.
                    let step = Step { is_key, interval: interval_of(kind), ticks: ticks_of(kind) };
                    frames.push(Frame { sizes: vec![size], step });
                    last = Some((header.timestamp, record.arrival));
                }
            }
        }
        if frames.is_empty() { Err(BadRecording::Empty(codec)) } else { Ok(Self(frames.into())) }
    }

    /// The frame after `at`, or that itself, that is a key frame; `at` where none is.
    fn key(&self, at: usize) -> usize {
        let all = (at..self.0.len()).chain(0..at);
        all.into_iter().find(|at| self.0[*at].step.is_key).unwrap_or(at)
    }
}

/// Where in a recording a publisher is.
pub(super) struct Play {
    recording: Recording,
    at: usize,
}

impl Play {
    /// Each `seed` begins elsewhere, with a key frame where there is one.
    pub(super) fn new(recording: Recording, seed: u64) -> Self {
        let count = recording.0.len();
        let at = recording.key(fastrand::Rng::with_seed(seed).usize(0..count));
        Self { recording, at }
    }

    /// As [`super::pattern::Pattern::want_key_frame`]: goes on from the next one at once.
    pub(super) fn want_key_frame(&mut self) {
        self.at = self.recording.key(self.at);
    }

    /// As [`super::pattern::Pattern::next`].
    pub(super) fn next(&mut self, sizes: &mut Vec<usize>) -> Step {
        let frame = &self.recording.0[self.at];
        sizes.clone_from(&frame.sizes);
        self.at = (self.at + 1) % self.recording.0.len();
        frame.step
    }
}

#[cfg(test)]
mod tests {
    use sidetone_core::recording::{Head, Writer};
    use sidetone_core::rtp::Ssrc;
    use sidetone_core::{Header, MediaType, Timestamp};

    use super::*;

    /// A recording of packets: when each arrived, its timestamp, its payload.
    fn recorded(codec: Codec, packets: &[(u64, u32, &[u8])]) -> Vec<u8> {
        let head = Head { media: MediaType::rtp(codec), seed: 0, started: Timestamp::ZERO };
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, &head).expect("it is written");
        for (sequence, (ms, timestamp, payload)) in (0..).zip(packets) {
            let header = RtpHeader {
                payload_type: 45,
                marker: false,
                sequence,
                timestamp: *timestamp,
                ssrc: Ssrc(1),
                captured_ntp: None,
                loudness: None,
                payload: (0, 0),
            };
            let mut bytes = Vec::new();
            crate::rtp_header::write(&mut bytes, &header);
            bytes.extend_from_slice(payload);
            let at = Timestamp::ZERO + Duration::from_millis(*ms);
            let format = Format::Rtp { codec, len: bytes.len() };
            let mut frame = sidetone_core::Frame::unpooled(Header::new(at, Duration::ZERO), format);
            frame.bytes_mut().copy_from_slice(&bytes);
            writer.write(&frame, at).expect("it is written");
        }
        writer.end(Timestamp::ZERO + Duration::from_secs(1)).expect("it is written");
        file
    }

    const KEY: [u8; 100] = {
        let mut bytes = [0; 100];
        bytes[0] = 0x18;
        bytes
    };
    const OTHER: [u8; 60] = [0x10; 60];

    #[test]
    fn frames_come_again_in_their_sizes_at_their_instants_from_a_key_frame_on() {
        let packets: [(u64, u32, &[u8]); 5] = [
            (0, 10, &OTHER),
            (40, 3_610, &KEY),
            (40, 3_610, &OTHER),
            (70, 6_310, &OTHER[..5]),
            (70, 6_311, &OTHER),
        ];
        let recording =
            Recording::read(Kind::Video, &*recorded(Codec::Av1, &packets)).expect("it has packets");
        let mut play = Play::new(recording, 7);
        let mut sizes = Vec::new();
        let step = |is_key, micros, ticks| Step { is_key, interval: Duration::from_micros(micros), ticks };
        let first = [
            (vec![100, 60], step(true, 30_000, 2_700)),
            // Room for the stamp, and time to go on.
            (vec![stamp::LEAST], step(false, 100, 1)),
            (vec![60], Step { is_key: false, interval: interval_of(Kind::Video), ticks: 3_000 }),
            (vec![60], step(false, 40_000, 3_600)),
        ];
        for (expected, step) in first.iter().chain(&first) {
            assert_eq!((play.next(&mut sizes), &sizes), (*step, expected));
        }
        play.next(&mut sizes);
        play.want_key_frame();
        assert!(play.next(&mut sizes).is_key);
    }

    #[test]
    fn what_has_no_such_packets_is_no_recording_to_send() {
        let sound = recorded(Codec::Opus, &[(0, 0, &OTHER), (20, 960, &OTHER)]);
        assert!(Recording::read(Kind::Audio, &*sound).is_ok());
        assert!(matches!(Recording::read(Kind::Video, &*sound), Err(BadRecording::Empty(Codec::Av1))));
        for cut in [0, 5, sound.len() / 2] {
            assert!(Recording::read(Kind::Video, &sound[..cut]).is_err(), "{cut}");
        }
    }
}
