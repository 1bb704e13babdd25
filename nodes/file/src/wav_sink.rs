//! `file.wav_sink`: writes sound to a WAV file.
//!
//! Ports: `in` raw audio; the first frame sets the file's rate and channels (up
//! to 8), and a later change is an error.
//!
//! Parameters: `path`, the file; its folders are made, and what it held is
//! replaced. `bits`, 16 (default) or 24 for whole numbers, 32 for float.
//! `timeline`, "frames" (default): frames are joined as they come; "clock": the
//! file begins when the graph does and a second of it is a second of the run, so
//! that delays can be read off it.
//!
//! Latency: none; a frame counts as heard when it is written.
//!
//! Method: RIFF WAVE through `hound`. Whole numbers are rounded to the nearest
//! and limited to full scale. With `timeline = "clock"` silence is written for the
//! time before the first frame, and wherever the file falls 40 ms behind. Every second the
//! lengths in the header are brought up to date, so that a file whose writer
//! dies plays up to there. If nothing comes the file is an empty WAV. It ends at
//! 4 GiB, the most that the format holds, with an error.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.file = { kind = "file.wav_sink", path = "out/tone.wav", bits = 24 }
//! ```

use std::fs::File;
use std::io::BufWriter;
use std::time::Duration;

use hound::{SampleFormat, WavSpec, WavWriter};
use sidetone_core::registry::declared;
use sidetone_core::{
    AudioFormat, Context, Fault, FaultKind, Finish, Format, Frame, Header, MediaType, Node, NodeError,
    NodeSpec, ParamSpec, Params, Placement, PortSpec, Setup, Timestamp,
};

use crate::new_file::{Checkpoint, create, write_fault};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "file.wav_sink",
    summary: "Writes sound to a WAV file.",
    sheet: sidetone_core::data_sheet!("wav_sink.rs"),
    inputs: &[PortSpec::new("in", MediaType::AUDIO, "The sound.")],
    outputs: &[],
    params: &[
        ParamSpec::path("path", "The WAV file; its folders are made."),
        ParamSpec::int("bits", 16, 16, 32, "Bits of a sample: 16, 24, or 32 for float."),
        ParamSpec::choice(
            "timeline",
            "frames",
            &["frames", "clock"],
            "Whether silence stands for time without sound.",
        ),
    ],
    placement: Placement::Shared,
    real_time: false, // it writes a file
    negotiate: &|offer| {
        bits(offer.params)?;
        declared(offer)
    },
    build: &|setup| Ok(Box::new(WavSink::new(&setup)?)),
};

/// The most bytes of samples, with room for the header in 32 bits.
const MOST_BYTES: u64 = u32::MAX as u64 - 128;
/// What an empty file is declared to hold where nothing is known.
const USUAL: (u32, u16) = (48_000, 1);
/// How far a file may fall behind the clock before silence is put in: frames
/// come early or late by less than this without meaning anything.
const SLACK: Duration = Duration::from_millis(40);

struct WavSink {
    /// The file, until the first frame tells what stands in its header.
    file: Option<File>,
    writer: Option<WavWriter<BufWriter<File>>>,
    bits: u16,
    /// Rate and channels: those of the file, or, before its first frame, those
    /// that the graph promises.
    format: (u32, u16),
    bytes: u64,
    checkpoint: Checkpoint,
    by_clock: bool,
    began: Option<Timestamp>,
    /// Samples a channel written so far.
    written: u64,
}

impl WavSink {
    fn new(setup: &Setup<'_>) -> Result<Self, NodeError> {
        let bits = bits(setup.params)?;
        let format = match setup.inputs.first() {
            Some(Some(MediaType::Audio { rate, channels, .. })) => {
                (rate.unwrap_or(USUAL.0), channels.unwrap_or(USUAL.1))
            }
            _ => USUAL,
        };
        let file = Some(create(setup)?);
        Ok(Self {
            file,
            writer: None,
            bits,
            format,
            bytes: 0,
            checkpoint: Checkpoint::default(),
            by_clock: setup.params.text("timeline") == "clock",
            began: None,
            written: 0,
        })
    }

    /// Writes the header, if it is not written yet.
    fn begin(&mut self, rate: u32, channels: u16) -> Result<(), Fault> {
        let Some(file) = self.file.take() else { return Ok(()) };
        self.format = (rate, channels);
        let sample_format = if self.bits == 32 { SampleFormat::Float } else { SampleFormat::Int };
        let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: self.bits, sample_format };
        let writer = WavWriter::new(BufWriter::with_capacity(1 << 16, file), spec);
        self.writer = Some(writer.map_err(|error| fault(&error))?);
        Ok(())
    }

    fn write(&mut self, frame: &Frame, audio: AudioFormat) -> Result<(), Fault> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let (samples, channels) = (audio.samples as usize, usize::from(audio.channels));
        let more = (samples * channels) as u64 * u64::from(self.bits / 8);
        if self.bytes + more > MOST_BYTES {
            let why = "a WAV file holds at most 4 GiB; write several shorter ones, or fewer bits";
            return Err(Fault::new(FaultKind::Io, why).at(self.bytes));
        }
        for index in 0..samples {
            for channel in 0..channels {
                let sample = frame.channel(channel)[index];
                let written = match self.bits {
                    16 => writer.write_sample(whole(sample, 32_768.0)),
                    24 => writer.write_sample(whole(sample, 8_388_608.0)),
                    _ => writer.write_sample(sample),
                };
                written.map_err(|error| fault(&error))?;
            }
        }
        self.bytes += more;
        self.written += samples as u64;
        Ok(())
    }

    /// Writes silence for the time in which nothing came, on the clock's
    /// timeline.
    fn catch_up(&mut self, now: Timestamp, audio: AudioFormat) -> Result<(), Fault> {
        let Some(began) = self.began.filter(|_| self.by_clock) else { return Ok(()) };
        let here = now.since(began).as_nanos() * u128::from(audio.rate) / 1_000_000_000;
        let here = u64::try_from(here).unwrap_or(u64::MAX);
        let behind = here.saturating_sub(self.written);
        let slack = SLACK.as_nanos() as u64 * u64::from(audio.rate) / 1_000_000_000;
        if self.written > 0 && behind <= slack {
            return Ok(());
        }
        let second = AudioFormat { samples: audio.rate, ..audio };
        let silence = Frame::unpooled(Header::default(), Format::Audio(second));
        for start in (0..behind).step_by(audio.rate as usize) {
            let samples = (behind - start).min(u64::from(audio.rate)) as u32;
            self.write(&silence, AudioFormat { samples, ..audio })?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &Frame, cx: &Context<'_>) -> Result<(), Fault> {
        let Some(audio) = frame.audio() else {
            return Err(Fault::new(FaultKind::WrongFormat, "file.wav_sink takes raw audio"));
        };
        // What a file cannot say must not come to its header.
        if !(1..=768_000).contains(&audio.rate) || !(1..=8).contains(&audio.channels) {
            let why = "file.wav_sink takes 1 to 8 channels at up to 768 kHz";
            return Err(Fault::new(FaultKind::WrongFormat, why));
        }
        self.begin(audio.rate, audio.channels)?;
        if (audio.rate, audio.channels) != self.format {
            let why = "the sound's rate or channels changed; put { kind = \"audio.resample\" } with a fixed \
                       rate and channels before file.wav_sink";
            return Err(Fault::new(FaultKind::WrongFormat, why));
        }
        self.catch_up(cx.now(), audio)?;
        self.write(frame, audio)?;
        match &mut self.writer {
            Some(writer) if self.checkpoint.is_due(cx.now()) => writer.flush().map_err(|error| fault(&error)),
            _ => Ok(()),
        }
    }

    /// Completes the file.
    fn close(&mut self) -> Result<(), Fault> {
        self.writer.take().map_or(Ok(()), WavWriter::finalize).map_err(|error| fault(&error))
    }
}

impl Node for WavSink {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        self.began.get_or_insert(cx.now());
        while let Some(frame) = cx.pop(0) {
            if let Err(fault) = self.take(&frame, cx) {
                // What came before stays a whole file; the first fault is told.
                let _ = self.close();
                return Err(fault);
            }
            cx.rendered(frame);
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Context<'_>) -> Result<Finish, Fault> {
        self.begin(self.format.0, self.format.1)?;
        self.close()?;
        Ok(Finish::Done)
    }
}

fn bits(params: &Params) -> Result<u16, NodeError> {
    match params.int("bits") {
        16 => Ok(16),
        24 => Ok(24),
        32 => Ok(32),
        other => Err(NodeError::Param { name: "bits", why: format!("must be 16, 24 or 32, not {other}") }),
    }
}

/// The nearest whole number of a scale of `full`; a NaN is silence.
fn whole(sample: f32, full: f32) -> i32 {
    (sample * full).round().clamp(-full, full - 1.0) as i32
}

fn fault(error: &hound::Error) -> Fault {
    match error {
        hound::Error::IoError(error) => write_fault(error),
        _ => Fault::new(FaultKind::Library, "hound could not write the WAV file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::wav::{Encoding, Reader, Wav};
    use sidetone_core::Shared;
    use sidetone_core::harness::Harness;
    use sidetone_core::scratch::Scratch;

    const RAMP: [f32; 5] = [-1.0, -0.5, 0.0, 0.25, 0.999_969_5];

    #[test]
    fn every_form_reads_back_as_written_here_and_by_hound() {
        for (bits, encoding) in [(16, Encoding::I16), (24, Encoding::I24), (32, Encoding::F32)] {
            for channels in 1..=8u16 {
                let folder = Scratch::new();
                let params = [("path", folder.param("a/b/out.wav")), ("bits", i64::from(bits).into())];
                let mut node = Harness::new(&SPEC, &params);
                for _ in 0..3 {
                    node.push(0, node.audio(44_100, &vec![RAMP.as_slice(); usize::from(channels)]));
                }
                node.end(0);
                node.run();
                assert!(node.has_ended() && node.fault().is_none());
                assert_eq!(node.ledger().frames.get(), 3, "each counts as rendered");

                let file = folder.read("a/b/out.wav");
                let mut reader = Reader::new(file.as_slice()).unwrap();
                assert_eq!(reader.wav(), Wav { rate: 44_100, channels, encoding });
                let samples = reader.read(100).unwrap();
                assert_eq!(samples.len(), 15 * usize::from(channels));
                for (index, sample) in samples.iter().enumerate() {
                    let written = RAMP[index / usize::from(channels) % 5];
                    assert!((sample - written).abs() < 1e-6, "{bits} bits: {sample} for {written}");
                }
                let again = hound::WavReader::new(file.as_slice()).unwrap();
                assert_eq!((again.spec().bits_per_sample, again.duration()), (bits, 15));
            }
        }
    }

    #[test]
    fn on_the_clocks_timeline_a_second_of_the_file_is_a_second_of_the_run() {
        let folder = Scratch::new();
        let params = [("path", folder.param("out.wav")), ("timeline", "clock".into())];
        let mut node = Harness::new(&SPEC, &params);
        node.run();
        // The first frame comes after 30 ms, the next three together at 65 ms
        // (no silence: that is within the slack), the last after a long pause.
        for at_ms in [30, 65, 65, 65, 500] {
            node.advance_to(Duration::from_millis(at_ms));
            node.push(0, node.audio(8_000, &[&[0.5; 80]]));
            node.run();
        }
        node.end(0);
        node.run();
        let file = folder.read("out.wav");
        let mut reader = Reader::new(file.as_slice()).unwrap();
        let samples = reader.read(100_000).unwrap();
        let loud: Vec<usize> = (0..samples.len()).step_by(80).filter(|&at| samples[at] > 0.0).collect();
        assert_eq!(loud, [240, 320, 400, 480, 4_000]);
        assert_eq!(samples.len(), 4_080);
    }

    #[test]
    fn what_is_too_loud_is_limited_and_what_is_no_number_is_silence() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.wav"))]);
        node.push(0, node.audio(8_000, &[&[2.0, -2.0, f32::NAN, f32::INFINITY]]));
        node.end(0);
        node.run();
        let file = folder.read("out.wav");
        let loudest = 32_767.0 / 32_768.0;
        assert_eq!(Reader::new(file.as_slice()).unwrap().read(9).unwrap(), [loudest, -1.0, 0.0, loudest]);
    }

    #[test]
    fn a_file_whose_writer_dies_plays_up_to_the_last_second() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.wav"))]);
        for _ in 0..250 {
            node.push(0, node.audio(8_000, &[&[0.5; 80]]));
            node.advance(Duration::from_millis(10));
        }
        // As another process would find it now.
        let samples = crate::parse::wav::walk(&folder.read("out.wav")).unwrap();
        assert!((8_000..=2 * 8_080).contains(&samples), "{samples} samples are there");
    }

    #[test]
    fn a_change_of_format_is_a_fault_that_leaves_a_whole_file() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.wav"))]);
        node.push(0, node.audio(8_000, &[&[0.5; 80]]));
        node.push(0, node.audio(16_000, &[&[0.5; 80]]));
        node.run();
        let fault = node.fault().unwrap();
        assert!(fault.kind == FaultKind::WrongFormat && fault.why.contains("audio.resample"));
        assert_eq!(crate::parse::wav::walk(&folder.read("out.wav")).unwrap(), 80);
    }

    #[test]
    fn frames_without_samples_add_nothing_and_impossible_ones_are_faults() {
        let folder = Scratch::new();
        let mut node = Harness::new(&SPEC, &[("path", folder.param("out.wav"))]);
        node.push(0, node.audio(8_000, &[&[]]));
        node.push(0, node.audio(8_000, &[&[0.5; 3]]));
        node.end(0);
        node.run();
        assert_eq!(crate::parse::wav::walk(&folder.read("out.wav")).unwrap(), 3);
        for (rate, channels) in [(0, 1), (8_000, 0), (8_000, 9)] {
            let mut node = Harness::new(&SPEC, &[("path", folder.param("out.wav"))]);
            node.push(0, node.audio(rate, &vec![[0.0; 4].as_slice(); channels]));
            node.run();
            assert_eq!(node.fault().unwrap().kind, FaultKind::WrongFormat);
        }
    }

    #[test]
    fn if_nothing_comes_the_file_is_an_empty_wav_of_the_promised_format() {
        let folder = Scratch::new();
        let params = Params::new(SPEC.params, &[("path", folder.param("out.wav"))]).unwrap();
        let promised = MediaType::Audio { rate: Some(16_000), channels: Some(2), samples: None };
        let mut sink = WavSink::new(&Setup {
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
        sink.begin(sink.format.0, sink.format.1).unwrap();
        sink.close().unwrap();
        let file = folder.read("out.wav");
        let reader = Reader::new(file.as_slice()).unwrap();
        assert_eq!(reader.wav(), Wav { rate: 16_000, channels: 2, encoding: Encoding::I16 });
    }

    #[test]
    fn other_bits_and_places_that_cannot_be_are_refused() {
        let folder = Scratch::new();
        folder.write("file", b"");
        for (path, bits, says) in [("out.wav", 20, "16, 24 or 32"), ("file/out.wav", 16, "cannot open")] {
            let params = [("path", folder.param(path)), ("bits", bits.into())];
            let refused = Harness::try_new(&SPEC, &params, &Shared::default()).err().unwrap();
            assert!(refused.to_string().contains(says), "{refused}");
        }
        // The checker, which opens nothing, tells the one that it can know.
        let checked = |bits: i64| {
            let params =
                Params::new(SPEC.params, &[("path", "x.wav".into()), ("bits", bits.into())]).unwrap();
            SPEC.negotiated(&sidetone_core::Offer { params: &params, inputs: &[None] })
                .map_err(|why| why.help)
        };
        assert_eq!(checked(20).unwrap_err(), "bits must be 16, 24 or 32, not 20");
        assert!([16, 24, 32].into_iter().all(|bits| checked(bits).is_ok()));
    }
}
