//! What inputs are given: sizes, and pictures, sound, packets and data that are the
//! same for the same seed.

use sidetone_plugin_abi as abi;

use super::test_frame::{Layout, Shape, TestFrame};
use crate::manifest::{Kind, Port};

/// Sizes of pictures, odd and small ones among them.
const SIZES: &[(u32, u32)] =
    &[(640, 360), (1, 1), (2, 2), (3, 5), (16, 16), (127, 65), (1281, 721), (65, 127)];
/// Samples per second.
const RATES: &[u32] = &[8_000, 16_000, 44_100, 48_000, 96_000];
/// Samples in a frame.
const LENGTHS: &[u32] = &[480, 1, 80, 441, 1_024];

/// What an input usually gets.
pub(crate) fn usual(port: &Port) -> Shape {
    match port.media.as_str() {
        "video" => Shape::Video { width: 127, height: 65 },
        "audio" => {
            let rate = if port.rate > 0 { port.rate } else { 48_000 };
            let channels = if port.channels > 0 { port.channels } else { 2 };
            Shape::Audio { rate, channels, samples: rate / 100 }
        }
        _ => bytes(port, data_length(port)),
    }
}

/// All that an input may get, one after another.
pub(crate) fn range(port: &Port) -> Vec<Shape> {
    match port.media.as_str() {
        "video" => SIZES.iter().map(|&(width, height)| Shape::Video { width, height }).collect(),
        "audio" => {
            let fits = |fixed: u32, it: u32| fixed == 0 || fixed == it;
            let mut rates: Vec<u32> = RATES.iter().copied().filter(|rate| fits(port.rate, *rate)).collect();
            if rates.is_empty() {
                rates.push(port.rate);
            }
            let mut all = Vec::new();
            for rate in rates {
                for channels in (1..=8).filter(|channels| fits(port.channels, *channels)) {
                    all.extend(LENGTHS.iter().map(|&samples| Shape::Audio { rate, channels, samples }));
                }
            }
            all
        }
        _ => vec![usual(port)],
    }
}

/// Bytes of a packet or of data.
pub(crate) fn bytes(port: &Port, length: u32) -> Shape {
    let (media, format) = match (port.media.as_str(), port.format.as_str()) {
        ("packet", "av1") => (abi::SIDETONE_MEDIA_PACKET, abi::SIDETONE_FORMAT_AV1),
        ("packet", _) => (abi::SIDETONE_MEDIA_PACKET, abi::SIDETONE_FORMAT_OPUS),
        _ => (abi::SIDETONE_MEDIA_DATA, 0),
    };
    Shape::Bytes { media, format, length }
}

/// Whether frames of this input can be made that are not damaged: the contents of
/// packets and of data of unknown shapes are not known here.
pub(crate) fn is_known(port: &Port) -> bool {
    matches!(port.media.as_str(), "video" | "audio")
        || [abi::SIDETONE_SHAPE_FACE_LANDMARKS, abi::SIDETONE_SHAPE_MASK].contains(&port.shape.as_str())
}

/// The frames of call `number` for all inputs of a kind, the first of them of the
/// shape `first`, as long as all before it together.
pub(crate) fn inputs(
    kind: &Kind,
    first: &Shape,
    number: u64,
    seed: u64,
    layout: Layout,
) -> Vec<Option<Box<TestFrame>>> {
    let each = kind.inputs.iter().enumerate().map(|(index, port)| {
        let shape = match (index, port.media == kind.inputs[0].media) {
            (0, _) | (_, true) if fits(port, first) => first.clone(),
            _ => usual(port),
        };
        let content = content(port, &shape, number, seed);
        Some(frame(port, &shape, &content, number, layout))
    });
    each.collect()
}

fn fits(port: &Port, shape: &Shape) -> bool {
    match shape {
        Shape::Audio { rate, channels, .. } => [(port.rate, rate), (port.channels, channels)]
            .iter()
            .all(|(fixed, it)| *fixed == 0 || fixed == *it),
        _ => true,
    }
}

/// A frame for an input.
pub(crate) fn frame(
    port: &Port,
    shape: &Shape,
    content: &[u8],
    number: u64,
    layout: Layout,
) -> Box<TestFrame> {
    let mut made = TestFrame::new(shape, layout, &port.shape, &format!("input \"{}\"", port.name));
    made.fill(content);
    made.stamp(number, 1_000_000_000 + number * shape.duration());
    made
}

/// Samples of a frame: pictures with edges and noise that move, sound of a few
/// tones and noise, landmarks and masks that are valid, and random bytes.
pub(crate) fn content(port: &Port, shape: &Shape, number: u64, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    match *shape {
        Shape::Video { width, height } => {
            let mut all = Vec::new();
            for (plane, (width, height)) in [
                (width, height),
                (width.div_ceil(2), height.div_ceil(2)),
                (width.div_ceil(2), height.div_ceil(2)),
            ]
            .into_iter()
            .enumerate()
            {
                for y in 0..u64::from(height) {
                    for x in 0..u64::from(width) {
                        let wave = (x * 3 + y * (5 + plane as u64) + number * 7) % 180;
                        all.push(16 + wave as u8 + random.u8(..40));
                    }
                }
            }
            all
        }
        Shape::Audio { rate, channels, samples } => {
            let mut all = Vec::new();
            for channel in 0..channels {
                for at in 0..u64::from(samples) {
                    let time = (number * u64::from(samples) + at) as f32 / rate as f32;
                    let tone = (time * (220.0 + 110.0 * channel as f32) * std::f32::consts::TAU).sin();
                    let sample = 0.3 * tone + 0.1 * (random.f32() - 0.5);
                    all.extend_from_slice(&sample.to_ne_bytes());
                }
            }
            all
        }
        Shape::Bytes { length, .. } => {
            let mut all = match port.shape.as_str() {
                abi::SIDETONE_SHAPE_FACE_LANDMARKS => landmarks(&mut random),
                abi::SIDETONE_SHAPE_MASK => mask(number),
                _ => std::iter::repeat_with(|| random.u8(..)).take(length as usize).collect(),
            };
            all.resize(length as usize, 0);
            all
        }
    }
}

fn data_length(port: &Port) -> u32 {
    match port.shape.as_str() {
        abi::SIDETONE_SHAPE_FACE_LANDMARKS => landmarks(&mut fastrand::Rng::with_seed(0)).len() as u32,
        abi::SIDETONE_SHAPE_MASK => mask(0).len() as u32,
        _ => 100,
    }
}

/// One face of five points that moves about a little.
fn landmarks(random: &mut fastrand::Rng) -> Vec<u8> {
    let face = size_of::<abi::Face>() as u32 + 5 * 8;
    let head = size_of::<abi::FaceLandmarks>() as u32;
    let mut all: Vec<u8> = [head, 5, 1, face, head].iter().flat_map(|word| word.to_le_bytes()).collect();
    let (left, top) = (0.2 + 0.2 * random.f32(), 0.2 + 0.2 * random.f32());
    let points = [0.1, 0.1, 0.3, 0.1, 0.2, 0.2, 0.1, 0.3, 0.3, 0.3];
    let numbers = [0.9, left, top, 0.4, 0.4].into_iter();
    let points = points.iter().enumerate().map(|(at, it)| it + if at % 2 == 0 { left } else { top });
    all.extend(numbers.chain(points).flat_map(f32::to_le_bytes));
    all
}

/// A mask with a block in front that moves.
fn mask(number: u64) -> Vec<u8> {
    let head = size_of::<abi::Mask>() as u32;
    let mut all: Vec<u8> = [head, 16, 9, 16, head].iter().flat_map(|word| word.to_le_bytes()).collect();
    all.extend((0..16 * 9_u64).map(|at| if (at + number) % 16 < 8 { 255 } else { 0 }));
    all
}
