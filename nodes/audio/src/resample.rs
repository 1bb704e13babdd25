//! `audio.resample`: brings sound to another rate.
//!
//! Ports: `in` raw audio, 8000 to 192000 Hz, any channels → `out` the same
//! channels at `rate`, a frame for each that comes in.
//!
//! Parameters: `rate`, 8000 to 192000 Hz, default 48000; `quality`, "good"
//! (default) or "fast".
//!
//! Latency: half the filter, 34 samples of the lower of the two rates for
//! "fast" and 66 for "good" (44.1 to 48 kHz: 0.8 and 1.5 ms; 48 to 16 kHz: 2.1
//! and 4.1 ms). None at equal rates: the frames pass untouched.
//!
//! Method: a windowed sinc (Blackman-Harris squared) at any ratio, by rubato;
//! when the rate falls the filter is stretched, so that its steepness relative
//! to the lower rate stays. The number of samples out is counted in whole
//! numbers, so 10 ms in are exactly 10 ms out wherever that is possible, and
//! nothing drifts. A frame that is too short for a sample out adds to the next.
//! Times are those of the frame that came in. At the end, and when the format
//! changes, the filter's rest goes out as a short frame.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> narrow -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.narrow = { kind = "audio.resample", rate = 16000 }
//! nodes.file = { kind = "file.wav_sink", path = "narrow.wav" }
//! ```

use std::time::Duration;

use sidetone_core::{
    AudioFormat, Context, Fault, FaultKind, Finish, MediaType, Mismatch, Negotiated, Node, NodeSpec, Offer,
    ParamSpec, Params, Placement, PortSpec,
};

use crate::rate_converter::{FAST, GOOD, Quality, REFUSED, RateConverter, delay};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "audio.resample",
    summary: "Brings sound to another rate.",
    sheet: sidetone_core::data_sheet!("resample.rs"),
    inputs: &[PortSpec::new("in", MediaType::AUDIO, "The sound.")],
    outputs: &[PortSpec::new("out", MediaType::AUDIO, "The sound at its new rate.")],
    params: &[
        ParamSpec::int("rate", 48_000, LEAST, MOST, "Samples per second that go out.").unit("Hz"),
        ParamSpec::choice("quality", "good", &["fast", "good"], "How steep the filter is."),
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| {
        let mut node = Resample { rate: rate(setup.params), quality: quality(setup.params), converter: None };
        // Made ahead where the graph tells what comes.
        if let Some(Some(MediaType::Audio { rate: Some(from), channels: Some(channels), .. })) =
            setup.inputs.first()
        {
            node.converter = RateConverter::new(*from, node.rate, *channels, node.quality);
        }
        Ok(Box::new(node))
    },
};

const LEAST: i64 = 8_000;
const MOST: i64 = 192_000;

struct Resample {
    rate: u32,
    quality: Quality,
    converter: Option<RateConverter>,
}

impl Node for Resample {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(mut frame) = cx.pop(0) {
            let Some(audio) = frame.audio() else {
                return Err(Fault::new(FaultKind::WrongFormat, "audio.resample takes raw audio"));
            };
            if audio.channels == 0 || !(LEAST..=MOST).contains(&i64::from(audio.rate)) {
                return Err(Fault::new(FaultKind::WrongFormat, "audio.resample takes 8000 to 192000 Hz"));
            }
            let fits = self.converter.as_ref().is_some_and(|converter| converter.fits(audio));
            if !fits {
                self.flush(cx)?;
                if audio.rate != self.rate {
                    let made = RateConverter::new(audio.rate, self.rate, audio.channels, self.quality);
                    self.converter = Some(made.ok_or(REFUSED)?);
                }
            }
            let Some(converter) = &mut self.converter else {
                cx.push(0, frame);
                continue;
            };
            let header = std::mem::take(&mut frame.header);
            converter.convert(Some(&frame), audio.samples as usize, header, cx)?;
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.flush(cx)?;
        Ok(Finish::Done)
    }
}

impl Resample {
    /// Puts out what the filter still holds and forgets it.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(converter) = self.converter.take() else { return Ok(()) };
        converter.flush(cx)
    }
}

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let to = rate(offer.params);
    let Some(Some(MediaType::Audio { rate: from, channels, samples })) = offer.inputs.first() else {
        let out = MediaType::Audio { rate: Some(to), channels: None, samples: None };
        return Ok(Negotiated::new([out]));
    };
    if from.is_some_and(|from| !(LEAST..=MOST).contains(&i64::from(from))) {
        let takes = "takes 8000 to 192000 Hz".into();
        return Err(Mismatch { port: 0, takes, help: "use a source with a rate in that range".into() });
    }
    let latency = from.filter(|from| *from != to).map_or(Duration::ZERO, |from| {
        let samples = delay(from, to, quality(offer.params));
        AudioFormat { rate: from, channels: 1, samples }.duration()
    });
    // Where the rates do not divide, frames out differ by a sample.
    let samples = from.zip(*samples).and_then(|(from, samples)| {
        let (whole, rest) = (u64::from(samples) * u64::from(to), u64::from(from));
        (whole % rest == 0).then(|| u32::try_from(whole / rest).ok()).flatten()
    });
    let out = MediaType::Audio { rate: Some(to), channels: *channels, samples };
    Ok(Negotiated::new([out]).latency(latency))
}

fn rate(params: &Params) -> u32 {
    u32::try_from(params.int("rate")).unwrap_or(48_000)
}

fn quality(params: &Params) -> Quality {
    if params.text("quality") == "fast" { FAST } else { GOOD }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;

    const RATES: [u32; 9] = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000];

    fn node(rate: u32, quality: &str) -> Harness {
        Harness::new(&SPEC, &[("rate", i64::from(rate).into()), ("quality", quality.into())])
    }

    fn sine(rate: u32, hertz: f64, samples: usize) -> Vec<f32> {
        let step = std::f64::consts::TAU * hertz / f64::from(rate);
        (0..samples).map(|n| (step * n as f64).sin() as f32 * 0.5).collect()
    }

    /// One second through the node in frames of 10 ms, and the end.
    fn converted(node: &mut Harness, rate: u32, samples: &[f32]) -> Vec<f32> {
        for part in samples.chunks(rate as usize / 100) {
            node.push(0, node.audio(rate, &[part]));
            node.run();
        }
        node.end(0);
        node.run();
        assert_eq!(node.fault(), None);
        node.take(0).iter().flat_map(|frame| frame.channel(0).to_vec()).collect()
    }

    /// How a tone came through, edges aside: signal to noise in dB, level in
    /// dB, and how late in seconds, with `delay` expected.
    fn fidelity(out: &[f32], rate: u32, hertz: f64, delay: f64) -> (f64, f64, f64) {
        let middle = || out.iter().enumerate().skip(out.len() / 10).take(rate as usize * 4 / 5);
        let turn = |n: usize| std::f64::consts::TAU * hertz * (n as f64 / f64::from(rate) - delay);
        let (mut sine, mut cosine, mut count) = (0.0, 0.0, 0.0);
        for (n, sample) in middle() {
            sine += f64::from(*sample) * turn(n).sin();
            cosine += f64::from(*sample) * turn(n).cos();
            count += 0.5;
        }
        (sine, cosine) = (sine / count, cosine / count);
        let noise: f64 = middle()
            .map(|(n, sample)| (f64::from(*sample) - sine * turn(n).sin() - cosine * turn(n).cos()).powi(2))
            .sum();
        let power = sine * sine + cosine * cosine;
        let late = delay - cosine.atan2(sine) / (std::f64::consts::TAU * hertz);
        (10.0 * (power * count / noise).log10(), 10.0 * (power / 0.25).log10(), late)
    }

    #[test]
    fn a_tone_stays_the_tone_at_every_pair_of_rates_and_is_as_late_as_declared() {
        for (from, to) in RATES.into_iter().flat_map(|from| RATES.map(|to| (from, to))) {
            // In the 0.8 s that are measured there are whole turns.
            let tone = sine(from, 980.0, from as usize);
            for (quality, shape, least) in [("fast", FAST, 115.0), ("good", GOOD, 125.0)] {
                if from == to {
                    continue;
                }
                let out = converted(&mut node(to, quality), from, &tone);
                // rubato's first sample out stands one step after the start.
                let expected = f64::from(delay(from, to, shape)) / f64::from(from) - 1.0 / f64::from(to);
                let (clean, level, late) = fidelity(&out, to, 980.0, expected);
                assert!(clean > least, "{from} to {to} {quality}: {clean:.1} dB");
                assert!(level.abs() < 0.01, "{from} to {to} {quality}: {level:.3} dB louder");
                let off = (late - expected) * f64::from(from.min(to));
                assert!(off.abs() < 0.01, "{from} to {to} {quality}: {off:.3} samples late");
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_carry_is_gone() {
        for (from, to, quality, most) in [
            (48_000, 16_000, "good", -80.0),
            (48_000, 16_000, "fast", -60.0),
            (192_000, 8_000, "good", -80.0),
        ] {
            let out =
                converted(&mut node(to, quality), from, &sine(from, 0.51 * f64::from(to), from as usize));
            let middle = &out[out.len() / 10..out.len() * 9 / 10];
            let power = middle.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / middle.len() as f64;
            let left = 10.0 * (power / 0.125).log10();
            assert!(left < most, "{from} to {to} {quality} leaves {left:.1} dB");
        }
    }

    #[test]
    fn ten_milliseconds_stay_ten_milliseconds() {
        for (from, to) in [(44_100, 48_000), (48_000, 44_100), (16_000, 48_000), (48_000, 8_000)] {
            let mut node = node(to, "good");
            for _ in 0..1000 {
                node.push(0, node.audio(from, &[&vec![0.0; from as usize / 100]]));
                node.run();
            }
            let frames = node.take(0);
            assert_eq!(frames.len(), 1000);
            assert!(frames.iter().all(|frame| frame.audio().unwrap().samples == to / 100), "{from} to {to}");
        }
    }

    #[test]
    fn frames_of_any_length_lose_and_invent_nothing() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..60 {
            let (from, to) = (random.u32(8_000..=192_000), random.u32(8_000..=192_000));
            let channels = random.usize(1..=8);
            let mut node = node(to, "fast");
            let mut came = 0u64;
            for _ in 0..20 {
                let most = if random.bool() { 20 } else { 20_000 };
                let samples = random.usize(0..most);
                came += samples as u64;
                let silence = vec![0.25; samples];
                node.push(0, node.audio(from, &vec![silence.as_slice(); channels]));
                node.run();
                assert_eq!(node.fault(), None);
            }
            node.end(0);
            node.run();
            let went: u64 = node.take(0).iter().map(|frame| u64::from(frame.audio().unwrap().samples)).sum();
            let rest = if from == to { 0 } else { u64::from(delay(from, to, FAST)) };
            assert_eq!(went, (came + rest) * u64::from(to) / u64::from(from), "{from} to {to}");
        }
    }

    #[test]
    fn equal_rates_pass_untouched_and_a_new_rate_takes_over() {
        let mut node = node(48_000, "good");
        let mut frame = node.audio(48_000, &[&sine(48_000, 440.0, 480)]);
        frame.header = node.header(Duration::from_millis(10));
        node.push(0, frame);
        node.push(0, node.audio(44_100, &[&[0.5; 441], &[0.5; 441]]));
        node.push(0, node.audio(48_000, &[&[0.5; 480]]));
        node.run();
        let out = node.take(0);
        assert_eq!(out[0].channel(0), sine(48_000, 440.0, 480));
        assert_eq!(out[0].header.sequence, 0);
        let shapes: Vec<_> = out.iter().map(|f| f.audio().map(|a| (a.rate, a.channels, a.samples))).collect();
        // The third is the filter's rest: 66 samples at 44.1 kHz.
        let stereo = |samples| Some((48_000, 2, samples));
        assert_eq!(shapes, [Some((48_000, 1, 480)), stereo(480), stereo(71), Some((48_000, 1, 480))]);
        assert_eq!(out[3].channel(0), [0.5; 480]);
    }

    #[test]
    fn the_latency_is_declared_where_the_rates_are_known() {
        let params = Params::new(SPEC.params, &[("rate", 48_000.into())]).unwrap();
        let audio =
            |rate| Some(MediaType::Audio { rate: Some(rate), channels: Some(1), samples: Some(rate / 100) });
        let told = |rate| negotiate(&Offer { params: &params, inputs: &[audio(rate)] }).unwrap();
        assert_eq!(told(48_000).latency, Duration::ZERO);
        assert_eq!(told(44_100).latency.as_micros(), 66_000_000 / 44_100);
        assert_eq!(told(44_100).outputs, [audio(48_000).unwrap()]);
    }
}
