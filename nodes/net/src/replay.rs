//! `net.replay`: plays recorded packets as the network delivered them.
//!
//! Ports: → `out` RTP packets, of the codec that was recorded.
//!
//! Parameters: `path`, a recording of `net.record`, or one of
//! `file.frames_sink` that holds RTP packets; up to 512 MiB of packets.
//!
//! Latency: none. Each packet comes as long after the start as it came after
//! the recording's, and the output ends when the recorded link did.
//!
//! Method: it stands where a network stood, on the lane of whoever takes the
//! packets: the whole recording is read before the graph starts, so that no disk
//! disturbs their spacing. A damaged recording is refused then; one that breaks
//! off plays to its last whole packet, and the node says so. Packets, numbers
//! and flags are those of the recording; `pts` and capture time move with the
//! start. Messages that travel upstream (requests for key frames) end here. For
//! recordings of anything else, longer ones, and other paces there is
//! `file.frames_source`, which plays the same files.
//!
//! ```toml
//! sidetone = 1
//! links = ["tape -> jitter -> unpack -> decode -> file"]
//! nodes.tape = { kind = "net.replay", path = "out/arrived.frames" }
//! nodes.jitter = { kind = "rtp.jitter_buffer" }
//! nodes.unpack = { kind = "rtp.unpack_opus" }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.file = { kind = "file.wav_sink", path = "out/heard.wav" }
//! ```

use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sidetone_core::recording::{Ending, Next, Reader, Record};
use sidetone_core::registry::declared;
use sidetone_core::{
    Context, EventKind, Fault, Format, MediaType, Node, NodeError, NodeSpec, ParamSpec, Placement, PortSpec,
    Setup, Timestamp,
};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "net.replay",
    summary: "Plays recorded packets as the network delivered them.",
    sheet: sidetone_core::data_sheet!("replay.rs"),
    inputs: &[],
    outputs: &[PortSpec::new("out", MediaType::RTP, "The packets.")],
    params: &[ParamSpec::path("path", "The recording.")],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &declared,
    build: &|setup| Ok(Box::new(Replay::new(&setup)?)),
};

/// The most bytes of packets that are held.
const MOST_BYTES: usize = 512 << 20;
/// The most packets of one call.
const AT_ONCE: usize = 32;

struct Replay {
    packets: Vec<(Record, Range<usize>)>,
    bytes: Vec<u8>,
    media: MediaType,
    end: Duration,
    /// What is to be told of a recording that is not whole.
    notices: Vec<Arc<str>>,
    start: Option<Timestamp>,
    next: usize,
}

impl Replay {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let path = PathBuf::from(setup.params.text("path"));
        let file = File::open(&path).map_err(|source| NodeError::Open { path: path.clone(), source })?;
        let bad = |why: String, offset| NodeError::BadMedia { path: path.clone(), why, offset };
        let mut reader =
            Reader::new(BufReader::with_capacity(1 << 17, file)).map_err(|why| why.opening(&path))?;
        let media = reader.head().media;
        if media.meet(&MediaType::RTP).is_none() {
            return Err(bad(format!("it holds {media}; play it with file.frames_source"), 28));
        }
        let (mut packets, mut bytes) = (Vec::new(), Vec::new());
        let ending = loop {
            let record = match reader.read().map_err(|why| why.opening(&path))? {
                Next::Frame(record) => record,
                Next::End(ending) => break ending,
            };
            let payload = reader.payload();
            if !matches!(record.format, Format::Rtp { .. }) || bytes.len() + payload.len() > MOST_BYTES {
                let why = "it holds other frames than RTP packets, or more than 512 MiB of them; play it with \
                           file.frames_source";
                return Err(bad(why.into(), reader.offset()));
            }
            packets.push((record, bytes.len()..bytes.len() + payload.len()));
            bytes.extend(payload);
        };
        let notices = notices(&path, &ending, packets.len() as u64);
        Ok(Self { packets, bytes, media, end: ending.at, notices, start: None, next: 0 })
    }
}

fn notices(path: &Path, ending: &Ending, played: u64) -> Vec<Arc<str>> {
    let told = ending.complaints(played);
    told.map(|what| format!("{} {what}", path.display()).into()).collect()
}

impl Node for Replay {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let start = *self.start.get_or_insert(cx.now());
        while let Some(notice) = self.notices.pop() {
            cx.emit(EventKind::Notice(notice));
        }
        for _ in 0..AT_ONCE {
            let Some((record, payload)) = self.packets.get(self.next) else {
                let end = start + self.end;
                if end > cx.now() {
                    cx.wake_at(end)
                } else {
                    cx.end()
                }
                return Ok(());
            };
            let due = start + record.arrival;
            if due > cx.now() {
                cx.wake_at(due);
                return Ok(());
            }
            let payload = self.bytes.get(payload.clone()).unwrap_or_default();
            let frame = record.frame(payload, 0, start, record.captured(start), cx);
            cx.push(0, frame);
            self.next += 1;
        }
        cx.wake_at(cx.now());
        Ok(())
    }

    fn output_types(&self) -> Vec<Option<MediaType>> {
        vec![self.media.meet(&MediaType::RTP)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;
    use sidetone_core::recording::{Head, Writer};
    use sidetone_core::scratch::Scratch;
    use sidetone_core::{AudioFormat, Codec, Frame, Header, Shared, VIRTUAL_START, Value};

    const MS: Duration = Duration::from_millis(1);

    /// A recording of packets that came after so many milliseconds, each
    /// captured 40 ms before; the link ended after a second.
    fn recording(arrivals: &[u32]) -> Vec<u8> {
        let head = Head { media: MediaType::rtp(Codec::Opus), seed: 1, started: VIRTUAL_START };
        let mut writer = Writer::new(Vec::new(), &head).unwrap();
        for (index, arrival) in arrivals.iter().enumerate() {
            let at = VIRTUAL_START + MS * *arrival;
            let mut frame = Frame::unpooled(
                Header::new(at - MS * 40, MS * 20),
                Format::Rtp { codec: Codec::Opus, len: 20 },
            );
            frame.bytes_mut().fill(index as u8);
            frame.header.sequence = index as u64 + 5;
            writer.write(&frame, at).unwrap();
        }
        writer.end(VIRTUAL_START + MS * 1_000).unwrap();
        writer.inner().clone()
    }

    fn refused(path: Value) -> String {
        Harness::try_new(&SPEC, &[("path", path)], &Shared::default()).err().unwrap().to_string()
    }

    #[test]
    fn packets_come_when_they_came_and_the_link_ends_when_it_ended() {
        let folder = Scratch::new();
        let arrivals: Vec<u32> = [&[0, 7, 7, 7, 300][..], &[400; 100]].concat();
        let mut node = Harness::new(&SPEC, &[("path", folder.write("tape.frames", &recording(&arrivals)))]);
        let mut seen = Vec::new();
        for millis in 0..1_000 {
            node.advance_to(MS * millis);
            for frame in node.take(0) {
                let index = usize::from(frame.bytes()[0]);
                assert_eq!(frame.header.captured, node.now() - MS * 40);
                assert_eq!((index, frame.header.sequence), (seen.len(), index as u64 + 5));
                seen.push(millis);
            }
        }
        assert!(seen == arrivals && !node.has_ended());
        node.advance_to(MS * 1_000);
        assert!(node.has_ended() && node.fault().is_none());
    }

    #[test]
    fn a_recording_that_breaks_off_plays_to_there_and_a_damaged_one_is_refused() {
        let folder = Scratch::new();
        let whole = recording(&[0, 10, 20]);
        let cut = folder.write("cut.frames", &whole[..whole.len() - 100]);
        let mut node = Harness::new(&SPEC, &[("path", cut)]);
        node.advance(MS * 30);
        assert_eq!(node.take(0).len(), 2);
        let told: Vec<_> = node.events().iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|told| told.contains("cut.frames breaks off at byte")), "{told:?}");
        let mut damaged = whole;
        damaged[100] ^= 1;
        assert!(refused(folder.write("bad.frames", &damaged)).contains("bad.frames: a record's checksum"));
    }

    #[test]
    fn a_recording_of_sound_is_refused_with_the_node_that_plays_it() {
        let folder = Scratch::new();
        for media in [MediaType::AUDIO, MediaType::Any] {
            let head = Head { media, seed: 1, started: VIRTUAL_START };
            let mut writer = Writer::new(Vec::new(), &head).unwrap();
            let sound = Format::Audio(AudioFormat { rate: 48_000, channels: 1, samples: 10 });
            writer.write(&Frame::unpooled(Header::default(), sound), VIRTUAL_START).unwrap();
            let why = refused(folder.write("sound.frames", writer.inner()));
            assert!(why.contains("sound.frames: it holds") && why.contains("file.frames_source"), "{why}");
        }
    }
}
