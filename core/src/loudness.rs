//! How loud sound is: in decibels below full scale, as RTP has it, and from 0 to 100,
//! as people do.

/// Decibels above full scale (mostly below: negative) of sound whose samples, of which 1
/// is full scale, have this mean square; minus infinity of silence. \[real-time\]
#[must_use]
pub fn decibels(mean_square: f64) -> f64 {
    // 10 log10 of the square is 20 log10 of the root.
    10.0 * mean_square.log10()
}

/// The same as RFC 6464 has it: from 0, full scale, to 127 dB below that, which is
/// silence. \[real-time\]
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped; NaN becomes 0
pub fn audio_level(decibels: f64) -> u8 {
    (-decibels).round().clamp(0.0, 127.0) as u8
}

/// The same as a volume: 0 (−60 dB and less) to 100 (full scale), 0.6 dB a step.
/// \[real-time\]
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped; NaN becomes 0
pub fn volume(decibels: f64) -> u8 {
    ((decibels + 60.0) / 0.6).round().clamp(0.0, 100.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loudness_is_in_whole_decibels_below_full_scale() {
        for (amplitude, loudness) in [(1.0, 0), (4.0, 0), (0.1, 20), (0.001, 60), (1e-9, 127), (0.0, 127)] {
            assert_eq!(audio_level(decibels(amplitude * amplitude)), loudness, "{amplitude}");
        }
        assert_eq!((audio_level(f64::NAN), volume(f64::NAN)), (0, 0));
    }

    #[test]
    fn a_volume_has_a_step_every_six_tenths_of_a_decibel() {
        for (decibels, expected) in [(0.0, 100), (3.0, 100), (-0.6, 99), (-30.0, 50), (-60.0, 0), (-127.0, 0)]
        {
            assert_eq!(volume(decibels), expected, "{decibels}");
        }
        assert_eq!(volume(f64::NEG_INFINITY), 0);
    }
}
