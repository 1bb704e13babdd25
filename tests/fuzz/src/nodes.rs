//! Nodes by their kinds, and what they make of frames: the writers of seeds.

use std::sync::LazyLock;
use std::time::Duration;

use sidetone::harness::Harness;
use sidetone::{AudioFormat, Format, Frame, Header, Registry, Size, VIRTUAL_START, Value, VideoFormat};

/// Every kind.
pub(crate) static REGISTRY: LazyLock<Registry> = LazyLock::new(sidetone::registry);

/// A node of `kind` in a harness.
pub(crate) fn node(kind: &str, params: &[(&str, Value)]) -> Harness {
    Harness::new(REGISTRY.get(kind).unwrap_or_else(|| panic!("there is no kind {kind}")), params)
}

/// A node of `kind` that was given `frames`, each at its time, and has ended.
pub(crate) fn fed(kind: &str, params: &[(&str, Value)], frames: Vec<Frame>) -> Harness {
    let mut node = node(kind, params);
    for frame in frames {
        node.advance(frame.header.captured.since(node.now()));
        node.push(0, frame);
    }
    node.end(0);
    node.run();
    assert!(node.has_ended() && node.fault().is_none(), "{kind}: {:?}", node.fault());
    node
}

/// A tone of `millis`, in mono frames of 20 ms.
pub(crate) fn tone(millis: u64) -> Vec<Frame> {
    let audio = AudioFormat { rate: 48_000, channels: 1, samples: 960 };
    (0..millis / 20)
        .map(|index| {
            let mut frame = Frame::unpooled(header(20 * index), Format::Audio(audio));
            for (at, sample) in frame.channel_mut(0).iter_mut().enumerate() {
                *sample = 0.3 * (at as f32 * 0.1).sin();
            }
            frame
        })
        .collect()
}

/// `count` small pictures, in which a bar moves.
pub(crate) fn pictures(count: u64) -> Vec<Frame> {
    let video = VideoFormat::i420(Size::new(48, 32));
    (0..count)
        .map(|index| {
            let mut frame = Frame::unpooled(header(33 * index), Format::Video(video));
            for plane in frame.planes_mut() {
                for (at, sample) in plane.data.iter_mut().enumerate() {
                    *sample = if at as u64 % 16 < 4 + index { 200 } else { (at % 64) as u8 };
                }
            }
            frame
        })
        .collect()
}

/// The bytes of packets.
pub(crate) fn bytes(frames: &[Frame]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.bytes().to_vec()).collect()
}

fn header(millis: u64) -> Header {
    Header::new(VIRTUAL_START + Duration::from_millis(millis), Duration::ZERO)
}
