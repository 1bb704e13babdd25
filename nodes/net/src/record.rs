//! `net.record`: records a packet link in passing.
//!
//! Ports: `in` RTP packets of any codec → `out` the same.
//!
//! Parameters: `path`, the file; its folders are made, and what it held is
//! replaced.
//!
//! Latency: none. It stands in the path of the packets, on their lane: each goes
//! on in the call in which it came, and its arrival is the time of that call,
//! whatever the disk does. A thread of its own writes. If the disk does not keep
//! up for so long that 4 MiB wait, packets are left out of the recording, which
//! tells how many; if it fails, the recording ends; the packets go on in any
//! case, and the node says so.
//!
//! Method: the format of recordings in `core/src/recording.rs`. `net.replay` and
//! `file.frames_source` play it; `sidetone diff` compares two. To record
//! anything but packets, or beside a path rather than in it, there is
//! `file.frames_sink`, which writes the same files.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> pack -> path -> tape -> jitter -> unpack -> decode -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode" }
//! nodes.pack = { kind = "rtp.pack_opus" }
//! nodes.path = { kind = "net.impair", preset = "mobile" }
//! nodes.tape = { kind = "net.record", path = "out/arrived.frames" }
//! nodes.jitter = { kind = "rtp.jitter_buffer" }
//! nodes.unpack = { kind = "rtp.unpack_opus" }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.file = { kind = "file.wav_sink", path = "out/heard.wav" }
//! ```

use std::time::Duration;

use sidetone_core::recording::Head;
use sidetone_core::registry::same;
use sidetone_core::{
    Context, EventKind, Fault, FaultKind, Finish, Format, MediaType, Node, NodeError, NodeSpec, ParamSpec,
    Placement, PortSpec, Setup,
};

use crate::recorder::Recorder;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "net.record",
    summary: "Records a packet link in passing.",
    sheet: sidetone_core::data_sheet!("record.rs"),
    inputs: &[PortSpec::new("in", MediaType::RTP, "The packets.")],
    outputs: &[PortSpec::new("out", MediaType::RTP, "The same packets, at once.")],
    params: &[ParamSpec::path("path", "The recording; its folders are made.").writes()],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &same,
    build: &|setup| Ok(Box::new(Record::new(&setup)?)),
};

/// How often the end of the link asks whether the file is written.
const ASK_AGAIN: Duration = Duration::from_millis(2);

struct Record {
    recorder: Recorder,
    media: MediaType,
    seed: u64,
}

impl Record {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let media = setup.inputs.first().copied().flatten().unwrap_or(MediaType::RTP);
        Ok(Self { recorder: Recorder::new(setup)?, media, seed: setup.run_seed })
    }

    fn begin(&mut self, cx: &Context<'_>) {
        self.recorder.begin(&Head { media: self.media, seed: self.seed, started: cx.now() });
    }

    fn tell(&mut self, lost: bool, cx: &mut Context<'_>) {
        if let Some(notice) = self.recorder.notice(lost) {
            cx.emit(EventKind::Notice(notice));
        }
    }
}

impl Node for Record {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.begin(cx);
        let mut lost = false;
        while let Some(frame) = cx.pop(0) {
            if !matches!(frame.format(), Format::Rtp { .. }) {
                let why = "net.record takes RTP: put rtp.pack_… before it, or use file.frames_sink";
                return Err(Fault::new(FaultKind::WrongFormat, why));
            }
            lost |= !self.recorder.record(&frame, cx.now());
            cx.push(0, frame);
        }
        self.recorder.wake();
        self.tell(lost, cx);
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.begin(cx);
        let done = self.recorder.finish(cx.now());
        if !done {
            cx.wake_at(cx.now() + ASK_AGAIN);
        }
        self.tell(false, cx);
        Ok(if done { Finish::Done } else { Finish::Later })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;
    use sidetone_core::recording::{Next, Reader};
    use sidetone_core::scratch::Scratch;
    use sidetone_core::{Codec, Shared};

    #[test]
    fn packets_go_on_at_once_and_stand_in_the_file_when_the_link_has_ended() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("a/tape.frames"))]);
        for number in 0..100u8 {
            node.push(0, node.rtp(Codec::Opus, &[number; 200]));
            node.run();
            let out = node.take(0);
            assert!(out.len() == 1 && out[0].bytes() == [number; 200], "packet {number}");
            node.advance(Duration::from_millis(5));
        }
        node.end(0);
        node.run();
        assert!(node.has_ended() && node.fault().is_none() && node.events().is_empty());

        let bytes = folder.read("a/tape.frames");
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        for number in 0..100u8 {
            let Next::Frame(record) = reader.read().unwrap() else { panic!("no packet {number}") };
            assert_eq!(record.arrival, Duration::from_millis(5 * u64::from(number)));
            assert_eq!(reader.payload(), [number; 200]);
        }
        let Next::End(ending) = reader.read().unwrap() else { panic!("more than were sent") };
        assert_eq!((ending.at, ending.cut), (Duration::from_millis(500), None));
    }

    #[test]
    fn more_than_the_ring_holds_is_not_lost_in_virtual_time() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("tape.frames"))]);
        for _ in 0..100 {
            for _ in 0..50 {
                node.push(0, node.rtp(Codec::Av1, &[7; 1_200]));
            }
            node.run();
            assert_eq!(node.take(0).len(), 50);
        }
        node.end(0);
        node.run();
        assert_eq!(sidetone_core::recording::walk(&folder.read("tape.frames")).unwrap(), 5_000);
    }

    #[test]
    fn in_real_time_the_file_is_whole_when_the_node_has_ended() {
        let folder = Scratch::new();
        let params = [("path", folder.param("tape.frames"))];
        let mut node = Harness::in_real_time(&SPEC, &params, &Shared::default()).unwrap();
        for _ in 0..10 {
            node.push(0, node.rtp(Codec::Opus, &[7; 20]));
            node.run();
        }
        node.end(0);
        while !node.has_ended() {
            node.run();
            std::thread::yield_now();
        }
        assert_eq!(node.take(0).len(), 10);
        let bytes = folder.read("tape.frames");
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        while let Next::Frame(_) = reader.read().unwrap() {}
        assert!(matches!(reader.read(), Ok(Next::End(ending)) if (ending.frames, ending.cut) == (10, None)));
    }

    #[test]
    fn a_node_that_is_cut_off_leaves_what_it_recorded() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("tape.frames"))]);
        node.push(0, node.rtp(Codec::Opus, &[7; 20]));
        node.run();
        drop(node);
        let bytes = folder.read("tape.frames");
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        assert!(matches!(reader.read(), Ok(Next::Frame(_))));
        assert!(matches!(reader.read(), Ok(Next::End(ending)) if ending.cut.is_some()));
    }

    #[test]
    fn a_full_disk_is_told_once_and_the_packets_go_on() {
        if !std::path::Path::new("/dev/full").exists() {
            return; // only Linux has one
        }
        let mut node = Harness::new(&SPEC, &[("path", "/dev/full".into())]);
        let mut passed = 0;
        // More than the ring holds, so that the thread has met the disk.
        for _ in 0..200 {
            for _ in 0..50 {
                node.push(0, node.rtp(Codec::Opus, &[7; 1_000]));
            }
            node.run();
            passed += node.take(0).len();
        }
        node.end(0);
        node.run();
        let told: Vec<_> = node.events().iter().map(ToString::to_string).collect();
        assert!(passed == 10_000 && node.has_ended() && node.fault().is_none());
        assert_eq!(told.iter().filter(|told| told.contains("disk is full")).count(), 1, "{told:?}");
    }
}
