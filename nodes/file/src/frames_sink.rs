//! `file.frames_sink`: records the frames of any link, as they are and when they
//! came.
//!
//! Ports: `in` anything: raw sound, raw pictures, packets, RTP.
//!
//! Parameters: `path`, the file; its folders are made, and what it held is
//! replaced.
//!
//! Latency: none. It stands beside the path, not in it: any output may lead to
//! it as well (`links = ["mic -> opus", "mic -> tape"]`), and what it takes is
//! not counted as rendered. On a lane of its own, since a slow disk holds up
//! whoever writes to it; so a frame's arrival is when that lane takes it, some
//! microseconds late, and later where the disk holds it up. For packets whose
//! arrival must not depend on a disk there is `net.record`, which writes the
//! same files.
//!
//! Method: the format of recordings in `core/src/recording.rs`: each frame with
//! its type, payload, pts, capture time, duration, number, flags and arrival,
//! and a checksum; before them what the link carries and the run's seed. What
//! was written so far is with the system every second, and a file whose writer
//! dies plays up to there. `file.frames_source` and `net.replay` play it;
//! `sidetone diff` compares two.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> tape"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode" }
//! nodes.tape = { kind = "file.frames_sink", path = "out/opus.frames" }
//! ```

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};

use sidetone_core::recording::{Head, Writer};
use sidetone_core::registry::declared;
use sidetone_core::{
    Context, Fault, FaultKind, Finish, MediaType, Node, NodeError, NodeSpec, ParamSpec, Placement, PortSpec,
    Setup, Timestamp,
};

use crate::new_file::{Checkpoint, create, write_fault};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "file.frames_sink",
    summary: "Records the frames of any link, as they are and when they came.",
    sheet: sidetone_core::data_sheet!("frames_sink.rs"),
    inputs: &[PortSpec::new("in", MediaType::Any, "The frames.")],
    outputs: &[],
    params: &[ParamSpec::path("path", "The recording; its folders are made.")],
    placement: Placement::Own,
    real_time: false, // it writes a file
    negotiate: &declared,
    build: &|setup| Ok(Box::new(FramesSink::new(&setup)?)),
};

/// Bytes given to the system at once.
const WRITE_BEHIND: usize = 1 << 17;

struct FramesSink {
    /// The file, until the first call tells when the recording begins.
    file: Option<File>,
    writer: Option<Writer<BufWriter<File>>>,
    media: MediaType,
    seed: u64,
    checkpoint: Checkpoint,
}

impl FramesSink {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        Ok(Self {
            file: Some(create(setup)?),
            writer: None,
            media: setup.inputs.first().copied().flatten().unwrap_or(MediaType::Any),
            seed: setup.run_seed,
            checkpoint: Checkpoint::default(),
        })
    }

    /// The recording, which begins at the first call.
    fn writer(&mut self, now: Timestamp) -> io::Result<&mut Writer<BufWriter<File>>> {
        if let Some(file) = self.file.take() {
            let head = Head { media: self.media, seed: self.seed, started: now };
            self.writer = Some(Writer::new(BufWriter::with_capacity(WRITE_BEHIND, file), &head)?);
        }
        self.writer.as_mut().ok_or_else(|| ErrorKind::BrokenPipe.into())
    }

    fn take(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let now = cx.now();
        let due = self.checkpoint.is_due(now);
        let writer = self.writer(now)?;
        if let Some(frame) = cx.pop(0) {
            writer.write(&frame, now)?;
        }
        if due { writer.inner().flush() } else { Ok(()) }
    }
}

impl Node for FramesSink {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.take(cx).map_err(|error| fault(&error))
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        let close = |writer: &mut Writer<BufWriter<File>>| {
            writer.end(cx.now())?;
            writer.inner().flush()
        };
        self.writer(cx.now()).and_then(close).map_err(|error| fault(&error))?;
        Ok(Finish::Done)
    }
}

fn fault(error: &io::Error) -> Fault {
    match error.kind() {
        ErrorKind::InvalidInput => Fault::new(
            FaultKind::WrongFormat,
            "recordings hold sound of up to 8 channels and 768 kHz, and pictures of up to 16384 on a side",
        ),
        _ => write_fault(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;
    use sidetone_core::recording::{Next, Reader, Record};
    use sidetone_core::scratch::Scratch;
    use sidetone_core::{Codec, Format, Frame, Header, VIRTUAL_START};
    use std::time::Duration;

    fn records(bytes: &[u8]) -> (Vec<Record>, Reader<&[u8]>) {
        let mut reader = Reader::new(bytes).unwrap();
        let mut records = Vec::new();
        while let Next::Frame(record) = reader.read().unwrap() {
            records.push(record);
        }
        (records, reader)
    }

    #[test]
    fn frames_are_recorded_with_the_time_they_came_and_the_runs_seed() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("a/b/tape.frames"))]);
        for number in 0..5u8 {
            let mut packet = node.packet(Codec::Opus, &[number; 40]);
            packet.header.captured = node.now() - Duration::from_millis(7);
            packet.header.sequence = u64::from(number) + 3;
            node.push(0, packet);
            node.advance(Duration::from_millis(20));
        }
        node.end(0);
        node.advance(Duration::from_millis(3));
        assert!(node.has_ended() && node.fault().is_none());
        assert_eq!(node.ledger().frames.get(), 0, "nobody heard them");

        let bytes = folder.read("a/b/tape.frames");
        let (records, mut reader) = records(&bytes);
        assert_eq!((reader.head().seed, reader.head().started), (1, VIRTUAL_START));
        for (number, record) in (0..5).zip(&records) {
            assert_eq!((record.number, record.sequence), (number, number + 3));
            assert_eq!(record.arrival, Duration::from_millis(20 * number));
            assert_eq!(record.captured, 20_000_000 * number as i64 - 7_000_000);
        }
        let Next::End(ending) = reader.read().unwrap() else { panic!("more than five") };
        assert_eq!((ending.at, ending.frames, ending.cut), (Duration::from_millis(100), 5, None));
    }

    #[test]
    fn a_link_on_which_nothing_comes_is_recorded_too() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("none.frames"))]);
        node.run();
        node.end(0);
        node.run();
        let bytes = folder.read("none.frames");
        assert!(node.has_ended() && records(&bytes).0.is_empty());
    }

    #[test]
    fn what_was_written_is_with_the_system_every_second() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("tape.frames"))]);
        for number in 0..70 {
            node.push(0, node.packet(Codec::Opus, &[number; 10]));
            node.advance(Duration::from_millis(20));
        }
        // The node is alive and has not come to its end: a crash leaves this much.
        let bytes = folder.read("tape.frames");
        let (some, mut reader) = records(&bytes);
        assert!((50..70).contains(&some.len()), "{} frames", some.len());
        assert!(matches!(reader.read(), Ok(Next::End(ending)) if ending.cut.is_some()));
    }

    #[test]
    fn sound_of_too_many_channels_is_a_fault_and_what_came_before_stays() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("tape.frames"))]);
        node.push(0, node.audio(48_000, &[&[0.5; 480]]));
        node.run();
        let odd = sidetone_core::AudioFormat { rate: 48_000, channels: 9, samples: 8 };
        node.push(0, Frame::unpooled(Header::default(), Format::Audio(odd)));
        node.run();
        assert_eq!(node.fault().unwrap().kind, FaultKind::WrongFormat);
        drop(node);
        assert_eq!(records(&folder.read("tape.frames")).0.len(), 1);
    }

    #[test]
    fn a_disk_that_is_full_is_a_fault_that_says_so() {
        let full = std::path::Path::new("/dev/full");
        if !full.exists() {
            return; // only Linux has one
        }
        let mut node = Harness::new(&SPEC, &[("path", "/dev/full".into())]);
        for _ in 0..200 {
            node.push(0, node.packet(Codec::Opus, &[7; 2_000]));
            node.run();
        }
        assert!(node.fault().unwrap().why.contains("disk is full"));
    }
}
