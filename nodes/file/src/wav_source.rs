//! `file.wav_source`: plays the sound of a WAV file.
//!
//! Ports: → `out` raw audio, at the file's rate and channels.
//!
//! Parameters: `path`, the file; PCM of 8, 16, 24 or 32 bits or float of 32 or
//! 64, 1 to 8 channels. `frame_ms`, how much one frame holds, 2.5 to 60 ms,
//! default 10, rounded to whole samples. `pace`, `"clock"` (default: by the
//! clock, at the file's own rate) or `"flat_out"` (as fast as links take it;
//! frames then count as captured when they are read, while `pts` goes by the
//! file's rate). `loop`, default false: begins again at the end, without a gap;
//! `pts` and `sequence` go on.
//!
//! Latency: one frame, since a frame comes out when its last sample would have
//! been captured. The first sample counts as captured when the graph starts.
//!
//! Method: RIFF WAVE (IBM and Microsoft, 1991) with `WAVEFORMATEXTENSIBLE`. The
//! last frame is filled up with silence. Whole numbers become float by division
//! through their full scale. A damaged file plays up to the damage, and then the
//! node fails, naming the byte.
//!
//! ```toml
//! sidetone = 1
//! links = ["voice -> softer -> copy"]
//! nodes.voice = { kind = "file.wav_source", path = "voice.wav" }
//! nodes.softer = { kind = "audio.gain", gain_db = -6 }
//! nodes.copy = { kind = "file.wav_sink", path = "softer.wav" }
//! ```

use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use sidetone_core::{
    AudioFormat, Context, Fault, MediaType, Negotiated, Node, NodeError, NodeSpec, ParamSpec, Placement,
    PortSpec, Setup,
};

use crate::opened::Opened;
use crate::pace::{LOOP, PACE, Pace};
use crate::parse::wav::Reader;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "file.wav_source",
    summary: "Plays the sound of a WAV file.",
    sheet: sidetone_core::data_sheet!("wav_source.rs"),
    inputs: &[],
    outputs: &[PortSpec::new("out", MediaType::AUDIO, "The sound, at the file's rate and channels.")],
    params: &[
        ParamSpec::path("path", "The WAV file."),
        ParamSpec::float("frame_ms", 10.0, 2.5, 60.0, "How much one frame holds.").unit("ms"),
        PACE,
        LOOP,
    ],
    placement: Placement::Shared,
    real_time: false, // it reads a file
    negotiate: &|offer| {
        let frame = Duration::from_secs_f64(offer.params.float("frame_ms") / 1000.0);
        Ok(Negotiated::new([MediaType::AUDIO]).latency(frame))
    },
    build: &|setup| Ok(Box::new(WavSource::new(&setup)?)),
};

struct WavSource {
    reader: Reader<BufReader<File>>,
    format: AudioFormat,
    pace: Pace,
    loops: bool,
    /// Samples put out so far.
    position: u64,
    /// Samples read since the file last began.
    round: u64,
    /// The frame being put together, one channel beside the other.
    frame: Vec<f32>,
    /// What to give once the frame before it is out.
    fault: Option<Fault>,
}

impl WavSource {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let pace = Pace::new(setup)?;
        let file = Opened::new(setup)?;
        let reader = Reader::new(file.reader).map_err(|error| error.opening(&file.path))?;
        let wav = reader.wav();
        let samples = (f64::from(wav.rate) * setup.params.float("frame_ms") / 1000.0).round().max(1.0) as u32;
        Ok(Self {
            reader,
            format: AudioFormat { rate: wav.rate, channels: wav.channels, samples },
            pace,
            loops: setup.params.bool("loop"),
            position: 0,
            round: 0,
            frame: Vec::new(),
            fault: None,
        })
    }

    /// Reads the next frame, as much of it as there is.
    fn read_frame(&mut self) -> Result<(), Fault> {
        let channels = usize::from(self.format.channels);
        let wanted = self.format.samples as usize * channels;
        self.frame.clear();
        while self.frame.len() < wanted {
            let missing = (wanted - self.frame.len()) / channels;
            match self.reader.read(missing) {
                Ok([]) if self.loops && self.round > 0 => {
                    self.reader.rewind().map_err(|error| error.fault())?;
                    self.round = 0;
                }
                Ok([]) => break,
                Ok(samples) => {
                    self.frame.extend_from_slice(samples);
                    self.round += samples.len() as u64;
                }
                Err(error) if self.frame.is_empty() => return Err(error.fault()),
                Err(error) => {
                    self.fault = Some(error.fault());
                    break;
                }
            }
        }
        if !self.frame.is_empty() {
            self.frame.resize(wanted, 0.0);
        }
        Ok(())
    }
}

impl Node for WavSource {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let AudioFormat { rate, samples, channels } = self.format;
        let start = self.pace.start(cx);
        let next = self.position + u64::from(samples);
        let due = start.after_units(next, rate);
        if self.pace.must_wait(due, cx) {
            return Ok(());
        }
        self.read_frame()?;
        if self.frame.is_empty() {
            cx.end();
            return Ok(());
        }
        let captured = start.after_units(self.position, rate);
        let header = self.pace.born(captured, self.format.duration(), cx);
        let mut frame = cx.audio(0, self.format, header);
        for channel in 0..usize::from(channels) {
            let samples = self.frame[channel..].iter().step_by(usize::from(channels));
            frame.channel_mut(channel).iter_mut().zip(samples).for_each(|(to, from)| *to = *from);
        }
        cx.push(0, frame);
        self.position = next;
        if self.reader.is_at_end() && !self.loops {
            cx.end();
        } else if self.fault.is_some() {
            cx.wake_at(cx.now());
        } else {
            self.pace.wake(start.after_units(next + u64::from(samples), rate), cx);
        }
        Ok(())
    }

    fn output_types(&self) -> Vec<Option<MediaType>> {
        let AudioFormat { rate, channels, samples } = self.format;
        vec![Some(MediaType::Audio { rate: Some(rate), channels: Some(channels), samples: Some(samples) })]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{SampleFormat, WavSpec, WavWriter};
    use sidetone_core::harness::Harness;
    use sidetone_core::scratch::Scratch;
    use sidetone_core::{FaultKind, Shared, VIRTUAL_START, Value};

    /// A 16-bit WAV whose sample `n` of channel `c` is `n * channels + c`.
    fn counting(folder: &Scratch, rate: u32, channels: u16, samples: i16) -> Value {
        let spec =
            WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = WavWriter::create(folder.path("in.wav"), spec).unwrap();
        for value in 0..samples * i16::try_from(channels).unwrap() {
            writer.write_sample(value).unwrap();
        }
        writer.finalize().unwrap();
        folder.param("in.wav")
    }

    fn value(sample: f32) -> f32 {
        sample * 32_768.0
    }

    #[test]
    fn frames_come_when_their_last_sample_is_due_and_never_drift() {
        let folder = Scratch::new();
        let path = counting(&folder, 44_100, 1, 30_000);
        let mut node = Harness::new(&SPEC, &[("path", path), ("frame_ms", 2.5.into())]);
        node.advance(Duration::from_micros(2_400));
        assert!(node.take(0).is_empty());
        node.advance(Duration::from_millis(600));
        let frames = node.take(0);
        // 2.5 ms of 44.1 kHz are 110.25 samples, rounded.
        let instant = |n: u64| VIRTUAL_START.after_units(n * 110, 44_100);
        assert_eq!(frames.len() as u64, 602_400 * 44_100 / 1_000_000 / 110);
        for (n, frame) in (0..).zip(&frames) {
            assert_eq!(frame.audio().unwrap().samples, 110);
            assert_eq!(
                (frame.header.pts, frame.header.captured, frame.header.sequence),
                (instant(n), instant(n), n)
            );
            assert_eq!(value(frame.channel(0)[0]), (n * 110) as f32);
        }
        assert_eq!(node.wake_at(), Some(instant(frames.len() as u64 + 1)));
    }

    #[test]
    fn the_last_frame_is_filled_with_silence_and_then_the_node_ends() {
        let folder = Scratch::new();
        let path = counting(&folder, 8_000, 2, 100);
        let mut node = Harness::new(&SPEC, &[("path", path)]);
        node.advance(Duration::from_millis(20));
        let frames = node.take(0);
        assert_eq!((frames.len(), frames[0].header.duration), (2, Duration::from_millis(10)));
        assert_eq!((value(frames[1].channel(0)[19]), value(frames[1].channel(1)[19])), (198.0, 199.0));
        assert_eq!(frames[1].channel(1)[20..], [0.0; 60]);
        assert!(node.has_ended() && node.fault().is_none());
    }

    #[test]
    fn a_loop_goes_on_without_a_gap() {
        let folder = Scratch::new();
        let path = counting(&folder, 8_000, 1, 100);
        let mut node = Harness::new(&SPEC, &[("path", path), ("loop", true.into())]);
        node.advance(Duration::from_secs(1));
        let frames = node.take(0);
        assert_eq!(frames.len(), 100);
        for (n, sample) in frames.iter().flat_map(|frame| frame.channel(0)).enumerate() {
            assert_eq!(value(*sample), (n % 100) as f32);
        }
        assert_eq!(frames[99].header.sequence, 99);
        assert_eq!(frames[99].header.pts, VIRTUAL_START + Duration::from_millis(990));
    }

    #[test]
    fn flat_out_comes_at_once_on_the_files_timeline() {
        let folder = Scratch::new();
        let path = counting(&folder, 8_000, 1, 8_000);
        let mut node = Harness::new(&SPEC, &[("path", path), ("pace", "flat_out".into())]);
        node.run();
        let frames = node.take(0);
        assert!(frames.len() == 100 && node.has_ended());
        assert_eq!(frames[99].header.pts, VIRTUAL_START + Duration::from_millis(990));
        assert_eq!(frames[99].header.captured, VIRTUAL_START);
    }

    #[test]
    fn flat_out_without_end_is_refused_in_virtual_time() {
        let folder = Scratch::new();
        let path = counting(&folder, 8_000, 1, 80);
        let params = [("path", path), ("pace", "flat_out".into()), ("loop", true.into())];
        let refused = Harness::try_new(&SPEC, &params, &Shared::default()).err().unwrap();
        assert!(refused.to_string().contains("virtual time"));
    }

    #[test]
    fn an_empty_file_ends_even_if_it_loops() {
        let folder = Scratch::new();
        let path = counting(&folder, 8_000, 1, 0);
        let mut node = Harness::new(&SPEC, &[("path", path), ("loop", true.into())]);
        node.advance(Duration::from_millis(10));
        assert!(node.take(0).is_empty() && node.has_ended());
    }

    #[test]
    fn cut_anywhere_it_plays_to_the_cut_and_names_it() {
        let folder = Scratch::new();
        counting(&folder, 8_000, 2, 100);
        let whole = folder.read("in.wav");
        for cut in 0..whole.len() {
            let path = folder.write("cut.wav", &whole[..cut]);
            match Harness::try_new(&SPEC, &[("path", path)], &Shared::default()) {
                Err(NodeError::BadMedia { path, offset, .. }) => {
                    assert!(path.ends_with("cut.wav") && offset == cut as u64);
                }
                Err(other) => panic!("{other}"),
                Ok(mut node) => {
                    node.advance(Duration::from_millis(100));
                    let samples = (cut - 44) / 4;
                    let frames = node.take(0);
                    assert_eq!(frames.len(), samples.div_ceil(80), "cut at {cut}");
                    let played = frames.iter().flat_map(|frame| frame.channel(1)).take(samples);
                    assert!(played.enumerate().all(|(n, sample)| value(*sample) == (n * 2 + 1) as f32));
                    let fault = node.fault().unwrap();
                    assert_eq!((fault.kind, fault.offset), (FaultKind::BadMedia, Some(cut as u64)));
                }
            }
        }
    }

    #[test]
    fn opening_tells_what_the_graph_could_not_know() {
        let folder = Scratch::new();
        let path = counting(&folder, 16_000, 2, 10);
        let params = sidetone_core::Params::new(SPEC.params, &[("path", path)]).unwrap();
        let node = (SPEC.build)(Setup {
            name: "node",
            params: &params,
            inputs: &[],
            seed: 1,
            run_seed: 1,
            waker: sidetone_core::NodeWaker::default(),
            virtual_time: true,
            deadline: None,
            shared: &Shared::default(),
        })
        .unwrap();
        let found = MediaType::Audio { rate: Some(16_000), channels: Some(2), samples: Some(160) };
        assert_eq!(node.output_types(), [Some(found)]);
    }

    #[test]
    fn a_missing_file_and_a_folder_are_told_by_name() {
        let folder = Scratch::new();
        for name in ["missing.wav", ""] {
            let refused = Harness::try_new(&SPEC, &[("path", folder.param(name))], &Shared::default());
            assert!(matches!(refused, Err(NodeError::Open { .. })), "{name}");
        }
    }
}
