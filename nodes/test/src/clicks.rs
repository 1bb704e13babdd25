//! `test.clicks`: clicks at exact samples, to measure delay with.
//!
//! Ports: → `out` raw audio, the same in every channel.
//!
//! Parameters: `every_ms`, from the first sample of one click to that of the
//! next, 20 to 60,000 ms, default 500, rounded to whole samples; the first
//! click begins with the first sample. `level_db`, its peak below full scale,
//! −60 to 0 dB, default −6. `rate`, 8,000 to 192,000 Hz, default 48,000.
//! `channels`, 1 to 8, default 1. `frame_ms`, 2.5 to 60 ms, default 10, rounded
//! to whole samples. `pace`, `clock` gives each frame when its last sample would
//! have been captured, `flat_out` as fast as they are taken; default `clock`.
//! `duration_s`, 0 to 1,000,000 s, rounded up to whole frames, default 0 for no
//! end.
//!
//! Latency: one frame, since a frame comes out when its last sample would have
//! been captured.
//!
//! Method: a click is a sine that sweeps from 500 to 3,200 Hz in 8 ms under a
//! raised-cosine window: speech codecs carry that band even when they are short
//! of bits, and its matched filter, `sidetone_test::clicks::find`, gives a peak
//! a third of a millisecond wide (pulse compression; Klauder et al., "The
//! Theory and Design of Chirp Radars", BSTJ 39, 1960).
//!
//! ```toml
//! sidetone = 1
//! links = ["clicks -> file"]
//! nodes.clicks = { kind = "test.clicks", duration_s = 5 }
//! nodes.file = { kind = "file.wav_sink", path = "clicks.wav" }
//! ```

use sidetone_core::{
    AudioFormat, Context, Fault, MediaType, Node, NodeSpec, ParamSpec, Params, Placement, PortSpec,
};

use crate::pace::{Beat, DURATION, PACE, Pace};
use crate::sound::{CHANNELS, FRAME, RATE, format, negotiated};
use crate::wave::{cosine, phase, sine};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "test.clicks",
    summary: "Clicks at exact samples, to measure delay with.",
    sheet: sidetone_core::data_sheet!("clicks.rs"),
    inputs: &[],
    outputs: &[PortSpec::new("out", MediaType::AUDIO, "The clicks.")],
    params: &[
        ParamSpec::float("every_ms", 500.0, 20.0, 60_000.0, "From one click to the next.").unit("ms"),
        ParamSpec::float("level_db", -6.0, -60.0, 0.0, "Their peak, below full scale.").unit("dB"),
        RATE,
        CHANNELS,
        FRAME,
        PACE,
        DURATION,
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &|offer| Ok(negotiated(offer.params)),
    build: &|setup| Ok(Box::new(Clicks::new(setup.params))),
};

/// Where clicks begin in `samples`, in samples from its first, in order. \[control\]
///
/// A click counts where its shape makes up most of what is heard during 8 ms
/// (a correlation of 0.6), and if it is at least half as strong as the
/// strongest. Positions lie between samples where the clicks do. At 48 kHz they
/// are right to 0.02 samples where nothing is added, and to 1 sample (21 µs)
/// under white noise 2 dB weaker than the click is while it lasts. A filter on
/// the way adds its delay at the click's frequencies, as it must. Opus at 24
/// kbit/s or more keeps every click and blurs its place by half a sample; at
/// 16 kbit/s some are too worn to count, often the first. So go by places,
/// modulo `every_ms`, and not by counting. A click cut off by either end is not
/// found.
#[must_use]
pub fn find(samples: &[f32], rate: u32) -> Vec<f64> {
    let pulse = pulse(rate);
    let length = pulse.len();
    let pulse_norm = pulse.iter().map(|p| f64::from(p * p)).sum::<f64>().sqrt();
    // Room on both sides, so that a click at the very edge has neighbours.
    let mut padded = vec![0.0; samples.len() + 2 * MARGIN];
    for (to, from) in padded[MARGIN..].iter_mut().zip(samples) {
        *to = if from.is_finite() { from.clamp(-1e6, 1e6) } else { 0.0 };
    }
    let Some(last) = padded.len().checked_sub(length + 1).filter(|last| *last >= 1) else {
        return Vec::new();
    };
    let mut sums = Vec::with_capacity(padded.len() + 1);
    sums.push(0.0);
    let mut sum = 0.0;
    for sample in &padded {
        sum += f64::from(*sample) * f64::from(*sample);
        sums.push(sum);
    }

    let matched = |at: usize| dot(&padded[at..at + length], &pulse);
    let mut found: Vec<(usize, f64)> = Vec::new();
    let mut strongest = 0.0;
    for at in 1..last {
        let most = (sums[at + length] - sums[at]).max(0.0).sqrt() * pulse_norm;
        // By Cauchy's inequality no click worth having can begin here.
        if most <= 1e-9 || most < strongest * WEAKEST {
            continue;
        }
        let strength = matched(at);
        if strength < most * LEAST_LIKENESS || strength < strongest * WEAKEST {
            continue;
        }
        match found.last_mut() {
            // Of peaks closer than a click is long, the strongest is the click.
            Some((place, best)) if at - *place < length => {
                if strength > *best {
                    (*place, *best) = (at, strength);
                }
            }
            _ => found.push((at, strength)),
        }
        strongest = f64::max(strongest, strength);
    }

    found.retain(|(_, strength)| *strength >= strongest * WEAKEST);
    let exact = |(at, here): (usize, f64)| {
        // The top of the parabola through the peak and its neighbours.
        let (before, after) = (matched(at - 1), matched(at + 1));
        let bend = before - 2.0 * here + after;
        let off = if bend < 0.0 { ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 };
        at as f64 - MARGIN as f64 + off
    };
    found.into_iter().map(exact).collect()
}

/// Silence added on each side of what is searched.
const MARGIN: usize = 16;
/// The least correlation between a click and what is taken for it.
const LEAST_LIKENESS: f64 = 0.6;
/// The weakest click, beside the strongest.
const WEAKEST: f64 = 0.5;

/// One click at `rate`, its peak 1.
fn pulse(rate: u32) -> Vec<f32> {
    const SECONDS: f64 = 0.008;
    const FROM_HZ: f64 = 500.0;
    const TO_HZ: f64 = 3200.0;
    let rate = f64::from(rate.max(1));
    let length = (SECONDS * rate).round().max(1.0) as usize;
    let shape = |index: usize| {
        let t = (index as f64 + 0.5) / rate;
        let sweep = sine(phase(t * (FROM_HZ + (TO_HZ - FROM_HZ) * t / (2.0 * SECONDS))));
        sweep * (1.0 - cosine(phase((index as f64 + 0.5) / length as f64))) / 2.0
    };
    let peak = (0..length).map(|index| shape(index).abs()).fold(1e-9, f64::max);
    (0..length).map(|index| (shape(index) / peak) as f32).collect()
}

/// The sum of products, in eight parts so that the compiler can work on them
/// side by side.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut parts = [0f32; 8];
    let (a_eights, b_eights) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_eights.remainder().iter().zip(b_eights.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_eights.zip(b_eights) {
        for (part, (a, b)) in parts.iter_mut().zip(a.iter().zip(b)) {
            *part += a * b;
        }
    }
    f64::from(rest) + parts.iter().map(|part| f64::from(*part)).sum::<f64>()
}

struct Clicks {
    format: AudioFormat,
    pace: Pace,
    pulse: Vec<f32>,
    period: u64,
}

impl Clicks {
    fn new(params: &Params) -> Self {
        let format = format(params);
        let level = 10f64.powf(params.float("level_db") / 20.0) as f32;
        Self {
            format,
            pace: Pace::new(Beat::Sound { samples: format.samples, rate: format.rate }, params),
            pulse: pulse(format.rate).into_iter().map(|sample| sample * level).collect(),
            period: (params.float("every_ms") * f64::from(format.rate) / 1000.0).round() as u64,
        }
    }
}

impl Node for Clicks {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some((index, header)) = self.pace.due(cx) else { return Ok(()) };
        let mut since = index * u64::from(self.format.samples) % self.period;
        let mut frame = cx.audio(0, self.format, header);
        for sample in frame.channel_mut(0) {
            *sample = self.pulse.get(since as usize).copied().unwrap_or(0.0);
            since = if since + 1 == self.period { 0 } else { since + 1 };
        }
        for channel in 1..usize::from(self.format.channels) {
            frame.copy_channel(0, channel);
        }
        cx.push(0, frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::Value;
    use sidetone_core::harness::Harness;

    fn clicks(params: &[(&str, Value)]) -> Vec<f32> {
        let mut all = vec![("pace", "flat_out".into()), ("duration_s", 3.0.into())];
        all.extend(params.iter().cloned());
        let mut node = Harness::new(&SPEC, &all);
        node.run();
        node.take(0).iter().flat_map(|frame| frame.channel(0).to_vec()).collect()
    }

    /// `sound` later by a fraction of a sample: straight lines between points
    /// of a signal this far below half the rate are off by next to nothing.
    fn later(sound: &[f32], by: f64) -> Vec<f32> {
        let (whole, part) = (by.floor() as usize, (by - by.floor()) as f32);
        let at = |i: usize| i.checked_sub(whole).and_then(|i| sound.get(i)).copied().unwrap_or(0.0);
        let before = |i: usize| if i == 0 { 0.0 } else { at(i - 1) };
        (0..sound.len() + whole + 1).map(|i| at(i) * (1.0 - part) + before(i) * part).collect()
    }

    fn noisy(sound: &[f32], rms: f32, seed: u64) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(seed);
        // Uniform noise over ±a has a root mean square of a/√3.
        let reach = rms * 3f32.sqrt();
        sound.iter().map(|sample| sample + (rng.f32() * 2.0 - 1.0) * reach).collect()
    }

    fn worst(found: &[f64], expected: impl Iterator<Item = f64>) -> f64 {
        let expected: Vec<f64> = expected.collect();
        assert_eq!(found.len(), expected.len(), "found {found:?}");
        found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn clicks_begin_at_the_first_sample_and_exactly_so_often_after() {
        for (frame_ms, every_ms) in [(10.0, 500.0), (2.5, 333.0), (60.0, 20.0)] {
            let sound = clicks(&[("frame_ms", frame_ms.into()), ("every_ms", every_ms.into())]);
            let period = (every_ms * 48.0) as usize;
            let pulse = pulse(48_000);
            for (index, sample) in sound.iter().enumerate() {
                let want = pulse.get(index % period).map_or(0.0, |p| p * 10f32.powf(-0.3));
                assert!((sample - want).abs() < 1e-6, "sample {index}");
            }
        }
    }

    #[test]
    fn the_declared_latency_is_the_frame_that_is_waited_for() {
        let params = [("frame_ms", 20.0.into()), ("rate", 44_100.into())];
        let params = Params::new(SPEC.params, &params).unwrap();
        let told = SPEC.negotiated(&sidetone_core::Offer { params: &params, inputs: &[] }).unwrap();
        assert_eq!(told.latency, std::time::Duration::from_millis(20));
    }

    #[test]
    fn clean_clicks_are_found_where_they_are_at_any_rate() {
        for rate in [8_000u32, 16_000, 44_100, 48_000, 96_000] {
            let sound = clicks(&[("rate", i64::from(rate).into())]);
            let period = f64::from(rate / 2);
            let off = worst(&find(&sound, rate), (0..6).map(|n| f64::from(n) * period));
            assert!(off < 0.02, "{rate} Hz: {off} samples off");
        }
    }

    #[test]
    fn a_delay_between_samples_is_measured() {
        let sound = clicks(&[]);
        for tenths in 1..10 {
            let delay = 1234.0 + f64::from(tenths) / 10.0;
            let off =
                worst(&find(&later(&sound, delay), 48_000), (0..6).map(|n| f64::from(n) * 24_000.0 + delay));
            assert!(off < 0.02, "{delay}: {off} samples off");
        }
    }

    #[test]
    fn noise_nearly_as_loud_as_the_click_moves_it_by_less_than_a_sample() {
        let sound = later(&clicks(&[("level_db", 0.0.into())]), 777.0);
        let pulse = pulse(48_000);
        let rms = (pulse.iter().map(|p| p * p).sum::<f32>() / pulse.len() as f32).sqrt();
        for seed in 0..5 {
            // A little less than as loud, so that none falls below the likeness asked for.
            let heard = noisy(&sound, rms * 0.8, seed);
            let off = worst(&find(&heard, 48_000), (0..6).map(|n| f64::from(n) * 24_000.0 + 777.0));
            assert!(off < 1.0, "seed {seed}: {off} samples off");
        }
    }

    #[test]
    fn a_filter_adds_its_own_delay_and_no_more() {
        // Nine equal taps: a low pass whose every frequency is late by 4 samples.
        let sound = later(&clicks(&[]), 5000.0);
        let dull: Vec<f32> = (0..sound.len())
            .map(|i| (0..9).map(|k| i.checked_sub(k).map_or(0.0, |i| sound[i] / 9.0)).sum())
            .collect();
        let heard = noisy(&dull, 0.01, 9);
        let off = worst(&find(&heard, 48_000), (0..6).map(|n| f64::from(n) * 24_000.0 + 5004.0));
        assert!(off < 0.2, "{off} samples off");
    }

    #[test]
    fn no_clicks_are_found_in_noise_tones_silence_or_rubbish() {
        assert!(find(&noisy(&[0.0; 96_000], 0.2, 3), 48_000).is_empty());
        // A codec that is short of bits leaves noise of the click's own band.
        let hiss = noisy(&[0.0; 480_008], 0.2, 5);
        let narrow: Vec<f32> = hiss.windows(9).map(|window| window.iter().sum()).collect();
        assert!(find(&narrow, 48_000).is_empty());
        let tone: Vec<f32> = (0..96_000u32).map(|n| (f64::from(n) * 0.2).sin() as f32).collect();
        assert!(find(&tone, 48_000).is_empty());
        assert!(find(&[0.0; 48_000], 48_000).is_empty());
        assert!(find(&[f32::NAN; 4_800], 48_000).is_empty());
        assert!(find(&[], 48_000).is_empty() && find(&[1.0; 5], 0).is_empty());
    }

    #[test]
    fn a_damaged_sample_does_not_hide_the_clicks() {
        let mut sound = clicks(&[]);
        sound[10_000] = f32::INFINITY;
        assert_eq!(find(&sound, 48_000).len(), 6);
    }
}
