//! The effect's tests, run by the kit's harness.

use sidetone_plugin::harness::{Harness, Sound};

use crate::RobotVoice;

const RATE: u32 = 48_000;

fn robot(frequency_hz: f64, mix: f64) -> Harness<RobotVoice> {
    Harness::setup().number("frequency_hz", frequency_hz).number("mix", mix).start().unwrap()
}

/// The strength of a tone in a second of sound, 1 for full scale.
fn strength(samples: &[f32], frequency_hz: f64) -> f64 {
    let turn = std::f64::consts::TAU * frequency_hz / f64::from(RATE);
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        sine += f64::from(*sample) * (turn * at as f64).sin();
        cosine += f64::from(*sample) * (turn * at as f64).cos();
    }
    2.0 * sine.hypot(cosine) / samples.len() as f64
}

#[test]
fn a_tone_becomes_two_above_and_below() {
    let heard = robot(100.0, 1.0).sound(&Sound::sine(RATE, 1, RATE as usize, 440.0));
    let tone = |frequency_hz| strength(&heard.channels[0], frequency_hz);
    assert!((tone(340.0) - 0.25).abs() < 1e-3, "{}", tone(340.0));
    assert!((tone(540.0) - 0.25).abs() < 1e-3, "{}", tone(540.0));
    assert!(tone(440.0) < 1e-3, "{}", tone(440.0));
}

#[test]
fn frames_of_any_length_give_what_one_long_frame_gives() {
    let voice = Sound::sine(RATE, 2, 4000, 440.0);
    let whole = robot(70.0, 0.8).sound(&voice);
    let mut robot = robot(70.0, 0.8);
    let mut from = 0;
    for length in [1, 480, 7, 0, 960, 2552] {
        let part = robot.sound(&voice.part(from, from + length));
        assert_eq!(part, whole.part(from, from + length));
        from += length;
    }
    assert_eq!(from, 4000);
}

#[test]
fn a_change_while_running_is_no_click() {
    let constant = Sound { rate: RATE, channels: vec![vec![0.5; 480]] };
    let mut robot = robot(20.0, 0.0);
    let mut last = robot.sound(&constant).channels[0][479];
    robot.set("mix", 1.0);
    robot.set("frequency_hz", 500.0);
    for _ in 0..5 {
        for &sample in &robot.sound(&constant).channels[0] {
            // The wave at 500 Hz moves by 0.065 a sample.
            assert!((sample - last).abs() < 0.04, "{last} then {sample}");
            last = sample;
        }
    }
}

#[test]
fn the_phase_goes_on_where_it_was_saved() {
    let voice = Sound::sine(RATE, 1, 333, 440.0);
    let mut first = robot(70.0, 1.0);
    first.sound(&voice);
    let mut second = robot(70.0, 1.0);
    second.load(&first.save().unwrap()).unwrap();
    assert_eq!(second.sound(&voice), first.sound(&voice));
}

#[test]
fn a_damaged_state_is_refused_and_changes_nothing() {
    let voice = Sound::sine(RATE, 1, 333, 440.0);
    let mut damaged = robot(70.0, 1.0);
    let state = damaged.save().unwrap();
    for cut in 0..state.len() {
        assert!(damaged.load(&state[..cut]).is_err(), "{cut} bytes");
    }
    assert_eq!(damaged.sound(&voice), robot(70.0, 1.0).sound(&voice));
}

#[test]
fn with_everything_at_zero_sound_passes_unchanged() {
    let voice = Sound::sine(RATE, 3, 441, 440.0);
    assert_eq!(robot(0.0, 0.0).sound(&voice), voice);
}
