//! `audio.level`: says how loud sound is, and passes it on untouched.
//!
//! Ports: `in` raw audio, any rate and channels → `out` the same.
//!
//! Parameters: `interval_ms`, 10 to 10000 ms, default 200: how much sound one
//! level event stands for.
//!
//! Latency: none.
//!
//! Method: the root mean square of all channels over the interval, in decibels
//! below full scale; −60 dBFS and less is level 0, 0 dBFS is level 100, and
//! between them 0.6 dB is one step (a sine at full scale, −3 dBFS, is 95). The
//! interval is counted in samples, so the same sound gives the same levels.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> meter -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.meter = { kind = "audio.level", interval_ms = 100 }
//! nodes.file = { kind = "file.wav_sink", path = "metered.wav" }
//! ```

use sidetone_core::loudness::{decibels, volume};
use sidetone_core::registry::same;
use sidetone_core::{
    Context, EventKind, Fault, FaultKind, MediaType, Node, NodeSpec, ParamSpec, Placement, PortSpec,
};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "audio.level",
    summary: "Says how loud sound is, and passes it on untouched.",
    sheet: sidetone_core::data_sheet!("level.rs"),
    inputs: &[PortSpec::new("in", MediaType::AUDIO, "The sound.")],
    outputs: &[PortSpec::new("out", MediaType::AUDIO, "The same sound.")],
    params: &[ParamSpec::int("interval_ms", 200, 10, 10_000, "How much sound one level event stands for.")
        .unit("ms")],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &same,
    build: &|setup| {
        let interval_ms = u64::try_from(setup.params.int("interval_ms")).unwrap_or(200);
        Ok(Box::new(Level { interval_ms, squares: 0.0, values: 0, samples: 0 }))
    },
};

struct Level {
    interval_ms: u64,
    /// The sum of squares since the last event, of how many values, in how many
    /// samples per channel.
    squares: f64,
    values: u64,
    samples: u64,
}

impl Node for Level {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frame) = cx.pop(0) {
            let Some(audio) = frame.audio() else {
                return Err(Fault::new(FaultKind::WrongFormat, "audio.level takes raw audio"));
            };
            let interval = (self.interval_ms * u64::from(audio.rate) / 1000).max(1);
            let there = audio.samples as usize;
            let mut from = 0;
            while from < there {
                let left = interval.saturating_sub(self.samples).max(1);
                let to = there.min(from.saturating_add(usize::try_from(left).unwrap_or(usize::MAX)));
                for channel in 0..usize::from(audio.channels) {
                    let part = &frame.channel(channel)[from..to];
                    self.squares += part.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
                    self.values += part.len() as u64;
                }
                self.samples += (to - from) as u64;
                from = to;
                if self.samples >= interval {
                    cx.emit(EventKind::Level {
                        level: volume(decibels(self.squares / self.values.max(1) as f64)),
                    });
                    (self.squares, self.values, self.samples) = (0.0, 0, 0);
                }
            }
            cx.push(0, frame);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidetone_core::harness::Harness;

    fn levels(node: &mut Harness) -> Vec<u8> {
        let level = |event| match event {
            EventKind::Level { level } => Some(level),
            _ => None,
        };
        node.events().into_iter().filter_map(level).collect()
    }

    #[test]
    fn the_scale_runs_from_minus_sixty_decibels_to_full_scale() {
        for (amplitude, expected) in [(1.0, 100), (0.1, 67), (0.001, 0), (0.0, 0), (4.0, 100)] {
            let mut node = Harness::new(&SPEC, &[]);
            node.push(0, node.audio(48_000, &[&vec![amplitude; 9600]]));
            node.run();
            assert_eq!(levels(&mut node), [expected], "amplitude {amplitude}");
        }
        let sine: Vec<f32> = (0..9600).map(|n| (n as f32 * 0.1).sin()).collect();
        let mut node = Harness::new(&SPEC, &[]);
        node.push(0, node.audio(48_000, &[&sine]));
        node.run();
        assert_eq!(levels(&mut node), [95]);
    }

    #[test]
    fn one_event_stands_for_one_interval_whatever_the_frames_length() {
        for samples in [1, 441, 480, 9600, 48_000] {
            let mut node = Harness::new(&SPEC, &[]);
            for _ in 0..96_000 / samples {
                node.push(0, node.audio(48_000, &[&vec![0.5; samples], &vec![-0.5; samples]]));
                node.run();
            }
            assert_eq!(levels(&mut node), vec![90; 96_000 / samples * samples / 9600], "{samples} samples");
        }
    }

    #[test]
    fn sound_passes_untouched_and_a_broken_sample_does_no_harm() {
        let mut node = Harness::new(&SPEC, &[("interval_ms", 10.into())]);
        let mut samples = vec![0.25; 480];
        samples[7] = f32::NAN;
        node.push(0, node.audio(48_000, &[&samples]));
        node.push(0, node.audio(48_000, &[&[0.25; 480]]));
        node.run();
        let out = node.take(0);
        assert!(out[0].channel(0)[8..] == samples[8..]);
        assert_eq!(out[1].channel(0), [0.25; 480]);
        assert_eq!(levels(&mut node), [0, 80]);
    }
}
