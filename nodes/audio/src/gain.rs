//! `audio.gain`: makes sound louder or softer.
//!
//! Ports: `in` raw audio, any rate and channels → `out` the same.
//!
//! Parameters: `gain_db`, −60 to 20 dB, default 0; may change while running.
//!
//! Latency: none. A change is spread evenly over 10 ms, so that it does not
//! click. At 0 dB the samples pass untouched. Put into a running graph it begins
//! at 0 dB, and before it is taken out it is turned to 0 dB, each over 10 ms too.
//!
//! Method: each sample times 10^(dB/20), with a linear ramp of the factor.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> softer -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.softer = { kind = "audio.gain", gain_db = -6 }
//! nodes.file = { kind = "file.wav_sink", path = "softer.wav" }
//! ```

use sidetone_core::context::RAMP;
use sidetone_core::registry::same;
use sidetone_core::{
    Context, Control, Fault, FaultKind, MediaType, Node, NodeSpec, ParamSpec, Placement, PortSpec, Through,
};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "audio.gain",
    summary: "Makes sound louder or softer.",
    sheet: sidetone_core::data_sheet!("gain.rs"),
    inputs: &[PortSpec::new("in", MediaType::AUDIO, "The sound.")],
    outputs: &[PortSpec::new("out", MediaType::AUDIO, "The sound at its new level.")],
    params: &[ParamSpec::float("gain_db", 0.0, -60.0, 20.0, "How much louder (above 0) or softer.")
        .unit("dB")
        .live()
        .neutral(0.0)],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &same,
    build: &|setup| Ok(Box::new(Gain::new(setup.params.float("gain_db")))),
};

struct Gain {
    factor: f32,
    target: f32,
    /// How much the factor moves a sample; `None` until the next frame tells
    /// the rate.
    step: Option<f32>,
}

impl Gain {
    fn new(gain_db: f64) -> Self {
        Self { factor: factor(gain_db), target: factor(gain_db), step: None }
    }
}

impl Node for Gain {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(mut frame) = cx.pop(0) {
            let Some(audio) = frame.audio() else {
                return Err(Fault::new(FaultKind::WrongFormat, "audio.gain takes raw audio"));
            };
            let untouched = self.factor == 1.0 && self.target == 1.0;
            if !untouched {
                let even = (self.target - self.factor) / (audio.rate as f32 * RAMP.as_secs_f32());
                let step = *self.step.get_or_insert(even);
                let mut after = self.factor;
                for channel in 0..usize::from(audio.channels) {
                    after = ramp(frame.channel_mut(channel), self.factor, self.target, step);
                }
                self.factor = after;
            }
            cx.push(0, frame);
        }
        Ok(())
    }

    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match control {
            Control::Set { param: "gain_db", value } => {
                self.target = factor(value.as_float());
                self.step = None;
            }
            _ if from.is_some() => cx.forward(control),
            _ => {}
        }
        Ok(())
    }
}

fn factor(gain_db: f64) -> f32 {
    10f64.powf(gain_db / 20.0) as f32
}

/// Multiplies by a factor that moves by `step` a sample until it meets
/// `target`; gives the factor after the last sample.
fn ramp(samples: &mut [f32], from: f32, target: f32, step: f32) -> f32 {
    let mut factor = from;
    if from == target {
        samples.iter_mut().for_each(|sample| *sample *= factor);
        return factor;
    }
    for sample in samples {
        factor = if (target - factor).abs() <= step.abs() { target } else { factor + step };
        *sample *= factor;
    }
    factor
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;

    fn gained(node: &mut Harness, samples: &[f32]) -> Vec<f32> {
        node.push(0, node.audio(48_000, &[samples]));
        node.run();
        node.take(0)[0].channel(0).to_vec()
    }

    #[test]
    fn minus_six_decibels_halves_and_zero_changes_nothing() {
        let mut node = Harness::new(&SPEC, &[("gain_db", (-6.020_6).into())]);
        assert!((gained(&mut node, &[0.5; 480])[479] - 0.25).abs() < 1e-5);
        let mut node = Harness::new(&SPEC, &[]);
        assert_eq!(gained(&mut node, &[0.123; 480]), [0.123; 480]);
    }

    #[test]
    fn a_change_ramps_over_ten_milliseconds() {
        let mut node = Harness::new(&SPEC, &[]);
        node.control(Control::Set { param: "gain_db", value: (-60.0).into() }, None);
        let out = gained(&mut node, &[1.0; 960]);
        let steepest = out.windows(2).map(|pair| (pair[0] - pair[1]).abs()).fold(0.0, f32::max);
        assert!(steepest <= 1.1 / 480.0, "a step of {steepest} would click");
        assert!((out[959] - 0.001).abs() < 1e-6);
    }

    #[test]
    fn short_frames_make_the_change_no_slower() {
        let mut node = Harness::new(&SPEC, &[]);
        node.control(Control::Set { param: "gain_db", value: (-20.0).into() }, None);
        let out: Vec<f32> = (0..5).flat_map(|_| gained(&mut node, &[1.0; 120])).collect();
        assert!((out[239] - 0.55).abs() < 1e-3 && (out[481] - 0.1).abs() < 1e-6);
    }
}
