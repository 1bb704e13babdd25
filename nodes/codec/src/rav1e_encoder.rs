//! rav1e's encoder as a live one: low latency, one key frame and then on
//! demand, headers handed back with their packets.
//!
//! rav1e holds back [`DELAY`] frames whatever its settings, and its bit rate is
//! fixed when it is made.

use std::mem;
use std::sync::Arc;

use rav1e::color::TransferCharacteristics;
use rav1e::color::{ChromaSampling, ColorDescription, ColorPrimaries, MatrixCoefficients, PixelRange};
use rav1e::config::{Config, EncoderConfig};
use rav1e::data::{EncoderStatus, FrameParameters, FrameType, Rational};
use rav1e::prelude::{FrameTypeOverride, Opaque, SceneDetectionSpeed};
use sidetone_core::{Frame, Header};

use crate::av1_settings::{Refused, Settings};

/// Frames taken before the first packet comes, beside the one it is of.
pub(crate) const DELAY: u32 = 4;

/// The least width and height.
pub(crate) const MIN_SIDE: u32 = 16;

/// One temporal unit, with the header of the picture it shows.
pub(crate) struct Packet {
    pub(crate) header: Header,
    pub(crate) data: Vec<u8>,
    pub(crate) key: bool,
}

/// An encoder for pictures of one size.
pub(crate) struct Encoder {
    context: Box<rav1e::Context<u8>>,
}

impl Encoder {
    /// An encoder. \[control\]
    pub(crate) fn new(settings: &Settings) -> Result<Self, Refused> {
        let mut config = EncoderConfig::with_speed_preset(settings.speed);
        config.width = settings.size.width as usize;
        config.height = settings.size.height as usize;
        // A thousandth of a frame per second is fine enough to pace bits.
        config.time_base = Rational::new(1_000, (settings.fps * 1_000.0) as u64);
        config.chroma_sampling = ChromaSampling::Cs420;
        config.pixel_range = PixelRange::Limited;
        config.color_description = Some(ColorDescription {
            color_primaries: ColorPrimaries::BT601,
            transfer_characteristics: TransferCharacteristics::BT601,
            matrix_coefficients: MatrixCoefficients::BT601,
        });
        config.low_latency = true;
        config.set_key_frame_interval(0, 0);
        config.speed_settings.scene_detection_mode = SceneDetectionSpeed::None;
        config.speed_settings.rdo_lookahead_frames = 1;
        config.bitrate = i32::try_from(settings.bitrate_kbps.saturating_mul(1_000)).unwrap_or(i32::MAX);
        // With a bit rate, `quantizer` is the worst that rate control may use.
        config.quantizer = settings.max_q.map_or(255, |q| usize::from(q) * 4);
        config.min_quantizer = settings.min_q.unwrap_or(0) * 4;
        // The least: how many frames rate control plans ahead.
        config.reservoir_frame_delay = Some(12);
        config.tiles = settings.threads.into();
        let config = Config::new().with_encoder_config(config).with_threads(settings.threads.into());
        let context = config
            .new_context()
            .map_err(|_| Refused("rav1e refused its settings; it takes pictures from 16x16 pixels"))?;
        Ok(Self { context: Box::new(context) })
    }

    /// Hands in a picture and keeps its header for the packet. The picture's
    /// size must be the encoder's.
    pub(crate) fn send(&mut self, picture: &mut Frame, key: bool) -> Result<(), Refused> {
        let mut copy = self.context.new_frame();
        for (index, to) in copy.planes.iter_mut().enumerate() {
            let (from, stride) = (picture.plane(index), to.cfg.stride);
            for (y, row) in to.data_origin_mut().chunks_mut(stride).take(from.height).enumerate() {
                row[..from.width].copy_from_slice(from.row(y));
            }
        }
        let parameters = FrameParameters {
            frame_type_override: if key { FrameTypeOverride::Key } else { FrameTypeOverride::No },
            opaque: Some(Opaque::new(mem::take(&mut picture.header))),
            t35_metadata: Box::default(),
        };
        self.context
            .send_frame((Arc::new(copy), parameters))
            .map_err(|_| Refused("rav1e takes no more pictures; start the graph anew"))
    }

    /// Says that no more pictures come: the held ones come out.
    pub(crate) fn flush(&mut self) {
        self.context.flush();
    }

    /// The next packet that is ready.
    pub(crate) fn receive(&mut self) -> Result<Option<Packet>, Refused> {
        loop {
            match self.context.receive_packet() {
                Ok(packet) => {
                    let header = packet.opaque.and_then(|kept| kept.downcast::<Header>().ok());
                    return Ok(Some(Packet {
                        header: header.map(|kept| *kept).unwrap_or_default(),
                        data: packet.data,
                        key: packet.frame_type == FrameType::KEY,
                    }));
                }
                Err(EncoderStatus::Encoded) => {}
                Err(EncoderStatus::NeedMoreData | EncoderStatus::LimitReached) => return Ok(None),
                Err(_) => return Err(Refused("rav1e failed to encode a picture")),
            }
        }
    }
}
