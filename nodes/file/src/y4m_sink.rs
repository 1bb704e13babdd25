//! `file.y4m_sink`: writes pictures to a Y4M file.
//!
//! Ports: `in` raw video, I420; the first picture sets the file's size, and a
//! later change is an error.
//!
//! Parameters: `path`, the file; its folders are made, and what it held is
//! replaced. `fps`, 1 to 240 pictures a second, the rate that the header names
//! (29.97 stands for 30000/1001, and so on); unset by default: the rate that the
//! graph knows, or, where it knows none, the average of what came, so that the
//! file lasts as long as the call did.
//!
//! Latency: none; a picture counts as seen when it is written. On a lane of its
//! own, since a slow disk holds up whoever writes megabytes to it.
//!
//! Method: yuv4mpeg(5) of mjpegtools, with ffmpeg's XCOLORRANGE. Each picture
//! that comes is written once: Y4M knows no times. What was written so far is
//! whole every second, so that a file whose writer dies plays up to there; an
//! average rate is entered when the input ends, and is 30 before. If nothing
//! comes and the graph knows no size, the file stays empty.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> file"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.file = { kind = "file.y4m_sink", path = "out/scene.y4m" }
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use sidetone_core::registry::declared;
use sidetone_core::{
    Context, Fault, FaultKind, Finish, Frame, FrameRate, MediaType, Node, NodeError, NodeSpec, ParamSpec,
    Placement, PortSpec, Setup, Size, Timestamp,
};

use crate::new_file::{Checkpoint, create, write_fault};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "file.y4m_sink",
    summary: "Writes pictures to a Y4M file.",
    sheet: sidetone_core::data_sheet!("y4m_sink.rs"),
    inputs: &[PortSpec::new("in", MediaType::i420(None, None), "The pictures.")],
    outputs: &[],
    params: &[
        ParamSpec::path("path", "The Y4M file; its folders are made."),
        ParamSpec::float("fps", 30.0, 1.0, 240.0, "The rate that the header names.")
            .unit("pictures a second")
            .optional(),
    ],
    placement: Placement::Own,
    real_time: false, // it writes a file
    negotiate: &declared,
    build: &|setup| Ok(Box::new(Y4mSink::new(&setup)?)),
};

const USUAL_RATE: FrameRate = FrameRate::new(30, 1);

struct Y4mSink {
    writer: BufWriter<File>,
    /// The rate, if it is known before any picture comes.
    fps: Option<FrameRate>,
    /// The size that the header names.
    size: Option<Size>,
    /// The size that the graph promises.
    promised: Option<Size>,
    pictures: u64,
    first: Timestamp,
    last: Timestamp,
    checkpoint: Checkpoint,
}

impl Y4mSink {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let (promised, promised_fps) = match setup.inputs.first() {
            Some(Some(MediaType::Video { size, fps, .. })) => (*size, *fps),
            _ => (None, None),
        };
        let given = setup.params.get("fps").map(|fps| rate_of(fps.as_float()));
        Ok(Self {
            writer: BufWriter::with_capacity(1 << 17, create(setup)?),
            fps: given.or(promised_fps),
            size: None,
            promised,
            pictures: 0,
            first: Timestamp::ZERO,
            last: Timestamp::ZERO,
            checkpoint: Checkpoint::default(),
        })
    }

    fn write_header(&mut self, size: Size) -> io::Result<()> {
        self.size = Some(size);
        let Size { width, height } = size;
        write!(self.writer, "YUV4MPEG2 W{width} H{height} F")?;
        match self.fps {
            Some(FrameRate { num, den }) => write!(self.writer, "{num}:{den}")?,
            None => write_rate(&mut self.writer, USUAL_RATE)?,
        }
        writeln!(self.writer, " Ip A1:1 C420jpeg XCOLORRANGE=LIMITED")
    }

    fn write(&mut self, frame: &Frame) -> io::Result<()> {
        self.writer.write_all(b"FRAME\n")?;
        for index in 0..3 {
            let plane = frame.plane(index);
            for y in 0..plane.height {
                self.writer.write_all(plane.row(y))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: &Frame, cx: &Context<'_>) -> Result<(), Fault> {
        let Some(video) = frame.video() else {
            return Err(Fault::new(FaultKind::WrongFormat, "file.y4m_sink takes raw video"));
        };
        match self.size {
            None => self.write_header(video.size).map_err(|error| write_fault(&error))?,
            Some(size) if size == video.size => {}
            Some(_) => {
                let why = "the pictures' size changed; put { kind = \"effect.scale\", size = [640, 360] } \
                           before file.y4m_sink";
                return Err(Fault::new(FaultKind::WrongFormat, why));
            }
        }
        self.write(frame).map_err(|error| write_fault(&error))?;
        if self.pictures == 0 {
            self.first = frame.header.pts;
        }
        self.last = frame.header.pts;
        self.pictures += 1;
        if self.checkpoint.is_due(cx.now()) {
            self.writer.flush().map_err(|error| write_fault(&error))?;
        }
        Ok(())
    }

    /// Completes the file: enters the average rate, if none was known.
    fn close(&mut self) -> io::Result<()> {
        let Some(size) = self.size else { return Ok(()) };
        let lasted = self.last.since(self.first).as_secs_f64();
        if self.fps.is_none() && self.pictures > 1 && lasted > 0.0 {
            let average = rate_of((self.pictures - 1) as f64 / lasted);
            let at = format!("YUV4MPEG2 W{} H{} F", size.width, size.height).len() as u64;
            self.writer.seek(SeekFrom::Start(at))?;
            write_rate(&mut self.writer, average)?;
            self.writer.seek(SeekFrom::End(0))?;
        }
        self.writer.flush()
    }
}

impl Node for Y4mSink {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(frame) = cx.pop(0) else { return Ok(()) };
        if let Err(fault) = self.take(&frame, cx) {
            // What came before stays a whole file; the first fault is told.
            let _ = self.close();
            return Err(fault);
        }
        cx.rendered(frame);
        Ok(())
    }

    fn finish(&mut self, _: &mut Context<'_>) -> Result<Finish, Fault> {
        let header = match self.promised {
            Some(size) if self.size.is_none() => self.write_header(size),
            _ => Ok(()),
        };
        header.and_then(|()| self.close()).map_err(|error| write_fault(&error))?;
        Ok(Finish::Done)
    }
}

/// A rate in as many bytes whatever it is, so that it can be written over.
fn write_rate(writer: &mut impl Write, FrameRate { num, den }: FrameRate) -> io::Result<()> {
    write!(writer, "{num:07}:{den:04}")
}

/// The fraction that `fps` stands for: whole, or whole times 1000/1001, if one
/// of them is near, else thousandths.
fn rate_of(fps: f64) -> FrameRate {
    let fps = fps.clamp(0.001, 1000.0);
    let (whole, film) = (fps.round(), (fps * 1.001).round());
    let is_near = |rate: f64| (fps - rate).abs() < rate * 2e-4;
    if is_near(whole) {
        FrameRate::new(whole as u32, 1)
    } else if is_near(film * 1000.0 / 1001.0) {
        FrameRate::new(film as u32 * 1000, 1001)
    } else {
        FrameRate::new((fps * 1000.0).round() as u32, 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::y4m::{Reader, walk};
    use sidetone_core::harness::Harness;
    use sidetone_core::scratch::Scratch;
    use sidetone_core::{Format, Header, Params, Shared, Value, VideoFormat};
    use std::time::Duration;

    fn noise(seed: usize) -> impl Fn(usize, usize, usize) -> u8 {
        move |plane, x, y| (seed * 31 + plane * 7 + x * 13 + y * 29) as u8
    }

    /// The file that `pictures` pictures make that come every `gap`.
    fn written(size: (u32, u32), pictures: usize, gap: Duration, params: &[(&str, Value)]) -> Vec<u8> {
        let folder = Scratch::new();
        let params = [params, &[("path", folder.param("a/b/out.y4m"))]].concat();
        let mut node = Harness::new(&SPEC, &params);
        for picture in 0..pictures {
            node.push(0, node.picture(size.0, size.1, noise(picture)));
            node.advance(gap);
        }
        node.end(0);
        node.run();
        assert!(node.has_ended() && node.fault().is_none());
        assert_eq!(node.ledger().frames.get(), pictures as u64, "each counts as rendered");
        folder.read("a/b/out.y4m")
    }

    #[test]
    fn pictures_of_any_size_read_back_as_written() {
        for size in [(1, 1), (2, 2), (3, 5), (64, 1), (65, 37), (1, 64), (176, 144)] {
            let file = written(size, 4, Duration::from_millis(40), &[]);
            let mut reader = Reader::new(file.as_slice(), Some(file.len() as u64)).unwrap();
            assert_eq!(reader.y4m().size, Size::new(size.0, size.1));
            let format = Format::Video(VideoFormat::i420(reader.y4m().size));
            for picture in 0..4 {
                assert!(reader.next_picture().unwrap());
                let mut frame = Frame::unpooled(Header::default(), format);
                reader.read_picture(&mut frame).unwrap();
                for index in 0..3 {
                    let plane = frame.plane(index);
                    for y in 0..plane.height {
                        let row: Vec<u8> = (0..plane.width).map(|x| noise(picture)(index, x, y)).collect();
                        assert_eq!(plane.row(y), row);
                    }
                }
            }
            assert!(!reader.next_picture().unwrap());
        }
    }

    fn rate(file: &[u8]) -> FrameRate {
        Reader::new(file, None).unwrap().y4m().fps
    }

    #[test]
    fn the_rate_is_the_given_one_or_the_average() {
        let gap = Duration::from_nanos(33_366_667);
        assert_eq!(rate(&written((2, 2), 50, gap, &[("fps", 25.0.into())])), FrameRate::new(25, 1));
        assert_eq!(rate(&written((2, 2), 50, gap, &[("fps", 23.976.into())])), FrameRate::new(24_000, 1_001));
        assert_eq!(rate(&written((2, 2), 50, gap, &[])), FrameRate::new(30_000, 1_001));
        assert_eq!(rate(&written((2, 2), 50, Duration::from_millis(80), &[])), FrameRate::new(12_500, 1_000));
        assert_eq!(rate(&written((2, 2), 1, gap, &[])), FrameRate::new(30, 1));
    }

    #[test]
    fn what_the_graph_promises_stands_in_the_header() {
        let folder = Scratch::new();
        let params = Params::new(SPEC.params, &[("path", folder.param("out.y4m"))]).unwrap();
        let promised = MediaType::i420(Some(Size::new(8, 6)), Some(FrameRate::new(15, 1)));
        let sink = Y4mSink::new(&Setup {
            name: "node",
            params: &params,
            inputs: &[Some(promised)],
            seed: 1,
            run_seed: 1,
            waker: sidetone_core::NodeWaker::default(),
            virtual_time: true,
            deadline: None,
            shared: &Shared::default(),
        })
        .unwrap();
        assert_eq!((sink.fps, sink.promised), (Some(FrameRate::new(15, 1)), Some(Size::new(8, 6))));
    }

    #[test]
    fn a_file_whose_writer_dies_plays_up_to_the_last_second() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.y4m"))]);
        for picture in 0..25 {
            node.push(0, node.picture(4, 4, noise(picture)));
            node.advance(Duration::from_millis(100));
        }
        // As another process would find it now.
        assert_eq!(walk(&folder.read("out.y4m")).unwrap(), 21);
    }

    #[test]
    fn a_change_of_size_is_a_fault_that_leaves_a_whole_file() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.y4m"))]);
        node.push(0, node.picture(4, 4, noise(0)));
        node.push(0, node.picture(4, 6, noise(1)));
        node.run();
        let fault = node.fault().unwrap();
        assert!(fault.kind == FaultKind::WrongFormat && fault.why.contains("effect.scale"));
        assert_eq!(walk(&folder.read("out.y4m")).unwrap(), 1);
    }

    #[test]
    fn if_nothing_comes_the_file_stays_empty() {
        assert!(written((2, 2), 0, Duration::ZERO, &[]).is_empty());
    }
}
