//! `file.y4m_source`: plays the pictures of a Y4M file.
//!
//! Ports: → `out` raw video, I420, at the file's size and rate.
//!
//! Parameters: `path`, the file; 8-bit 4:2:0 (C420, C420jpeg, C420mpeg2,
//! C420paldv), up to 16,384 on a side. `pace`, `"clock"` (default: by the clock,
//! at the file's own rate, 30 pictures a second where it names none) or
//! `"flat_out"` (as fast as links take it; frames then count as captured when
//! they are read, while `pts` goes by the file's rate). `loop`, default false:
//! begins again at the end; `pts` and `sequence` go on.
//!
//! Latency: none. The first picture comes when the graph starts, and counts as
//! captured then; the output ends when the last one's time is over. On a lane
//! of its own, since a slow disk holds up whoever reads megabytes from it.
//!
//! Method: yuv4mpeg(5) of mjpegtools. A damaged file plays up to the damage, and
//! then the node fails, naming the byte. Where chroma lies between the luma
//! samples makes no difference here.
//!
//! ```toml
//! sidetone = 1
//! links = ["clip -> smooth -> copy"]
//! nodes.clip = { kind = "file.y4m_source", path = "clip.y4m" }
//! nodes.smooth = { kind = "effect.smooth_skin" }
//! nodes.copy = { kind = "file.y4m_sink", path = "smooth.y4m" }
//! ```

use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use sidetone_core::registry::declared;
use sidetone_core::{
    Context, Fault, MediaType, Node, NodeError, NodeSpec, ParamSpec, Placement, PortSpec, ReadError, Setup,
    VideoFormat,
};

use crate::opened::Opened;
use crate::pace::{LOOP, PACE, Pace};
use crate::parse::y4m::Reader;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "file.y4m_source",
    summary: "Plays the pictures of a Y4M file.",
    sheet: sidetone_core::data_sheet!("y4m_source.rs"),
    inputs: &[],
    outputs: &[PortSpec::new(
        "out",
        MediaType::i420(None, None),
        "The pictures, at the file's size and rate.",
    )],
    params: &[ParamSpec::path("path", "The Y4M file."), PACE, LOOP],
    placement: Placement::Own,
    real_time: false, // it reads a file
    negotiate: &declared,
    build: &|setup| Ok(Box::new(Y4mSource::new(&setup)?)),
};

struct Y4mSource {
    reader: Reader<BufReader<File>>,
    pace: Pace,
    loops: bool,
    /// Pictures put out so far.
    count: u64,
    /// Pictures put out since the file last began.
    round: u64,
}

impl Y4mSource {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let pace = Pace::new(setup)?;
        let file = Opened::new(setup)?;
        let reader = Reader::new(file.reader, file.bytes).map_err(|error| error.opening(&file.path))?;
        Ok(Self { reader, pace, loops: setup.params.bool("loop"), count: 0, round: 0 })
    }

    /// When picture `index` begins, after the first.
    fn offset(&self, index: u64) -> Duration {
        Duration::from_nanos(self.reader.y4m().fps.offset_nanos(index))
    }

    /// Whether there is another picture, here or at the file's beginning.
    fn next_picture(&mut self) -> Result<bool, ReadError> {
        if self.reader.next_picture()? {
            return Ok(true);
        }
        if !self.loops || self.round == 0 {
            return Ok(false);
        }
        self.reader.rewind()?;
        self.round = 0;
        self.reader.next_picture()
    }
}

impl Node for Y4mSource {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let start = self.pace.start(cx);
        let at = start + self.offset(self.count);
        if self.pace.must_wait(at, cx) {
            return Ok(());
        }
        if !self.next_picture().map_err(|error| error.fault())? {
            cx.end();
            return Ok(());
        }
        let next = start + self.offset(self.count + 1);
        let header = self.pace.born(at, next.since(at), cx);
        let mut frame = cx.video(0, VideoFormat::i420(self.reader.y4m().size), header);
        self.reader.read_picture(&mut frame).map_err(|error| error.fault())?;
        cx.push(0, frame);
        self.count += 1;
        self.round += 1;
        self.pace.wake(next, cx);
        Ok(())
    }

    fn output_types(&self) -> Vec<Option<MediaType>> {
        let y4m = self.reader.y4m();
        vec![Some(MediaType::i420(Some(y4m.size), Some(y4m.fps)))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;
    use sidetone_core::scratch::Scratch;
    use sidetone_core::{FaultKind, Shared, VIRTUAL_START};

    const HEADER: &[u8] = b"YUV4MPEG2 W3 H5 F30000:1001 Ip C420jpeg\n";
    const EACH: usize = 6 + 15 + 2 * 6;

    /// Pictures of 3x5, each of one shade: its number.
    fn clip(pictures: u8) -> Vec<u8> {
        let mut file = HEADER.to_vec();
        for picture in 0..pictures {
            file.extend(b"FRAME\n");
            file.extend([picture; EACH - 6]);
        }
        file
    }

    #[test]
    fn pictures_come_by_the_clock_and_never_drift() {
        let folder = Scratch::new();
        let path = folder.write("clip.y4m", &clip(200));
        let mut node = Harness::new(&SPEC, &[("path", path)]);
        node.run();
        assert_eq!(node.take(0).len(), 1, "the first comes at once");
        for n in 1..200u64 {
            node.advance_to(Duration::from_nanos(n * 1_001_000_000_000 / 30_000));
            let frames = node.take(0);
            let [frame] = frames.as_slice() else { panic!("{} pictures at {n}", frames.len()) };
            assert_eq!((frame.header.captured, frame.header.sequence), (node.now(), n));
            assert!((33..34).contains(&frame.header.duration.as_millis()));
            assert!((0..3).all(|plane| u64::from(frame.plane(plane).row(2)[1]) == n));
        }
        assert!(!node.has_ended(), "the last picture has its time too");
        node.advance(Duration::from_millis(34));
        assert!(node.has_ended() && node.fault().is_none());
    }

    #[test]
    fn a_loop_goes_on_counting() {
        let folder = Scratch::new();
        let path = folder.write("clip.y4m", &clip(3));
        let mut node = Harness::new(&SPEC, &[("path", path), ("loop", true.into())]);
        node.advance(Duration::from_millis(334));
        let frames = node.take(0);
        assert_eq!(frames.len(), 11);
        for (n, frame) in (0..).zip(&frames) {
            assert_eq!((frame.header.sequence, u64::from(frame.plane(0).row(0)[0])), (n, n % 3));
            assert_eq!(
                frame.header.pts,
                VIRTUAL_START + Duration::from_nanos(n * 1_001_000_000_000 / 30_000)
            );
        }
    }

    #[test]
    fn flat_out_comes_at_once_on_the_files_timeline() {
        let folder = Scratch::new();
        let path = folder.write("clip.y4m", &clip(31));
        let mut node = Harness::new(&SPEC, &[("path", path), ("pace", "flat_out".into())]);
        node.run();
        let frames = node.take(0);
        assert!(frames.len() == 31 && node.has_ended());
        assert_eq!(frames[30].header.pts, VIRTUAL_START + Duration::from_millis(1001));
        assert_eq!(frames[30].header.captured, VIRTUAL_START);
    }

    #[test]
    fn cut_anywhere_it_plays_to_the_cut_and_names_it() {
        let folder = Scratch::new();
        let whole = clip(3);
        for cut in 0..whole.len() {
            let path = folder.write("cut.y4m", &whole[..cut]);
            match Harness::try_new(&SPEC, &[("path", path)], &Shared::default()) {
                Err(NodeError::BadMedia { path, offset, .. }) => {
                    assert!(path.ends_with("cut.y4m") && offset == cut as u64);
                }
                Err(other) => panic!("{other}"),
                Ok(mut node) => {
                    node.advance(Duration::from_secs(1));
                    let body = cut - HEADER.len();
                    assert_eq!(node.take(0).len(), body / EACH);
                    let fault = node.fault();
                    assert_eq!(fault.is_none(), body.is_multiple_of(EACH));
                    assert!(fault.is_none_or(|fault| fault.offset == Some(cut as u64)));
                    assert!(fault.is_none_or(|fault| fault.kind == FaultKind::BadMedia) && node.has_ended());
                }
            }
        }
    }

    #[test]
    fn a_picture_larger_than_its_file_is_a_fault_at_the_files_end() {
        let folder = Scratch::new();
        let file = b"YUV4MPEG2 W16384 H16384\nFRAME\n";
        let mut node = Harness::new(&SPEC, &[("path", folder.write("huge.y4m", file))]);
        node.run();
        assert_eq!(node.fault().unwrap().offset, Some(file.len() as u64));
    }

    #[test]
    fn other_samplings_are_refused_by_file_and_name() {
        let folder = Scratch::new();
        let path = folder.write("clip.y4m", b"YUV4MPEG2 W2 H2 F30:1 C444\n");
        let refused = Harness::try_new(&SPEC, &[("path", path)], &Shared::default()).err().unwrap();
        let message = refused.to_string();
        assert!(
            message.contains("clip.y4m: its pictures are C444; only 8-bit 4:2:0")
                && message.contains("byte 22")
        );
    }
}
