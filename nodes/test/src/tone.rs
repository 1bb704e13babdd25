//! `test.tone`: a sine, exact and without a break for as long as it runs.
//!
//! Ports: → `out` raw audio, the same in every channel.
//!
//! Parameters: `frequency_hz`, 20 to 20,000 Hz, default 440; may change while
//! running; at most 0.49 times `rate` (a live value above that is held there).
//! `level_db`, peak below full scale, −90 to 0 dB, default −20; may change
//! while running. `am_hz`, how often a second it swells from silence and fades,
//! 0 to 20 Hz, default 0 for a steady tone; 4 has the rhythm of speech.
//! `rate`, 8,000 to 192,000 Hz, default 48,000. `channels`, 1 to 8, default 1.
//! `frame_ms`, 2.5 to 60 ms, default 10, rounded to whole samples. `pace`,
//! `clock` gives each frame when its last sample would have been captured,
//! `flat_out` as fast as they are taken; default `clock`. `duration_s`, 0 to
//! 1,000,000 s, rounded up to whole frames, default 0 for no end.
//!
//! Latency: one frame, since a frame comes out when its last sample would have
//! been captured. A change of frequency or level is
//! spread evenly over 10 ms; the phase goes on without a jump.
//!
//! Method: a 64-bit phase accumulator, less than 1e-6 of a cycle off after a
//! day, into a Taylor series. The same parameters give the same samples.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> file"]
//! nodes.tone = { kind = "test.tone", frequency_hz = 1000, duration_s = 5 }
//! nodes.file = { kind = "file.wav_sink", path = "tone.wav" }
//! ```

use sidetone_core::{
    AudioFormat, Context, Control, Fault, MediaType, Node, NodeError, NodeSpec, ParamSpec, Params, Placement,
    PortSpec, Through,
};

use crate::pace::{Beat, DURATION, PACE, Pace};
use crate::sound::{CHANNELS, FRAME, RATE, format, negotiated};
use crate::wave::{CYCLE, cosine, phase, sine};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "test.tone",
    summary: "A sine, exact and without a break for as long as it runs.",
    sheet: sidetone_core::data_sheet!("tone.rs"),
    inputs: &[],
    outputs: &[PortSpec::new("out", MediaType::AUDIO, "The tone.")],
    params: &[
        ParamSpec::float("frequency_hz", 440.0, 20.0, 20_000.0, "Its frequency.").unit("Hz").live(),
        ParamSpec::float("level_db", -20.0, -90.0, 0.0, "Its peak, below full scale.").unit("dB").live(),
        ParamSpec::float("am_hz", 0.0, 0.0, 20.0, "How often a second it swells from silence; 0 is steady.")
            .unit("Hz"),
        RATE,
        CHANNELS,
        FRAME,
        PACE,
        DURATION,
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &|offer| {
        frequency(offer.params)?;
        Ok(negotiated(offer.params))
    },
    build: &|setup| Ok(Box::new(Tone::new(setup.params)?)),
};

struct Tone {
    format: AudioFormat,
    pace: Pace,
    phase: u64,
    /// How far the phase moves a sample, in its own units.
    step: Ramp,
    amplitude: Ramp,
    swell_phase: u64,
    swell_step: u64,
}

impl Tone {
    fn new(params: &Params) -> Result<Self, NodeError> {
        let format = format(params);
        let frequency = frequency(params)?;
        Ok(Self {
            format,
            pace: Pace::new(Beat::Sound { samples: format.samples, rate: format.rate }, params),
            phase: 0,
            step: Ramp::at(step(frequency, format.rate)),
            amplitude: Ramp::at(amplitude(params.float("level_db"))),
            swell_phase: 0,
            swell_step: phase(params.float("am_hz") / f64::from(format.rate)),
        })
    }
}

/// Samples of an even tone that are turned on from one exact sine.
const TURNED: usize = 16;

impl Tone {
    fn fill_sample_by_sample(&mut self, samples: &mut [f32]) {
        for sample in samples {
            let swell = if self.swell_step == 0 { 1.0 } else { (1.0 - cosine(self.swell_phase)) / 2.0 };
            *sample = (sine(self.phase) * self.amplitude.next() * swell) as f32;
            self.phase = self.phase.wrapping_add(self.step.next() as u64);
            self.swell_phase = self.swell_phase.wrapping_add(self.swell_step);
        }
    }

    /// The same where nothing changes from sample to sample: of each few samples
    /// the first is exact, and the others are it turned on by whole steps.
    fn fill_evenly(&mut self, samples: &mut [f32]) {
        let (step, amplitude) = (self.step.value as u64, self.amplitude.value);
        let turns: [_; TURNED] = std::array::from_fn(|n| {
            let by = step.wrapping_mul(n as u64);
            (sine(by) * amplitude, cosine(by) * amplitude)
        });
        for samples in samples.chunks_mut(TURNED) {
            let (sine, cosine) = (sine(self.phase), cosine(self.phase));
            for (sample, (turn_sine, turn_cosine)) in samples.iter_mut().zip(turns) {
                *sample = (sine * turn_cosine + cosine * turn_sine) as f32;
            }
            self.phase = self.phase.wrapping_add(step.wrapping_mul(samples.len() as u64));
        }
    }
}

impl Node for Tone {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some((_, header)) = self.pace.due(cx) else { return Ok(()) };
        let mut frame = cx.audio(0, self.format, header);
        if self.swell_step == 0 && self.step.is_still() && self.amplitude.is_still() {
            self.fill_evenly(frame.channel_mut(0));
        } else {
            self.fill_sample_by_sample(frame.channel_mut(0));
        }
        for channel in 1..usize::from(self.format.channels) {
            frame.copy_channel(0, channel);
        }
        cx.push(0, frame);
        Ok(())
    }
    fn control(
        &mut self,
        control: &Control,
        _from: Option<Through>,
        _cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let samples = self.format.rate / 100;
        match control {
            Control::Set { param: "frequency_hz", value } => {
                self.step.turn_to(step(value.as_float(), self.format.rate), samples);
            }
            Control::Set { param: "level_db", value } => {
                self.amplitude.turn_to(amplitude(value.as_float()), samples);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The highest frequency as a share of the rate. At half, a sine may vanish.
const HIGHEST: f64 = 0.49;

/// What `frequency_hz` says, where `rate` can carry it.
fn frequency(params: &Params) -> Result<f64, NodeError> {
    let (frequency, rate) = (params.float("frequency_hz"), format(params).rate);
    let most = HIGHEST * f64::from(rate);
    if frequency <= most {
        return Ok(frequency);
    }
    let why =
        format!("is {frequency}, which {rate} samples a second cannot carry: at most {most}, or raise rate");
    Err(NodeError::Param { name: "frequency_hz", why })
}

fn step(frequency_hz: f64, rate: u32) -> f64 {
    (frequency_hz / f64::from(rate)).min(HIGHEST) * CYCLE
}

fn amplitude(level_db: f64) -> f64 {
    10f64.powf(level_db / 20.0)
}

/// A value on its straight way to another.
struct Ramp {
    value: f64,
    target: f64,
    change: f64,
    left: u32,
}

impl Ramp {
    const fn at(value: f64) -> Self {
        Self { value, target: value, change: 0.0, left: 0 }
    }

    fn turn_to(&mut self, target: f64, samples: u32) {
        self.left = samples.max(1);
        self.change = (target - self.value) / f64::from(self.left);
        self.target = target;
    }

    const fn is_still(&self) -> bool {
        self.left == 0
    }

    /// The value now; it moves on.
    fn next(&mut self) -> f64 {
        let value = self.value;
        if self.left > 0 {
            self.left -= 1;
            self.value = if self.left == 0 { self.target } else { value + self.change };
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;
    use sidetone_core::{Offer, Shared, VIRTUAL_START, Value};
    use std::time::Duration;

    fn sound(node: &mut Harness, duration: Duration) -> Vec<f32> {
        node.advance(duration);
        node.take(0).iter().flat_map(|frame| frame.channel(0).to_vec()).collect()
    }

    #[test]
    fn each_frame_comes_when_its_last_sample_would_have_been_captured() {
        let mut node = Harness::new(&SPEC, &[("rate", 44_100i64.into()), ("frame_ms", 2.5.into())]);
        // 110 samples, which is no whole number of nanoseconds.
        for n in 0..1000u64 {
            node.advance_to(VIRTUAL_START.after_units((n + 1) * 110, 44_100).since(VIRTUAL_START));
            let frames = node.take(0);
            assert_eq!(frames.len(), 1, "frame {n}");
            assert_eq!(frames[0].header.captured, VIRTUAL_START.after_units(n * 110, 44_100));
            assert_eq!(frames[0].header.pts, frames[0].header.captured);
            assert_eq!(frames[0].header.sequence, n);
        }
    }

    #[test]
    fn the_thousandth_second_is_as_exact_as_the_first() {
        let params = [("frequency_hz", 997.0.into()), ("level_db", 0.0.into())];
        let mut tone = Tone::new(&Params::new(SPEC.params, &params).unwrap()).unwrap();
        let skipped = 48_000u64 * 1000;
        tone.phase = (tone.step.value as u64).wrapping_mul(skipped);
        // 997 Hz over whole seconds is whole cycles.
        let off = (tone.phase as i64).unsigned_abs() as f64 / CYCLE;
        assert!(off < 1e-8, "{off} of a cycle off");
    }

    #[test]
    fn samples_are_the_sine_at_its_level_in_every_channel() {
        let mut node = Harness::new(
            &SPEC,
            &[("frequency_hz", 1000.0.into()), ("level_db", (-6.0).into()), ("channels", 3i64.into())],
        );
        node.advance(Duration::from_millis(500));
        let frames = node.take(0);
        assert_eq!(frames.len(), 50);
        for (n, frame) in frames.iter().enumerate() {
            for (i, &sample) in frame.channel(2).iter().enumerate() {
                let t = (n * 480 + i) as f64 / 48_000.0;
                let want = 10f64.powf(-0.3) * (t * 1000.0 * std::f64::consts::TAU).sin();
                assert!((f64::from(sample) - want).abs() < 1e-6);
            }
            assert_eq!(frame.channel(0), frame.channel(2));
        }
    }

    #[test]
    fn live_changes_neither_jump_nor_lose_the_phase() {
        let mut node = Harness::new(&SPEC, &[("level_db", 0.0.into()), ("frequency_hz", 200.0.into())]);
        let mut all = sound(&mut node, Duration::from_millis(55));
        node.control(Control::Set { param: "frequency_hz", value: 400.0.into() }, None);
        node.control(Control::Set { param: "level_db", value: (-20.0).into() }, None);
        all.extend(sound(&mut node, Duration::from_millis(100)));
        let steepest = all.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(steepest < 0.03, "{steepest}: a 200 Hz sine moves 0.026 a sample at most");
        let peak = all[all.len() - 480..].iter().fold(0f32, |peak, sample| peak.max(sample.abs()));
        assert!((peak - 0.1).abs() < 1e-4);
        let crossings = all[all.len() - 4800..].windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0);
        assert!((39..=41).contains(&crossings.count()));
    }

    #[test]
    fn a_modulated_tone_falls_silent_as_often_as_asked() {
        let mut node = Harness::new(&SPEC, &[("am_hz", 4.0.into()), ("level_db", 0.0.into())]);
        let all = sound(&mut node, Duration::from_secs(1));
        let peak = |from: usize| all[from..from + 480].iter().fold(0f32, |peak, s| peak.max(s.abs()));
        for swell in 0..4 {
            assert!(peak(swell * 12_000) < 0.02 && peak(swell * 12_000 + 5_760) > 0.98);
        }
    }

    #[test]
    fn it_ends_after_its_duration_and_flat_out_takes_no_time() {
        let params = [("pace", "flat_out".into()), ("duration_s", 1.0.into())];
        let mut node = Harness::new(&SPEC, &params);
        node.run();
        let frames = node.take(0);
        assert!(node.has_ended());
        assert_eq!((frames.len(), node.now()), (100, VIRTUAL_START));
        assert_eq!(frames[99].header.pts, VIRTUAL_START + Duration::from_millis(990));
        assert_eq!(frames[99].header.captured, VIRTUAL_START);
    }

    #[test]
    fn a_frequency_the_rate_cannot_carry_is_refused_with_what_would_do() {
        let params: [(&str, Value); 2] = [("frequency_hz", 5000.0.into()), ("rate", 8000i64.into())];
        let why = Harness::try_new(&SPEC, &params, &Shared::default()).err().unwrap().to_string();
        assert!(why.contains("frequency_hz") && why.contains("at most 3920"), "{why}");
        // The checker says the same.
        let checked = |hz: f64| {
            let params =
                Params::new(SPEC.params, &[("frequency_hz", hz.into()), ("rate", 8000.into())]).unwrap();
            SPEC.negotiated(&Offer { params: &params, inputs: &[] }).map_err(|mismatch| mismatch.help)
        };
        assert_eq!(checked(5000.0), Err(why));
        assert!(checked(3920.0).is_ok());
    }

    #[test]
    fn a_frame_is_late_by_its_length_and_says_so() {
        for frame_ms in [2.5, 10.0, 60.0] {
            let params = [("frame_ms", frame_ms.into())];
            let given = Params::new(SPEC.params, &params).unwrap();
            let told = SPEC.negotiated(&Offer { params: &given, inputs: &[] }).unwrap().latency;
            let mut node = Harness::new(&SPEC, &params);
            let start = node.now();
            node.run();
            assert!(node.take(0).is_empty());
            node.advance(told);
            let frames = node.take(0);
            assert_eq!((frames.len(), frames[0].header.captured), (1, start));
        }
    }
}
