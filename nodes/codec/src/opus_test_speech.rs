//! A voice for the tests of the Opus nodes, and how close two sounds are.

use sidetone_core::harness::Harness;
use sidetone_core::{Frame, Value};

/// Something like speech: a voice of 90 to 150 Hz with three formants, in
/// syllables, with some breath.
pub(crate) fn speech(rate: u32, seconds: f64, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let rate = f64::from(rate);
    let mut formants = [(700.0, 0.0, 0.0), (1220.0, 0.0, 0.0), (2600.0, 0.0, 0.0)];
    let mut phase = 0.0;
    let sample = |n: usize| {
        let at = n as f64 / rate;
        phase += (120.0 + 30.0 * (at * 2.1).sin()) / rate;
        let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
        phase -= pulse;
        let syllable = (at * std::f64::consts::TAU * 2.0).sin().max(0.0).sqrt();
        let source = pulse * (rate / 8000.0) + 0.02 * (random.f64() - 0.5);
        let mut sum = 0.0;
        for (hertz, last, before) in &mut formants {
            let turn = std::f64::consts::TAU * (*hertz + 80.0 * (at * 5.0).sin()) / rate;
            let radius = (-std::f64::consts::PI * 90.0 / rate).exp();
            let next =
                source * (1.0 - radius) + 2.0 * radius * turn.cos() * *last - radius * radius * *before;
            (*before, *last) = (*last, next);
            sum += next;
        }
        (sum * syllable * 0.5).clamp(-1.0, 1.0) as f32
    };
    (0..(seconds * rate) as usize).map(sample).collect()
}

/// The packets of mono sound at 48 kHz that comes in frames of 10 ms.
pub(crate) fn encoded(params: &[(&str, Value)], sound: &[f32]) -> Vec<Frame> {
    let mut encoder = Harness::new(&crate::opus_encode::SPEC, params);
    for part in sound.chunks(480) {
        let mut frame = encoder.audio(48_000, &[part]);
        frame.header = encoder.header(std::time::Duration::from_millis(10));
        encoder.push(0, frame);
        encoder.advance(std::time::Duration::from_millis(10));
    }
    encoder.end(0);
    encoder.run();
    assert_eq!(encoder.fault(), None);
    encoder.take(0)
}

/// Signal to noise in dB, the louder parts and the quieter ones alike.
pub(crate) fn snr(wanted: &[f32], got: &[f32]) -> f64 {
    let power = |samples: &mut dyn Iterator<Item = f64>| samples.map(|x| x * x).sum::<f64>();
    let signal = power(&mut wanted.iter().map(|x| f64::from(*x)));
    let noise = power(&mut wanted.iter().zip(got).map(|(a, b)| f64::from(a - b)));
    10.0 * (signal / noise.max(1e-12)).log10()
}

/// How alike two sounds are: 1 is the same but for loudness.
pub(crate) fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}
