//! `file.frames_source`: plays a recording of frames, exactly as they were.
//!
//! Ports: → `out` what the recording holds: raw sound, raw pictures, packets or
//! RTP. Checking a graph opens no file, so until it runs the output fits any
//! input; when the file is opened, what it holds is checked against the graph.
//!
//! Parameters: `path`, a recording of `file.frames_sink` or `net.record`.
//! `pace`, `"arrival"` (default: each frame when it came, after the start),
//! `"captured"` (each when it was captured, as though nothing had delayed it, or
//! with the frame before it, if that was captured later), or `"flat_out"` (as
//! fast as links take them; frames then count as captured when they are read).
//!
//! Latency: none. The output ends when the recorded link did; at pace
//! `"captured"`, when the last frame's duration is over. On a lane of its own,
//! since a slow disk holds up whoever reads from it.
//!
//! Method: the format of recordings in `core/src/recording.rs`. Payload,
//! duration, number and flags are those of the recording; `pts` and capture
//! time move with the start, so that the ledger counts what happened before the
//! recording, too. In virtual time at pace `"arrival"` a recording of the
//! playback is the same file. Messages that travel upstream (requests for key
//! frames) end here. A recording that breaks off plays to its last whole frame,
//! and the node says so; a damaged one plays up to the damage, and then the node
//! fails, naming the byte.
//!
//! ```toml
//! sidetone = 1
//! links = ["tape -> decode -> file"]
//! nodes.tape = { kind = "file.frames_source", path = "out/opus.frames" }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.file = { kind = "file.wav_sink", path = "out/heard.wav" }
//! ```

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use sidetone_core::recording::{Next, Reader, Record};
use sidetone_core::registry::declared;
use sidetone_core::{
    Context, EventKind, Fault, MediaType, Node, NodeError, NodeSpec, ParamSpec, Placement, PortSpec, Setup,
    Timestamp,
};

use crate::opened::Opened;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "file.frames_source",
    summary: "Plays a recording of frames, exactly as they were.",
    sheet: sidetone_core::data_sheet!("frames_source.rs"),
    inputs: &[],
    outputs: &[PortSpec::new("out", MediaType::Any, "The frames of the recording.")],
    params: &[
        ParamSpec::path("path", "The recording."),
        ParamSpec::choice(
            "pace",
            "arrival",
            &["arrival", "captured", "flat_out"],
            "Whether frames come out when they came in, when they were captured, or as fast as links take them.",
        ),
    ],
    placement: Placement::Own,
    real_time: false, // it reads a file
    negotiate: &declared,
    build: &|setup| Ok(Box::new(FramesSource::new(&setup)?)),
};

#[derive(Clone, Copy, PartialEq)]
enum Pace {
    Arrival,
    Captured,
    FlatOut,
}

struct FramesSource {
    reader: Reader<BufReader<File>>,
    path: PathBuf,
    pace: Pace,
    start: Option<Timestamp>,
    /// What comes next, read ahead, and when it is due.
    next: Option<(Timestamp, Next)>,
    /// When what was put out last is over.
    over: Timestamp,
    /// When what was put out last was due.
    last: Timestamp,
    /// Frames put out so far.
    played: u64,
}

impl FramesSource {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let pace = match setup.params.text("pace") {
            "captured" => Pace::Captured,
            "flat_out" => Pace::FlatOut,
            _ => Pace::Arrival,
        };
        let file = Opened::new(setup)?;
        let reader = Reader::new(file.reader).map_err(|error| error.opening(&file.path))?;
        let (over, last) = (Timestamp::ZERO, Timestamp::ZERO);
        Ok(Self { reader, path: file.path, pace, start: None, next: None, over, last, played: 0 })
    }

    /// Reads on, and says when what was read is due.
    fn read(&mut self, start: Timestamp, now: Timestamp) -> Result<(Timestamp, Next), Fault> {
        let next = self.reader.read().map_err(|error| error.fault())?;
        let due = match (self.pace, next) {
            (Pace::FlatOut, _) => now,
            (Pace::Arrival, Next::Frame(record)) => start + record.arrival,
            (Pace::Arrival, Next::End(ending)) => start + ending.at,
            (Pace::Captured, Next::Frame(record)) => record.captured(start).max(self.last),
            (Pace::Captured, Next::End(_)) => self.over,
        };
        Ok((due, next))
    }

    fn play(&mut self, record: &Record, start: Timestamp, due: Timestamp, cx: &mut Context<'_>) {
        let captured = if self.pace == Pace::FlatOut { cx.now() } else { record.captured(start) };
        let frame = record.frame(self.reader.payload(), 0, start, captured, cx);
        cx.push(0, frame);
        self.played += 1;
        self.last = due;
        self.over = self.over.max(due + record.duration);
    }
}

impl Node for FramesSource {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let start = *self.start.get_or_insert(cx.now());
        let (due, next) = match self.next.take() {
            Some(next) => next,
            None => self.read(start, cx.now())?,
        };
        if due > cx.now() {
            self.next = Some((due, next));
            cx.wake_at(due);
            return Ok(());
        }
        match next {
            Next::Frame(record) => {
                self.play(&record, start, due, cx);
                // Damage is told when it is met, by the next call.
                cx.wake_at(cx.now());
            }
            Next::End(ending) => {
                for what in ending.complaints(self.played) {
                    cx.emit(EventKind::Notice(format!("{} {what}", self.path.display()).into()));
                }
                cx.end();
            }
        }
        Ok(())
    }

    fn output_types(&self) -> Vec<Option<MediaType>> {
        vec![Some(self.reader.head().media)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames_sink;
    use sidetone_core::harness::Harness;
    use sidetone_core::recording::{Head, Writer};
    use sidetone_core::scratch::Scratch;
    use sidetone_core::{Codec, FaultKind, Flags, Frame, Shared, VIRTUAL_START, Value};
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    /// Packets that come after 0, 30, 30 and 90 ms, captured after −5, 15, 10
    /// and 80 ms, each for 20 ms; the link ends after 100 ms.
    fn recording() -> Vec<u8> {
        let head = Head { media: MediaType::packets(Codec::Opus), seed: 1, started: VIRTUAL_START };
        let mut writer = Writer::new(Vec::new(), &head).unwrap();
        for (index, (arrival, captured)) in (0..).zip([(0, 5), (30, 25), (30, 20), (90, 90)]) {
            let format = sidetone_core::Format::Packet { codec: Codec::Opus, len: 3 };
            let captured = VIRTUAL_START + MS * captured - MS * 10;
            let mut frame = Frame::unpooled(sidetone_core::Header::new(captured, MS * 20), format);
            frame.header.sequence = 40 + index;
            frame.header.flags = Flags::SILENCE;
            frame.bytes_mut().fill(index as u8);
            writer.write(&frame, VIRTUAL_START + MS * arrival).unwrap();
        }
        writer.end(VIRTUAL_START + MS * 100).unwrap();
        writer.inner().clone()
    }

    fn node(path: Value, pace: &str) -> Harness {
        Harness::new(&SPEC, &[("path", path), ("pace", pace.into())])
    }

    /// When each frame came out and was captured, in milliseconds after the
    /// start, and when the output ended.
    fn played(node: &mut Harness) -> (Vec<(u128, i128, u8)>, u128) {
        let mut seen = Vec::new();
        for millis in 0..1_000 {
            node.advance_to(MS * millis);
            let captured = |frame: &Frame| {
                (i128::from(frame.header.captured.nanos()) - i128::from(VIRTUAL_START.nanos())) / 1_000_000
            };
            seen.extend(node.take(0).iter().map(|f| (u128::from(millis), captured(f), f.bytes()[0])));
            if node.has_ended() {
                return (seen, u128::from(millis));
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn each_pace_keeps_its_own_times() {
        let folder = Scratch::new();
        let path = folder.write("tape.frames", &recording());
        let by_arrival = vec![(0, -5, 0), (30, 15, 1), (30, 10, 2), (90, 80, 3)];
        assert_eq!(played(&mut node(path.clone(), "arrival")), (by_arrival, 100));
        let by_capture = vec![(0, -5, 0), (15, 15, 1), (15, 10, 2), (80, 80, 3)];
        assert_eq!(played(&mut node(path.clone(), "captured")), (by_capture, 100));
        let at_once = (0..4).map(|index| (0, 0, index)).collect();
        assert_eq!(played(&mut node(path, "flat_out")), (at_once, 0));
    }

    #[test]
    fn a_recording_of_the_playback_is_the_same_file() {
        let folder = Scratch::new();
        let bytes = recording();
        let mut source = node(folder.write("tape.frames", &bytes), "arrival");
        let mut sink = Harness::new(&frames_sink::SPEC, &[("path", folder.param("again.frames"))]);
        for millis in 0..=100 {
            source.advance_to(MS * millis);
            sink.advance_to(MS * millis);
            source.take(0).into_iter().for_each(|frame| sink.push(0, frame));
            sink.run();
        }
        assert!(source.has_ended());
        sink.end(0);
        sink.run();
        let again = folder.read("again.frames");
        // The harness tells the sink nothing of the link's type: bytes 28 to 48
        // of the head, and its checksum.
        assert_eq!((&again[..28], &again[52..]), (&bytes[..28], &bytes[52..]));
    }

    #[test]
    fn the_graph_is_told_what_the_recording_holds() {
        let folder = Scratch::new();
        let path = folder.write("tape.frames", &recording());
        let made = (SPEC.build)(Setup {
            name: "tape",
            params: &sidetone_core::Params::new(SPEC.params, &[("path", path)]).unwrap(),
            inputs: &[],
            seed: 1,
            run_seed: 1,
            waker: sidetone_core::NodeWaker::default(),
            virtual_time: true,
            deadline: None,
            shared: &Shared::default(),
        });
        assert_eq!(made.unwrap().output_types(), [Some(MediaType::packets(Codec::Opus))]);
    }

    #[test]
    fn cut_anywhere_it_plays_the_whole_frames_and_says_where_it_breaks_off() {
        let folder = Scratch::new();
        let whole = recording();
        for cut in 0..whole.len() {
            let path = folder.write("cut.frames", &whole[..cut]);
            let mut node = match Harness::try_new(&SPEC, &[("path", path)], &Shared::default()) {
                Ok(node) => node,
                Err(why) => {
                    assert!(cut < 52 && why.to_string().contains("cut.frames"), "{why}");
                    continue;
                }
            };
            node.advance(MS * 200);
            assert!(node.has_ended() && node.fault().is_none());
            assert_eq!(node.take(0).len(), ((cut - 52) / 75).min(4));
            let told = node.events().iter().any(|event| {
                let said = event.to_string();
                said.contains("cut.frames breaks off at byte") && said.contains(&cut.to_string())
            });
            assert!(told, "nothing is said of the cut at {cut}");
        }
    }

    #[test]
    fn damage_is_a_fault_at_its_record() {
        let folder = Scratch::new();
        let mut bytes = recording();
        bytes[52 + 75 + 70] ^= 1;
        let mut node = node(folder.write("bad.frames", &bytes), "arrival");
        node.advance(MS * 200);
        let fault = node.fault().unwrap();
        assert_eq!((fault.kind, fault.offset, node.take(0).len()), (FaultKind::BadMedia, Some(52 + 75), 1));
    }

    #[test]
    fn what_could_not_be_recorded_is_told() {
        let folder = Scratch::new();
        let head = Head { media: MediaType::Any, seed: 1, started: VIRTUAL_START };
        let mut writer = Writer::new(Vec::new(), &head).unwrap();
        writer.skip();
        writer.skip();
        writer.end(VIRTUAL_START).unwrap();
        let mut node = node(folder.write("gaps.frames", writer.inner()), "arrival");
        node.run();
        let said: Vec<_> = node.events().iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|said| said.contains("lacks 2 frames")), "{said:?}");
    }
}
