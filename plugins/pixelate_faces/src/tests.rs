//! The effect's tests, run by the kit's harness.

use sidetone_plugin::harness::{Bytes, Harness, Picture, faces};

use crate::PixelateFaces;

const MIDDLE: [f32; 4] = [0.25, 0.25, 0.5, 0.5];

fn hiding(block_px: f64) -> Harness<PixelateFaces> {
    Harness::setup().number("block_px", block_px).number("margin", 0.0).start().unwrap()
}

#[test]
fn a_face_becomes_blocks_and_all_else_stays() {
    let picture = Picture::pattern(128, 64);
    let mut hiding = hiding(16.0);
    hiding.give("landmarks", faces(&[MIDDLE]));
    let seen = hiding.picture(&picture);
    for (x, y) in (0..128).flat_map(|x| (0..64).map(move |y| (x, y))) {
        if (32..96).contains(&x) && (16..48).contains(&y) {
            assert_eq!(seen.at(x, y), seen.at(x / 16 * 16, y / 16 * 16), "{x} {y}");
        } else {
            assert_eq!(seen.at(x, y), picture.at(x, y), "{x} {y}");
        }
    }
    assert_ne!(seen.at(32, 16), seen.at(48, 16));
    assert_eq!(hiding.figures()["faces"], 1.0);
}

#[test]
fn faces_partly_or_wholly_outside_are_no_harm_at_any_size() {
    let outside =
        [[-0.5, -0.5, 1.0, 1.0], [0.9, 0.9, 5.0, 1e30], [7.0, 7.0, 1.0, 1.0], [0.5, 0.5, -1.0, -1.0]];
    for (width, height) in [(1, 1), (3, 2), (35, 21)] {
        for block in [1.0, 7.0, 256.0] {
            let mut hiding = hiding(block);
            hiding.give("landmarks", faces(&outside));
            hiding.set("margin", 1.0);
            let seen = hiding.picture(&Picture::pattern(width, height));
            assert_eq!((seen.width, seen.height), (width, height));
        }
    }
}

#[test]
fn faces_stay_hidden_for_a_while_when_news_are_missing() {
    let picture = Picture::pattern(64, 64);
    let mut hiding = hiding(16.0);
    hiding.give("landmarks", faces(&[MIDDLE]));
    let hidden = hiding.picture(&picture);
    hiding.take_away("landmarks");
    hiding.set_now_ns(500_000_000);
    assert_eq!(hiding.picture(&picture), hidden);
    hiding.set_now_ns(500_000_001);
    assert_eq!(hiding.picture(&picture), picture);
    assert_eq!(hiding.figures()["faces"], 0.0);
}

#[test]
fn the_same_news_do_not_keep_a_face_hidden() {
    let picture = Picture::pattern(64, 64);
    let mut hiding = hiding(16.0);
    hiding.give("landmarks", faces(&[MIDDLE]));
    assert_ne!(hiding.picture(&picture), picture);
    hiding.set_now_ns(2_000_000_000);
    assert_eq!(hiding.picture(&picture), picture);
}

#[test]
fn damaged_news_are_an_error_and_none_at_all_are_fine() {
    let picture = Picture::pattern(20, 20);
    let mut hiding = hiding(16.0);
    assert_eq!(hiding.picture(&picture), picture);
    hiding.give("landmarks", Bytes::data("sidetone.face_landmarks/1", &[1, 2, 3]));
    assert_eq!(hiding.process(picture).unwrap_err().to_string(), "data is damaged");
}

#[test]
fn blocks_of_no_size_change_nothing() {
    let picture = Picture::pattern(20, 20);
    let mut hiding = hiding(0.0);
    hiding.give("landmarks", faces(&[MIDDLE]));
    assert_eq!(hiding.picture(&picture), picture);
}
