//! Makes a voice sound like a robot's.

use sidetone_plugin::*;

choice! {
    /// The wave that a voice is multiplied by.
    pub enum Wave {
        /// The classic sound: every tone becomes two, above and below.
        Sine = "sine",
        /// Harsher.
        Triangle = "triangle",
    }
}

effect! {
    /// Makes a voice sound like a robot's.
    ///
    /// It multiplies the sound by a wave (ring modulation), so that each of its tones
    /// becomes two, one higher and one lower by the frequency of the wave.
    pub struct RobotVoice: AudioInPlace = "sample.robot_voice", real_time, deterministic, identity_at_zero {
        /// The frequency of the wave; 0 is none.
        param 1 frequency_hz: f32 = 60.0, range(0.0..=1000.0), step(1.0), unit("Hz"), live;
        /// How much of the robot is heard, beside the voice as it was.
        param 2 mix: f32 = 0.9, range(0.0..=1.0), step(0.01), live;
        /// The shape of the wave.
        param 3 wave: Wave = Wave::Sine, live;
        state phase: f64 = 0.0, saved;
        state heard: Heard = Heard::default();
    }
}

/// Frequency and mix as they are heard: they glide to those that are wanted.
#[derive(Default)]
struct Heard {
    frequency_hz: f32,
    mix: f32,
}

/// How long a glide takes, in seconds, so that a change is no click.
const GLIDE_S: f32 = 0.02;

impl AudioInPlace for RobotVoice {
    fn start(&mut self, _: &Start<'_>) -> Result<(), Error> {
        self.heard = Heard { frequency_hz: self.frequency_hz, mix: self.wanted_mix() };
        Ok(())
    }

    fn process(&mut self, sound: &mut SoundMut<'_>, _: &Call<'_>) -> Result<Done, Error> {
        let rate = sound.rate() as f32;
        let (frequency_hz, mix) = (self.frequency_hz, self.wanted_mix());
        let step = 1.0 / (GLIDE_S * rate);
        for at in 0..sound.len() {
            self.heard.frequency_hz = toward(self.heard.frequency_hz, frequency_hz, 1000.0 * step);
            self.heard.mix = toward(self.heard.mix, mix, step);
            let gain = 1.0 + self.heard.mix * (self.wave_at(self.phase) - 1.0);
            for channel in 0..sound.channel_count() {
                sound.channel_mut(channel)[at] *= gain;
            }
            self.phase = (self.phase + f64::from(self.heard.frequency_hz / rate)).rem_euclid(1.0);
        }
        Ok(Done::Out)
    }
}

impl RobotVoice {
    /// A wave that stands still would only be a gain.
    fn wanted_mix(&self) -> f32 {
        if self.frequency_hz == 0.0 { 0.0 } else { self.mix }
    }

    fn wave_at(&self, phase: f64) -> f32 {
        match self.wave {
            Wave::Sine => (phase * std::f64::consts::TAU).sin() as f32,
            Wave::Triangle => (4.0 * (phase - 0.5).abs() - 1.0) as f32,
        }
    }
}

/// `from`, moved to `to` by at most `step`.
fn toward(from: f32, to: f32, step: f32) -> f32 {
    from + (to - from).clamp(-step, step)
}

plugin!("sample", RobotVoice);

#[cfg(test)]
mod tests;
