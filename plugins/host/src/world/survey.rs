//! Every installed effect, tried: which run, how long a frame takes, and why the
//! others do not.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use sidetone_core::harness::Harness;
use sidetone_core::{MediaType, NodeSpec, Value};

/// Pictures that an effect is given, of 640x360 pixels.
pub const PICTURES: u32 = 30;
/// Frames of sound that it is given, of 10 ms at 48 kHz: 3 s.
pub const SOUNDS: u32 = 300;

/// How an effect did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Frames that it gave.
    pub frames: u32,
    /// Milliseconds that a frame took: that of which half took less.
    pub median_ms: f64,
    /// Milliseconds that the slowest took.
    pub most_ms: f64,
}

/// Runs a node of kind `spec` with its defaults and `params` on pictures or sound that
/// change from frame to frame, and measures its calls. \[control\]
///
/// # Errors
/// Why it cannot be made, or its fault.
pub fn trial(spec: &'static NodeSpec, params: &[(&str, Value)]) -> Result<Trial, String> {
    let mut harness = Harness::try_new(spec, params, &Default::default()).map_err(|why| why.to_string())?;
    let is_sound = matches!(spec.inputs[0].media, MediaType::Audio { .. });
    let mut times = Vec::new();
    let mut frames = 0;
    for number in 0..if is_sound { SOUNDS } else { PICTURES } {
        for port in (0..spec.inputs.len()).rev() {
            let frame = match spec.inputs[0].media {
                MediaType::Audio { channels, .. } => {
                    let channels = channels.unwrap_or(1);
                    let sound: Vec<_> = (0..channels).map(|channel| sound(number, channel.into())).collect();
                    harness.audio(48_000, &sound.iter().map(Vec::as_slice).collect::<Vec<_>>())
                }
                _ => {
                    harness.picture(640, 360, |plane, x, y| sample(number as usize + 10 * port, plane, x, y))
                }
            };
            harness.push(port, frame);
        }
        let begin = Instant::now();
        harness.run();
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        if let Some(fault) = harness.fault() {
            return Err(fault.to_string());
        }
        frames += harness.take(0).len() as u32;
    }
    times.sort_by(f64::total_cmp);
    if frames == 0 {
        return Err("it gave no frame".into());
    }
    Ok(Trial { frames, median_ms: times[times.len() / 2], most_ms: times[times.len() - 1] })
}

/// A gradient with a square that moves over it.
fn sample(number: usize, plane: usize, x: usize, y: usize) -> u8 {
    let (x, y) = if plane == 0 { (x, y) } else { (2 * x, 2 * y) };
    let in_square = (100 + 5 * number..200 + 5 * number).contains(&x) && (100..200).contains(&y);
    match (plane, in_square) {
        (0, false) => (16 + x / 5 + y / 4) as u8,
        (0, true) => 220,
        (1, _) => (64 + y / 3) as u8,
        (_, false) => (64 + x / 6) as u8,
        (_, true) => 200,
    }
}

/// 10 ms of a tone of 440 Hz, lower and with other overtones in each channel.
fn sound(number: u32, channel: u32) -> Vec<f32> {
    let at = |index: u32| {
        let phase = (number * 480 + index) as f32 / 48_000.0 * std::f32::consts::TAU * 440.0;
        0.3 * phase.sin() + 0.1 * (phase * (2.0 + channel as f32)).sin()
    };
    (0..480).map(at).collect()
}
