//! Decoders, through their nodes.

use sidetone::harness::Harness;
use sidetone::{Codec, DropReason, Frame, Size, Value};

use crate::Target;
use crate::nodes::{bytes, fed, node, pictures, tone};
use crate::script::{Step, script, steps};

/// A script of Opus packets.
pub(crate) const OPUS_DECODE: Target = Target {
    name: "opus_decode",
    run: |bytes| {
        let mut node = node("codec.opus_decode", &[("channels", Value::Int(2))]);
        for step in steps(bytes) {
            for sound in decoded(&mut node, Codec::Opus, &step) {
                let audio = sound.audio().unwrap_or_else(|| panic!("{sound:?} is no sound"));
                // RFC 6716 § 3.4: a packet holds 120 ms at most.
                assert!(audio.samples <= 5_760, "{audio:?}");
                assert!((0..2).all(|channel| sound.channel(channel).iter().all(|sample| sample.is_finite())));
            }
        }
        was_whole(&node)
    },
    seeds: || vec![script(20, &bytes(&opus_packets(20.0))), script(60, &bytes(&opus_packets(60.0)))],
    words: &[],
    most_mib: 4,
};

/// A script of AV1 temporal units.
pub(crate) const AV1_DECODE: Target = Target {
    name: "av1_decode",
    run: |bytes| {
        let mut node = node("codec.av1_decode", &[]);
        for step in steps(bytes) {
            for picture in decoded(&mut node, Codec::Av1, &step) {
                let video = picture.video().unwrap_or_else(|| panic!("{picture:?} is no picture"));
                let sides = 1..=Size::MAX_SIDE;
                assert!(sides.contains(&video.size.width) && sides.contains(&video.size.height), "{video:?}");
            }
        }
        was_whole(&node)
    },
    seeds: || vec![script(33, &bytes(&av1_units()))],
    words: &[],
    most_mib: 256,
};

/// What the decoder makes of a step.
fn decoded(node: &mut Harness, codec: Codec, step: &Step<'_>) -> Vec<Frame> {
    node.advance(step.wait);
    let mut packet = node.packet(codec, step.bytes);
    packet.header.flags = step.flags;
    packet.header.duration = step.wait;
    node.push(0, packet);
    node.run();
    let out = node.take(0);
    assert!(out.len() <= 1, "{} frames came of one packet", out.len());
    out
}

/// Whether no packet was damaged. A fault would end the call.
fn was_whole(node: &Harness) -> bool {
    assert_eq!(node.fault(), None);
    node.ledger().dropped[DropReason::Corrupt as usize].get() == 0
}

/// Opus packets of a tone, `frame_ms` long each.
pub(crate) fn opus_packets(frame_ms: f64) -> Vec<Frame> {
    fed("codec.opus_encode", &[("frame_ms", frame_ms.into())], tone(240)).take(0)
}

/// AV1 temporal units of small pictures, the first of them a key frame.
pub(crate) fn av1_units() -> Vec<Frame> {
    fed("codec.av1_encode", &[], pictures(6)).take(0)
}
