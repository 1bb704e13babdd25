//! `codec.av1_decode`: decodes AV1 packets to pictures.
//!
//! Ports: `in` AV1 packets, a temporal unit each → `out` raw video, I420 of the
//! size that the stream says, which may change at key frames. 10 and 12 bits
//! are rounded to 8, finer chroma is averaged, a missing one is grey; the
//! colours' matrix and range are passed on as they are. Up to 16384 pixels a
//! side and 35 million in all.
//!
//! Parameters: none.
//!
//! Latency: none; each packet gives its picture in the same call.
//!
//! Method: re_rav1d, or with the cargo feature `dav1d-c` the C library dav1d;
//! one thread, no frame delay. A packet that is damaged, or that stands after a
//! gap (`DISCONTINUITY`) or at the start and is no key frame, is counted as
//! corrupt and goes no further; a key frame is asked for upstream, again every
//! 300 ms while packets come and none is one. Pictures resume with the next key
//! frame, marked `DISCONTINUITY`. A packet counts as a key frame when it is
//! flagged so or holds a sequence header, AV1 specification § 7.5.
//!
//! ```toml
//! sidetone = 1
//! links = ["file -> decoder -> sheet"]
//! nodes.file = { kind = "file.ivf_source", path = "call.ivf" }
//! nodes.decoder = { kind = "codec.av1_decode" }
//! nodes.sheet = { kind = "file.contact_sheet_sink", path = "call.png" }
//! ```

use std::mem;
use std::time::Duration;

#[cfg(not(feature = "dav1d-c"))]
use re_rav1d as dav1d;

use dav1d::{Decoder, Picture, PixelLayout, PlanarImageComponent, Settings};
use sidetone_core::{
    Codec, Context, Control, DropReason, EventKind, Fault, FaultKind, Flags, Format, Frame, MediaType,
    Negotiated, Node, NodeError, NodeSpec, Placement, PlaneMut, PortSpec, Size, Timestamp, VideoFormat,
};

use crate::av1_settings::MAX_PIXELS;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "codec.av1_decode",
    summary: "Decodes AV1 packets to pictures.",
    sheet: sidetone_core::data_sheet!("av1_decode.rs"),
    inputs: &[PortSpec::new("in", MediaType::packets(Codec::Av1), "A temporal unit for each picture.")],
    outputs: &[PortSpec::new("out", MediaType::i420(None, None), "The pictures.")],
    params: &[],
    placement: Placement::Own,
    real_time: false,
    negotiate: &|_| Ok(Negotiated::new([MediaType::i420(None, None)])),
    build: &|_| Ok(Box::new(Av1Decode::new()?)),
};

/// How long to wait for the key frame that was asked for before asking again: a
/// round trip and the encoder's work.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// A temporal unit shows one picture; a few more are decoded and passed over, a
/// flood is damage.
const MOST_PICTURES: usize = 8;

struct Av1Decode {
    decoder: Decoder,
    /// What comes refers to what never came; only a key frame helps.
    needs_key: bool,
    asked: Option<Timestamp>,
}

/// The packet cannot be decoded.
struct Damaged;

impl Av1Decode {
    fn new() -> Result<Self, NodeError> {
        let mut settings = Settings::new();
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_frame_size_limit(MAX_PIXELS);
        // Of several spatial layers the best one only.
        settings.set_all_layers(false);
        let decoder = Decoder::with_settings(&settings)
            .map_err(|why| NodeError::Unavailable(format!("the AV1 decoder cannot be made: {why}")))?;
        Ok(Self { decoder, needs_key: true, asked: None })
    }

    fn decode(&mut self, packet: Frame) -> Result<Picture, Damaged> {
        if packet.bytes().is_empty() {
            return Err(Damaged);
        }
        let mut shown = None;
        let mut sent = self.decoder.send_data(Payload(packet), None, None, None);
        for _ in 0..=MOST_PICTURES {
            match self.decoder.get_picture() {
                Ok(picture) => {
                    shown = Some(picture);
                    continue;
                }
                Err(why) if why.is_again() => {}
                Err(_) => return Err(Damaged),
            }
            match sent {
                Ok(()) => return shown.filter(fits).ok_or(Damaged),
                Err(why) if why.is_again() => sent = self.decoder.send_pending_data(),
                Err(_) => return Err(Damaged),
            }
        }
        Err(Damaged)
    }

    /// Counts a packet as lost and sees to it that a key frame comes.
    fn lose(&mut self, cx: &mut Context<'_>) {
        cx.dropped(DropReason::Corrupt);
        self.needs_key = true;
        if self.asked.is_none_or(|asked| cx.now().since(asked) >= ASK_AGAIN) {
            self.asked = Some(cx.now());
            cx.request(0, &Control::KeyFrame);
            cx.emit(EventKind::KeyFrameRequested);
        }
    }
}

impl Node for Av1Decode {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(mut packet) = cx.pop(0) else { return Ok(()) };
        let Format::Packet { codec: Codec::Av1, .. } = packet.format() else {
            return Err(Fault::new(
                FaultKind::WrongFormat,
                "codec.av1_decode takes AV1 packets; put rtp.unpack_av1 before it if they come by RTP",
            ));
        };
        let mut header = mem::take(&mut packet.header);
        let key = header.flags.has(Flags::KEY) || has_sequence_header(packet.bytes());
        let broken = header.flags.has(Flags::DISCONTINUITY) || header.flags.has(Flags::LOST);
        if (self.needs_key || broken) && !key {
            self.lose(cx);
            return Ok(());
        }
        let Ok(picture) = self.decode(packet) else {
            self.decoder.flush();
            self.lose(cx);
            return Ok(());
        };
        let resumes = mem::take(&mut self.needs_key) && self.asked.take().is_some();
        header.flags = header.flags.without(Flags::KEY);
        if resumes {
            header.flags = header.flags.with(Flags::DISCONTINUITY);
        }
        let mut out = cx.video(0, VideoFormat::i420(size_of(&picture)), header);
        for (index, plane) in out.planes_mut().into_iter().enumerate() {
            copy(&picture, index, plane);
        }
        cx.push(0, out);
        Ok(())
    }
}

/// A packet's bytes in the decoder's hands, not copied.
struct Payload(Frame);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

fn size_of(picture: &Picture) -> Size {
    Size::new(picture.width(), picture.height())
}

fn fits(picture: &Picture) -> bool {
    let (width, height) = (picture.width(), picture.height());
    let sides = 1..=Size::MAX_SIDE;
    sides.contains(&width) && sides.contains(&height) && width * height <= MAX_PIXELS
}

/// Copies plane `index` of a picture, brought to 8 bits and 4:2:0.
fn copy(picture: &Picture, index: usize, mut to: PlaneMut<'_>) {
    // How many of the decoder's samples make one of ours, across and down.
    let (across, down) = match (index, picture.pixel_layout()) {
        (0, _) | (_, PixelLayout::I420) => (1, 1),
        (_, PixelLayout::I422) => (1, 2),
        (_, PixelLayout::I444) => (2, 2),
        (_, PixelLayout::I400) => {
            to.data.fill(128);
            return;
        }
    };
    let component = PlanarImageComponent::from(index);
    let (from, stride) = (picture.plane(component), picture.stride(component) as usize);
    let depth = picture.bit_depth();
    if (depth, across, down) == (8, 1, 1) {
        for (y, row) in from.chunks(stride).take(to.height).enumerate() {
            let to = to.row_mut(y);
            to.copy_from_slice(&row[..to.len()]);
        }
        return;
    }
    let luma = size_of(picture);
    let right = if across == 2 { luma.width as usize } else { to.width } - 1;
    let bottom = if down == 2 { luma.height as usize } else { to.height } - 1;
    let sample = |x: usize, y: usize| match depth {
        8 => u32::from(from[y * stride + x]),
        _ => u32::from(u16::from_ne_bytes([from[y * stride + 2 * x], from[y * stride + 2 * x + 1]])),
    };
    // Dividing by 2^shift averages the samples and brings them to 8 bits.
    let shift = depth - 8 + across / 2 + down / 2;
    for y in 0..to.height {
        for (x, out) in to.row_mut(y).iter_mut().enumerate() {
            let mut sum = (1 << shift) >> 1;
            for dy in 0..down {
                for dx in 0..across {
                    sum += sample((x * across + dx).min(right), (y * down + dy).min(bottom));
                }
            }
            *out = (sum >> shift).min(255) as u8;
        }
    }
}

/// Whether a temporal unit holds a sequence header OBU, as key frames do. AV1
/// specification § 5.3.2 for OBU headers, § 4.10.5 for leb128.
fn has_sequence_header(mut unit: &[u8]) -> bool {
    const SEQUENCE_HEADER: u8 = 1;
    while let Some((&first, rest)) = unit.split_first() {
        if (first >> 3) & 15 == SEQUENCE_HEADER {
            return true;
        }
        let (has_extension, has_size) = (first & 4 != 0, first & 2 != 0);
        let rest = rest.get(usize::from(has_extension)..).unwrap_or_default();
        if !has_size {
            return false;
        }
        let Some(length) = rest.iter().take(8).position(|byte| byte & 0x80 == 0).map(|last| last + 1) else {
            return false;
        };
        let size = (0..length).fold(0_u64, |size, at| size | u64::from(rest[at] & 0x7f) << (7 * at));
        let end = usize::try_from(size).ok().and_then(|size| size.checked_add(length));
        unit = end.and_then(|end| rest.get(end..)).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_header_is_found_behind_other_units_and_lengths_that_lie_end_the_search() {
        assert!(has_sequence_header(&[0x12, 0, 0x0a, 1, 0]));
        assert!(has_sequence_header(&[0x16, 0x08, 2, 9, 9, 0x0a, 1, 0]), "behind an extension");
        assert!(!has_sequence_header(&[0x12, 0, 0x32, 3, 1, 2, 3]));
        assert!(!has_sequence_header(&[0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x0a]));
        assert!(!has_sequence_header(&[0x30, 0x0a, 1, 0]), "no length: it is the last");
        assert!(!has_sequence_header(&[0x16]) && !has_sequence_header(&[]));
    }
}
