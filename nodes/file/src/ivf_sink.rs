//! `file.ivf_sink`: writes AV1 packets to an IVF file.
//!
//! Ports: `in` AV1 packets, one temporal unit each. Lost and silent ones (flags
//! `LOST`, `SILENCE`) and those without bytes stand for nothing that can be
//! written, and are passed over.
//!
//! Parameters: `path`, the file; its folders are made, and what it held is
//! replaced.
//!
//! Latency: none; a packet counts as seen when it is written.
//!
//! Method: IVF as libaom writes it, in units of 1/90000 s from the first packet
//! on; a time that does not come after the one before is moved one unit behind
//! it. The header's size is that of the first sequence header (AV1
//! specification § 5.5.1). Every second the number of packets in the header is
//! brought up to date, so that a file whose writer dies plays up to there.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> encoder -> file"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.encoder = { kind = "codec.av1_encode", bitrate_kbps = 500 }
//! nodes.file = { kind = "file.ivf_sink", path = "out/scene.ivf" }
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use sidetone_core::registry::declared;
use sidetone_core::timestamp::duration_nanos;
use sidetone_core::{
    Codec, Context, Fault, FaultKind, Finish, Flags, Format, Frame, MediaType, Node, NodeError, NodeSpec,
    ParamSpec, Placement, PortSpec, Setup, Size, Timestamp,
};

use crate::new_file::{Checkpoint, create, write_fault};
use crate::parse::av1;
use crate::parse::ivf::{Ivf, header};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "file.ivf_sink",
    summary: "Writes AV1 packets to an IVF file.",
    sheet: sidetone_core::data_sheet!("ivf_sink.rs"),
    inputs: &[PortSpec::new("in", MediaType::packets(Codec::Av1), "The packets, one temporal unit each.")],
    outputs: &[],
    params: &[ParamSpec::path("path", "The IVF file; its folders are made.")],
    placement: Placement::Shared,
    real_time: false, // it writes a file
    negotiate: &declared,
    build: &|setup| Ok(Box::new(IvfSink::new(&setup)?)),
};

const UNITS_A_SECOND: u32 = 90_000;

struct IvfSink {
    writer: BufWriter<File>,
    size: Option<Size>,
    packets: u32,
    /// The first packet's time.
    first: Option<Timestamp>,
    /// The last packet's time, in the file's units.
    last: Option<u64>,
    checkpoint: Checkpoint,
}

impl IvfSink {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let mut sink = Self {
            writer: BufWriter::with_capacity(1 << 16, create(setup)?),
            size: None,
            packets: 0,
            first: None,
            last: None,
            checkpoint: Checkpoint::default(),
        };
        let written = sink.writer.write_all(&sink.header());
        written.map_err(|source| NodeError::Open { path: setup.params.text("path").into(), source })?;
        Ok(sink)
    }

    fn header(&self) -> [u8; 32] {
        // Sides beyond 16 bits cannot be told; decoders do not ask.
        let side = |side: u32| u16::try_from(side).unwrap_or(0);
        let (width, height) = self.size.map_or((0, 0), |size| (side(size.width), side(size.height)));
        header(&Ivf { fourcc: *b"AV01", width, height, rate: UNITS_A_SECOND, scale: 1 }, self.packets)
    }

    /// The packet's time in the file's units.
    fn units(&mut self, pts: Timestamp) -> u64 {
        let first = *self.first.get_or_insert(pts);
        let nanos = u128::from(duration_nanos(pts.since(first)));
        let units = (nanos * u128::from(UNITS_A_SECOND) + 500_000_000) / 1_000_000_000;
        let after_last = self.last.map_or(0, |last| last.saturating_add(1));
        let units = u64::try_from(units).unwrap_or(u64::MAX).max(after_last);
        self.last = Some(units);
        units
    }

    fn write(&mut self, frame: &Frame, length: u32, now: Timestamp) -> io::Result<()> {
        let pts = self.units(frame.header.pts);
        self.size = self.size.or_else(|| av1::picture_size(frame.bytes()));
        self.writer.write_all(&length.to_le_bytes())?;
        self.writer.write_all(&pts.to_le_bytes())?;
        self.writer.write_all(frame.bytes())?;
        self.packets = self.packets.saturating_add(1);
        if self.checkpoint.is_due(now) { self.close() } else { Ok(()) }
    }

    /// Makes what was written so far a whole file.
    fn close(&mut self) -> io::Result<()> {
        self.writer.seek(SeekFrom::Start(0))?;
        let header = self.header();
        self.writer.write_all(&header)?;
        self.writer.seek(SeekFrom::End(0))?;
        self.writer.flush()
    }

    /// Writes the packet, if it is one; whether it was.
    fn take(&mut self, frame: &Frame, now: Timestamp) -> Result<bool, Fault> {
        let (Format::Packet { codec: Codec::Av1, len }, Ok(length)) =
            (*frame.format(), u32::try_from(frame.bytes().len()))
        else {
            return Err(Fault::new(FaultKind::WrongFormat, "file.ivf_sink takes AV1 packets"));
        };
        let flags = frame.header.flags;
        if len == 0 || flags.has(Flags::LOST) || flags.has(Flags::SILENCE) {
            return Ok(false);
        }
        self.write(frame, length, now).map_err(|error| write_fault(&error))?;
        Ok(true)
    }
}

impl Node for IvfSink {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            match self.take(&frame, cx.now()) {
                Ok(true) => cx.rendered(frame),
                // Its loss is counted where it was noticed.
                Ok(false) => {}
                Err(fault) => {
                    // What came before stays a whole file; the first fault is told.
                    let _ = self.close();
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Context<'_>) -> Result<Finish, Fault> {
        self.close().map_err(|error| write_fault(&error))?;
        Ok(Finish::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::av1::tests::unit;
    use crate::parse::ivf::{Reader, walk};
    use sidetone_core::harness::Harness;
    use sidetone_core::scratch::Scratch;
    use std::time::Duration;

    fn count(file: &[u8]) -> u32 {
        u32::from_le_bytes([file[24], file[25], file[26], file[27]])
    }

    #[test]
    fn packets_read_back_with_their_times_and_size() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("a/b/out.ivf"))]);
        let packets = [unit(true, 0x10), unit(false, 0x30), vec![7; 100_000]];
        for packet in &packets {
            node.push(0, node.packet(Codec::Av1, packet));
            node.advance(Duration::from_nanos(33_366_667));
        }
        node.end(0);
        node.run();
        assert!(node.has_ended() && node.fault().is_none());
        assert_eq!(node.ledger().frames.get(), 3, "each counts as rendered");

        let file = folder.read("a/b/out.ivf");
        assert_eq!(count(&file), 3);
        let mut reader = Reader::new(file.as_slice()).unwrap();
        assert_eq!((reader.ivf().width, reader.ivf().height), (1280, 720));
        let mut read = Vec::new();
        for (n, packet) in packets.iter().enumerate() {
            assert_eq!(reader.read(&mut read).unwrap(), Some(3003 * n as u64));
            assert_eq!(&read, packet);
        }
        assert_eq!(reader.read(&mut read).unwrap(), None);
    }

    #[test]
    fn what_stands_for_nothing_is_passed_over() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.ivf"))]);
        for flag in [Flags::LOST, Flags::SILENCE] {
            let mut frame = node.packet(Codec::Av1, b"of another");
            frame.header.flags = flag;
            node.push(0, frame);
        }
        node.push(0, node.packet(Codec::Av1, b""));
        node.end(0);
        node.run();
        assert_eq!(walk(&folder.read("out.ivf")).unwrap(), 0);
        assert_eq!((node.ledger().taken.get(), node.ledger().frames.get()), (3, 0), "none was seen");
    }

    #[test]
    fn times_always_go_forward() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.ivf"))]);
        for millis in [1000, 1100, 1100, 900, 1200] {
            let mut frame = node.packet(Codec::Av1, b"x");
            frame.header.pts = Timestamp::from_nanos(millis * 1_000_000);
            node.push(0, frame);
        }
        node.end(0);
        node.run();
        let file = folder.read("out.ivf");
        let mut reader = Reader::new(file.as_slice()).unwrap();
        let times: Vec<u64> = std::iter::from_fn(|| reader.read(&mut Vec::new()).unwrap()).collect();
        assert_eq!(times, [0, 9_000, 9_001, 9_002, 18_000]);
    }

    #[test]
    fn a_file_whose_writer_dies_plays_up_to_the_last_second() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.ivf"))]);
        assert_eq!(walk(&folder.read("out.ivf")).unwrap_err().offset(), 0, "buffered");
        for _ in 0..25 {
            node.push(0, node.packet(Codec::Av1, b"packet"));
            node.advance(Duration::from_millis(100));
        }
        // As another process would find it now.
        let file = folder.read("out.ivf");
        assert_eq!((walk(&file).unwrap(), count(&file)), (21, 21));
    }

    #[test]
    fn other_packets_are_a_fault_that_leaves_a_whole_file() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.ivf"))]);
        node.push(0, node.packet(Codec::Av1, b"packet"));
        node.push(0, node.packet(Codec::Opus, b"packet"));
        node.run();
        assert_eq!(node.fault().unwrap().kind, FaultKind::WrongFormat);
        assert_eq!(count(&folder.read("out.ivf")), 1);
    }
}
