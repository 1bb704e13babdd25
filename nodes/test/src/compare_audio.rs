//! `test.compare_audio`: says how much sound has lost on its way.
//!
//! Ports: `reference` raw audio as it was, and `in` raw audio as it came, at the
//! same rate, any number of channels (their mean is compared). What comes to `in`
//! counts as rendered here.
//!
//! Parameters: `hold_ms`, 100 to 10000 ms, default 2000: how long the reference
//! is kept for its sound to come; `most_lag_ms`, 0 to 50 ms, default 12: how far
//! codecs and filters may have moved the sound from its capture time.
//!
//! Latency: none.
//!
//! Method: stretches of 100 ms are compared with the reference that was captured
//! at the same time, later by the lag at which they are most alike (greatest
//! normalised correlation); once two stretches in a row agree on the lag, it
//! stays. The signal-to-noise ratio of a stretch is that of the reference's
//! energy to that of the difference, kept between −10 and 35 dB as segmental
//! ratios are (Hansen and Pellom, ICSLP 1998); stretches whose reference is below
//! −60 dBFS do not count. A change of level counts as noise, a change of phase as
//! well. The figures, told once a second and at the end: `snr`, the mean over all
//! stretches; `snr_worst`, that of the worst; `missing`, the share of the
//! reference's time for which no sound came.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> decode -> compare.in", "tone -> compare.reference"]
//! nodes.tone = { kind = "test.tone", am_hz = 4 }
//! nodes.opus = { kind = "codec.opus_encode", bitrate_kbps = 16 }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.compare = { kind = "test.compare_audio" }
//! ```

use sidetone_core::{
    Context, Fault, FaultKind, Finish, Frame, MediaType, Mismatch, Negotiated, Node, NodeSpec, Offer,
    ParamSpec, Placement, PortSpec,
};

use crate::comparison::{Comparison, IN, REFERENCE, alike};
use crate::reference::{Reference, position};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "test.compare_audio",
    summary: "Says how much sound has lost on its way.",
    sheet: sidetone_core::data_sheet!("compare_audio.rs"),
    inputs: &[
        PortSpec::new("reference", MediaType::AUDIO, "The sound as it was."),
        PortSpec::new("in", MediaType::AUDIO, "The sound as it came."),
    ],
    outputs: &[],
    params: &[
        ParamSpec::int("hold_ms", 2_000, 100, 10_000, "How long the reference waits for its sound.")
            .unit("ms"),
        ParamSpec::float("most_lag_ms", 12.0, 0.0, 50.0, "How far the sound may be from its capture time.")
            .unit("ms"),
    ],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &negotiate,
    build: &|setup| {
        let hold_ms = setup.params.int("hold_ms") as f64;
        Ok(Box::new(CompareAudio::new(hold_ms, setup.params.float("most_lag_ms"))))
    },
};

fn negotiate(offer: &Offer<'_>) -> Result<Negotiated, Mismatch> {
    let rate = |media| match media {
        MediaType::Audio { rate, .. } => rate,
        _ => None,
    };
    alike(offer, rate, |was| Mismatch {
        port: IN,
        takes: format!("takes the reference's rate, {was} Hz"),
        help: format!("put {{ kind = \"audio.resample\", rate = {was} }} before it"),
    })
}

struct CompareAudio {
    hold_ms: f64,
    most_lag_ms: f64,
    /// What both have, once the first frame has told it.
    sound: Option<Reference>,
    /// The lag, once it is sure, and the last stretch's.
    lag: Option<usize>,
    last_lag: Option<usize>,
    /// Of the stretches.
    found: Comparison,
    missing: u64,
    told: u64,
}

impl CompareAudio {
    fn new(hold_ms: f64, most_lag_ms: f64) -> Self {
        Self {
            hold_ms,
            most_lag_ms,
            sound: None,
            lag: None,
            last_lag: None,
            found: Comparison::new(["snr", "snr_worst"]),
            missing: 0,
            told: 0,
        }
    }

    /// The room for sound like `frame`'s, and where the frame begins.
    fn sound(&mut self, frame: &Frame) -> Result<(&mut Reference, i64), Fault> {
        let Some(audio) = frame.audio() else { return Err(WRONG) };
        let samples = |ms: f64| (ms * f64::from(audio.rate) / 1000.0).round() as usize;
        let (hold, most_lag) = (samples(self.hold_ms), samples(self.most_lag_ms));
        let sound = self.sound.get_or_insert_with(|| Reference::new(audio.rate, hold, most_lag));
        if sound.rate != audio.rate {
            return Err(Fault::new(FaultKind::WrongFormat, "the sound has another rate than the reference"));
        }
        Ok((sound, position(frame.header.captured, audio.rate)))
    }

    fn keep(&mut self, frame: &Frame) -> Result<(), Fault> {
        let (sound, at) = self.sound(frame)?;
        sound.keep(at, mixed(frame));
        Ok(())
    }

    fn compare(&mut self, frame: &Frame) -> Result<(), Fault> {
        let (sound, at) = self.sound(frame)?;
        let at = sound.near(at, sound.heard);
        let expected = sound.heard.or(sound.first).unwrap_or(at);
        let gap = (at - expected).max(0) as u64;
        if sound.begins + sound.stretch.len() as i64 != at {
            // What came so far stands by itself.
            self.close();
        }
        self.missing += gap;
        for (here, sample) in (at..).zip(mixed(frame)) {
            let Some(sound) = &mut self.sound else { break };
            if sound.stretch.is_empty() {
                sound.begins = here;
            }
            sound.stretch.push(sample);
            sound.heard = Some(here + 1);
            if sound.stretch.len() == sound.length {
                self.close();
            }
        }
        Ok(())
    }

    /// Compares the stretch that has come in with its reference.
    fn close(&mut self) {
        let Some(sound) = &mut self.sound else { return };
        let found = sound.compare(self.lag);
        sound.begins += sound.stretch.len() as i64;
        sound.stretch.clear();
        let Some((lag, db)) = found else { return };
        if self.lag.is_none() && self.last_lag == Some(lag) {
            self.lag = Some(lag);
        }
        self.last_lag = Some(lag);
        self.found.add(db);
    }

    fn tell(&self, cx: &mut Context<'_>) {
        let first = self.sound.as_ref().and_then(|sound| Some((sound.first?, sound.heard)));
        let all = first.map_or(0, |(first, heard)| heard.unwrap_or(first) - first);
        self.found.tell(self.missing, all.max(0) as u64, cx);
    }
}

const WRONG: Fault = Fault::new(FaultKind::WrongFormat, "test.compare_audio takes raw audio");

/// The mean of all channels.
fn mixed(frame: &Frame) -> impl Iterator<Item = f32> + '_ {
    let (channels, samples) =
        frame.audio().map_or((0, 0), |audio| (usize::from(audio.channels), audio.samples));
    let share = 1.0 / channels.max(1) as f32;
    (0..samples as usize)
        .map(move |index| (0..channels).map(|channel| frame.channel(channel)[index]).sum::<f32>() * share)
}

impl Node for CompareAudio {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(REFERENCE) {
            self.keep(&frame)?;
        }
        while let Some(frame) = cx.pop(IN) {
            self.compare(&frame)?;
            cx.rendered(frame);
        }
        // Ten stretches are a second.
        if self.found.count >= self.told + 10 {
            self.told = self.found.count;
            self.tell(cx);
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.close();
        self.tell(cx);
        Ok(Finish::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::figures;
    use sidetone_core::harness::Harness;
    use std::time::Duration;

    const RATE: u32 = 48_000;
    const FRAME: usize = 480;

    /// Noise that has no period.
    fn noise(length: usize, seed: u64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..length).map(|_| random.f32() - 0.5).collect()
    }

    /// 10 ms of the reference at a time, and 50 ms later what came of it; frames
    /// for which `lost` holds do not come.
    fn compared(reference: &[f32], came: &[f32], lost: impl Fn(usize) -> bool) -> Vec<(&'static str, f64)> {
        let mut node = Harness::new(&SPEC, &[]);
        let mut waiting = Vec::new();
        for index in 0..reference.len() / FRAME + 5 {
            node.advance_to(Duration::from_millis(10 * index as u64));
            if let Some(samples) = reference.get(index * FRAME..(index + 1) * FRAME) {
                let frame = node.audio(RATE, &[samples]);
                // Left and right together are the sound.
                let part = &came[index * FRAME..(index + 1) * FRAME];
                let left: Vec<f32> = part.iter().map(|sample| sample * 2.0).collect();
                waiting.push((!lost(index)).then(|| node.audio(RATE, &[&left, &[0.0; FRAME]])));
                node.push(REFERENCE, frame);
            }
            let late = index.checked_sub(5).and_then(|late| waiting.get_mut(late)).and_then(Option::take);
            if let Some(frame) = late {
                node.push(IN, frame);
            }
            node.run();
        }
        assert_eq!(node.fault(), None);
        node.end(REFERENCE);
        node.end(IN);
        node.run();
        figures(&mut node)
    }

    fn later(sound: &[f32], by: usize) -> Vec<f32> {
        [&vec![0.0; by][..], &sound[..sound.len() - by]].concat()
    }

    #[test]
    fn a_known_noise_has_its_known_ratio_whatever_the_lag() {
        let sound = noise(96_000, 1);
        for lag in [0, 1, 120, 312, 576] {
            let added: Vec<f32> =
                later(&sound, lag).iter().zip(noise(96_000, 2)).map(|(a, b)| a + b / 10.0).collect();
            let figures = compared(&sound, &added, |_| false);
            assert_eq!(
                figures.iter().map(|figure| figure.0).collect::<Vec<_>>(),
                ["snr", "snr_worst", "missing"]
            );
            assert!((figures[0].1 - 20.0).abs() < 0.1, "lag {lag}: {figures:?}");
            assert!((19.5..20.0).contains(&figures[1].1) && figures[2].1 == 0.0, "lag {lag}: {figures:?}");
        }
    }

    #[test]
    fn what_came_as_it_was_is_as_good_as_can_be_and_other_sound_as_bad() {
        let sound = noise(48_000, 1);
        assert_eq!(compared(&sound, &sound, |_| false)[0], ("snr", 35.0));
        let other =
            compared(&sound, &noise(48_000, 9).iter().map(|x| x * 9.0).collect::<Vec<_>>(), |_| false);
        assert_eq!(other[0], ("snr", -10.0));
    }

    #[test]
    fn lost_sound_is_missing_and_the_rest_is_compared_where_it_belongs() {
        let sound = noise(96_000, 3);
        let figures = compared(&sound, &later(&sound, 312), |index| index % 25 == 24);
        assert_eq!(figures, [("snr", 35.0), ("snr_worst", 35.0), ("missing", 100.0 * 7.0 / 199.0)]);
    }

    #[test]
    fn sound_that_came_twice_or_out_of_its_place_is_compared_where_it_says_it_is() {
        let sound = noise(48_000, 4);
        let mut node = Harness::new(&SPEC, &[]);
        for index in 0..100usize {
            node.advance_to(Duration::from_millis(10 * index as u64));
            let frame = node.audio(RATE, &[&sound[index * FRAME..(index + 1) * FRAME]]);
            node.push(REFERENCE, frame.clone());
            node.push(IN, frame.clone());
            if index == 57 {
                node.push(IN, frame);
            }
            node.run();
        }
        node.end(REFERENCE);
        node.end(IN);
        node.run();
        assert_eq!(figures(&mut node), [("snr", 35.0), ("snr_worst", 35.0), ("missing", 0.0)]);
    }

    #[test]
    fn silence_and_broken_samples_do_no_harm() {
        assert_eq!(compared(&[0.0; 48_000], &[0.0; 48_000], |_| false), [("missing", 0.0)]);
        let sound = noise(48_000, 5);
        let mut broken = sound.clone();
        broken[30_000] = f32::NAN;
        let figures = compared(&sound, &broken, |_| false);
        assert!(figures[1] == ("snr_worst", -10.0) && figures[0].1 > 25.0, "{figures:?}");
    }

    #[test]
    fn another_rate_is_refused_when_checked_and_while_running() {
        let params = sidetone_core::Params::new(SPEC.params, &[]).unwrap();
        let audio = |rate| Some(MediaType::Audio { rate: Some(rate), channels: None, samples: None });
        let why = negotiate(&Offer { params: &params, inputs: &[audio(48_000), audio(16_000)] }).unwrap_err();
        assert!(why.help.contains("audio.resample") && why.help.contains("48000"), "{}", why.help);
        let mut node = Harness::new(&SPEC, &[]);
        node.push(REFERENCE, node.audio(48_000, &[&[0.0; 480]]));
        node.push(IN, node.audio(16_000, &[&[0.0; 160]]));
        node.run();
        assert_eq!(node.fault().map(|fault| fault.kind), Some(FaultKind::WrongFormat));
    }
}
