//! The effect's tests, run by the kit's harness.

use sidetone_plugin::harness::{Harness, Picture};

use crate::Vignette;

const WHITE: [u8; 3] = [235, 128, 128];

fn with_strength(strength: f64) -> Harness<Vignette> {
    Harness::setup().number("strength", strength).start().unwrap()
}

#[test]
fn corners_are_dark_and_the_middle_is_as_it_was() {
    let seen = with_strength(1.0).picture(&Picture::filled(641, 361, WHITE));
    assert_eq!(seen.at(320, 180), WHITE);
    assert!(seen.at(0, 0)[0] < 20 && seen.at(640, 360)[0] < 20, "{:?}", seen.at(0, 0));
    assert!(seen.at(0, 180)[0] > seen.at(0, 90)[0]);
}

#[test]
fn left_is_as_dark_as_right_at_any_size() {
    for (width, height) in [(1, 1), (2, 3), (33, 17), (64, 48)] {
        let seen = with_strength(0.8).picture(&Picture::filled(width, height, [180, 90, 160]));
        for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
            assert_eq!(seen.at(x, y)[0], seen.at(width - 1 - x, y)[0], "{x} {y} of {width}x{height}");
            assert_eq!(seen.at(x, y)[0], seen.at(x, height - 1 - y)[0], "{x} {y} of {width}x{height}");
        }
    }
}

#[test]
fn no_strength_changes_nothing_and_a_new_strength_counts_at_once() {
    let picture = Picture::pattern(35, 27);
    let mut vignette = with_strength(0.0);
    assert_eq!(vignette.picture(&picture), picture);
    vignette.set("strength", 1.0);
    assert_ne!(vignette.picture(&picture), picture);
}
