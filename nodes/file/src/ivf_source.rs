//! `file.ivf_source`: plays the AV1 packets of an IVF file.
//!
//! Ports: → `out` AV1 packets, one temporal unit each, flagged `KEY` where a
//! decoder can start.
//!
//! Parameters: `path`, the file; AV1 only, packets of at most 64 MiB. `pace`,
//! `"clock"` (default: by the clock, at the file's own times) or `"flat_out"`
//! (as fast as links take it; packets then count as captured when they are read,
//! while `pts` goes by the file's times). `loop`, default false: begins again at
//! the end; `pts` and `sequence` go on.
//!
//! Latency: none. The first packet comes when the graph starts, and counts as
//! captured then; the output ends when the last one's time is over.
//!
//! Method: IVF as libaom writes it. `KEY` marks a temporal unit with a sequence
//! header and a shown key frame (AV1 specification § 7.6.2). A time before the
//! last counts as the last; one more than an hour after it is damage. Packets
//! without bytes are left out. A damaged file plays up to the damage, and then
//! the node fails, naming the byte.
//!
//! ```toml
//! sidetone = 1
//! links = ["clip -> decoder -> pictures"]
//! nodes.clip = { kind = "file.ivf_source", path = "clip.ivf" }
//! nodes.decoder = { kind = "codec.av1_decode" }
//! nodes.pictures = { kind = "file.y4m_sink", path = "clip.y4m" }
//! ```

use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use sidetone_core::registry::declared;
use sidetone_core::{
    Codec, Context, Fault, FaultKind, Flags, MediaType, Node, NodeError, NodeSpec, ParamSpec, Placement,
    PortSpec, Setup,
};

use crate::opened::Opened;
use crate::pace::{LOOP, PACE, Pace};
use crate::parse::av1;
use crate::parse::ivf::Reader;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "file.ivf_source",
    summary: "Plays the AV1 packets of an IVF file.",
    sheet: sidetone_core::data_sheet!("ivf_source.rs"),
    inputs: &[],
    outputs: &[PortSpec::new("out", MediaType::packets(Codec::Av1), "The packets, one temporal unit each.")],
    params: &[ParamSpec::path("path", "The IVF file."), PACE, LOOP],
    placement: Placement::Shared,
    real_time: false, // it reads a file
    negotiate: &declared,
    build: &|setup| Ok(Box::new(IvfSource::new(&setup)?)),
};

/// The longest time from one packet to the next.
const LONGEST_GAP: Duration = Duration::from_secs(3600);
/// How long a packet lasts where nothing tells.
const USUAL_GAP: Duration = Duration::from_nanos(33_333_333);

struct IvfSource {
    reader: Reader<BufReader<File>>,
    pace: Pace,
    loops: bool,
    /// What comes next, read one ahead so that the present one's duration is
    /// known.
    next: Next,
    /// The packet that comes next, if one does.
    ahead: Vec<u8>,
    /// The packet being put out.
    packet: Vec<u8>,
    /// When the file's first packet stands, after the start, in this round.
    round_start: Duration,
    /// The time the file gives its first packet; `None` before it is read.
    first: Option<u64>,
    /// The last time between two packets.
    gap: Duration,
}

#[derive(Clone, Copy)]
enum Next {
    Unread,
    /// A packet, so long after the start.
    Packet(Duration),
    /// The end, so long after the start.
    End(Duration),
    Damage(Fault),
}

impl IvfSource {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let pace = Pace::new(setup)?;
        let file = Opened::new(setup)?;
        let reader = Reader::new(file.reader).map_err(|error| error.opening(&file.path))?;
        let fourcc = reader.ivf().fourcc;
        if &fourcc != b"AV01" {
            let why = format!("it holds {}; only AV01 is read", fourcc.escape_ascii());
            return Err(NodeError::BadMedia { path: file.path, why, offset: 8 });
        }
        // Files that count pictures tell how long one lasts; those that count
        // milliseconds or such do not.
        let unit = Duration::from_nanos(reader.ivf().nanos(1));
        let is_picture = (Duration::from_millis(4)..=Duration::from_secs(1)).contains(&unit);
        Ok(Self {
            reader,
            pace,
            loops: setup.params.bool("loop"),
            next: Next::Unread,
            ahead: Vec::new(),
            packet: Vec::new(),
            round_start: Duration::ZERO,
            first: None,
            gap: if is_picture { unit } else { USUAL_GAP },
        })
    }

    /// Reads what follows the packet at `last`.
    fn read_ahead(&mut self, last: Option<Duration>) -> Result<Next, Fault> {
        loop {
            let offset = self.reader.offset();
            let read = self.reader.read(&mut self.ahead).map_err(|error| error.fault())?;
            match read {
                Some(_) if self.ahead.is_empty() => {}
                Some(pts) => {
                    let nanos = self.reader.ivf().nanos(pts);
                    let first = *self.first.get_or_insert(nanos);
                    let since_first = Duration::from_nanos(nanos.saturating_sub(first));
                    let before = last.unwrap_or_default();
                    let at = (self.round_start + since_first).max(before);
                    if at - before > LONGEST_GAP {
                        let why = "a packet's time is more than an hour after the one before";
                        return Err(Fault::new(FaultKind::BadMedia, why).at(offset));
                    }
                    if last.is_some() && at > before {
                        self.gap = at - before;
                    }
                    return Ok(Next::Packet(at));
                }
                None => {
                    let end = last.map_or(Duration::ZERO, |last| last + self.gap);
                    if !self.loops || self.first.is_none() {
                        return Ok(Next::End(end));
                    }
                    self.reader.rewind().map_err(|error| error.fault())?;
                    self.first = None;
                    self.round_start = end;
                }
            }
        }
    }

    fn advance(&mut self, last: Option<Duration>) {
        self.next = self.read_ahead(last).unwrap_or_else(Next::Damage);
    }
}

impl Node for IvfSource {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let start = self.pace.start(cx);
        if matches!(self.next, Next::Unread) {
            self.advance(None);
        }
        let (Next::Packet(at) | Next::End(at)) = self.next else {
            return if let Next::Damage(fault) = self.next { Err(fault) } else { Ok(()) };
        };
        if self.pace.must_wait(start + at, cx) {
            return Ok(());
        }
        if matches!(self.next, Next::End(_)) {
            cx.end();
            return Ok(());
        }
        std::mem::swap(&mut self.packet, &mut self.ahead);
        self.advance(Some(at));
        let (duration, due) = match self.next {
            Next::Packet(next) | Next::End(next) => (next - at, start + next),
            Next::Unread | Next::Damage(_) => (self.gap, cx.now()),
        };
        let mut header = self.pace.born(start + at, duration, cx);
        if av1::is_key(&self.packet) {
            header.flags = header.flags.with(Flags::KEY);
        }
        let frame = cx.packet(0, Codec::Av1, &self.packet, header);
        cx.push(0, frame);
        self.pace.wake(due, cx);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::av1::tests::unit;
    use crate::parse::ivf::{Ivf, header};
    use sidetone_core::harness::Harness;
    use sidetone_core::scratch::Scratch;
    use sidetone_core::{Shared, VIRTUAL_START};

    const IVF: Ivf = Ivf { fourcc: *b"AV01", width: 1280, height: 720, rate: 1000, scale: 1 };

    fn file(packets: &[(u64, &[u8])]) -> Vec<u8> {
        let mut file = header(&IVF, 0).to_vec();
        for (pts, packet) in packets {
            file.extend(u32::try_from(packet.len()).unwrap().to_le_bytes());
            file.extend(pts.to_le_bytes());
            file.extend(*packet);
        }
        file
    }

    /// Milliseconds since the start.
    fn millis(frame: &sidetone_core::Frame) -> u128 {
        frame.header.pts.since(VIRTUAL_START).as_millis()
    }

    #[test]
    fn packets_come_at_the_files_times_with_keys_marked() {
        let folder = Scratch::new();
        let (key, inter) = (unit(true, 0x10), unit(false, 0x30));
        let bytes = file(&[(500, &key), (540, &inter), (560, b""), (600, &inter)]);
        let mut node = Harness::new(&SPEC, &[("path", folder.write("clip.ivf", &bytes))]);
        for (at, payload, is_key, duration) in
            [(0, &key, true, 40), (40, &inter, false, 60), (100, &inter, false, 60)]
        {
            node.advance_to(Duration::from_millis(at));
            let frames = node.take(0);
            let [frame] = frames.as_slice() else { panic!("{} packets at {at}", frames.len()) };
            assert_eq!((frame.bytes(), frame.header.flags.has(Flags::KEY)), (payload.as_slice(), is_key));
            assert_eq!(frame.header.captured, node.now());
            assert_eq!(frame.header.duration, Duration::from_millis(duration));
        }
        assert!(!node.has_ended());
        node.advance(Duration::from_millis(60));
        assert!(node.has_ended() && node.fault().is_none());
    }

    #[test]
    fn a_loop_goes_on_one_picture_after_the_last() {
        let folder = Scratch::new();
        let bytes = file(&[(7, b"a"), (27, b"b"), (57, b"c")]);
        let params = [("path", folder.write("clip.ivf", &bytes)), ("loop", true.into())];
        let mut node = Harness::new(&SPEC, &params);
        node.advance(Duration::from_millis(180));
        let frames = node.take(0);
        assert_eq!(frames.iter().map(millis).collect::<Vec<_>>(), [0, 20, 50, 80, 100, 130, 160, 180]);
        assert_eq!(frames.iter().map(|frame| frame.bytes()[0]).collect::<Vec<_>>(), b"abcabcab");
        assert_eq!(frames[7].header.sequence, 7);
    }

    #[test]
    fn flat_out_comes_at_once_on_the_files_timeline() {
        let folder = Scratch::new();
        let bytes = file(&[(0, b"a"), (100, b"b"), (2000, b"c")]);
        let params = [("path", folder.write("clip.ivf", &bytes)), ("pace", "flat_out".into())];
        let mut node = Harness::new(&SPEC, &params);
        node.run();
        let frames = node.take(0);
        assert_eq!(frames.iter().map(millis).collect::<Vec<_>>(), [0, 100, 2000]);
        assert!(node.has_ended() && frames[2].header.captured == VIRTUAL_START);
    }

    #[test]
    fn a_loop_of_nothing_or_of_one_instant_does_not_spin() {
        let folder = Scratch::new();
        for packets in [&[][..], &[(0, b"".as_slice())]] {
            let params = [("path", folder.write("none.ivf", &file(packets))), ("loop", true.into())];
            let mut node = Harness::new(&SPEC, &params);
            node.run();
            assert!(node.has_ended() && node.take(0).is_empty());
        }
        let params = [("path", folder.write("one.ivf", &file(&[(5, b"a")]))), ("loop", true.into())];
        let mut node = Harness::new(&SPEC, &params);
        node.advance(Duration::from_secs(1));
        assert_eq!(node.take(0).len(), 31);
    }

    #[test]
    fn times_that_go_back_wait_for_nothing_and_a_leap_is_damage() {
        let folder = Scratch::new();
        let bytes = file(&[(900, b"a"), (940, b"b"), (100, b"c"), (u64::MAX, b"d")]);
        let mut node = Harness::new(&SPEC, &[("path", folder.write("clip.ivf", &bytes))]);
        node.advance(Duration::from_secs(1));
        assert_eq!(node.take(0).iter().map(millis).collect::<Vec<_>>(), [0, 40, 40]);
        assert_eq!(node.fault().unwrap().offset, Some(32 + 3 * 13));
    }

    #[test]
    fn cut_anywhere_it_plays_to_the_cut_and_names_it() {
        let folder = Scratch::new();
        let whole = file(&[(0, b"first"), (40, b"second"), (80, b"third")]);
        let ends = [32, 49, 67, 84];
        for cut in 0..whole.len() {
            let path = folder.write("cut.ivf", &whole[..cut]);
            match Harness::try_new(&SPEC, &[("path", path)], &Shared::default()) {
                Err(NodeError::BadMedia { path, offset, .. }) => {
                    assert!(path.ends_with("cut.ivf") && offset == cut as u64);
                }
                Err(other) => panic!("{other}"),
                Ok(mut node) => {
                    node.advance(Duration::from_secs(1));
                    assert_eq!(node.take(0).len(), ends[1..].iter().filter(|end| **end <= cut).count());
                    let offset = node.fault().map(|fault| fault.offset.unwrap());
                    assert_eq!(offset, (!ends.contains(&cut)).then_some(cut as u64));
                }
            }
        }
    }

    #[test]
    fn other_codecs_are_refused_by_name() {
        let folder = Scratch::new();
        let mut bytes = file(&[]);
        bytes[8..12].copy_from_slice(b"VP90");
        let path = folder.write("clip.ivf", &bytes);
        let refused = Harness::try_new(&SPEC, &[("path", path)], &Shared::default()).err().unwrap();
        assert!(refused.to_string().ends_with("clip.ivf: it holds VP90; only AV01 is read, at byte 8"));
    }
}
