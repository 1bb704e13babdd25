//! `MediaType`: what a port carries, as far as it is known before running.
//!
//! Every field that a graph may leave open is an `Option`: `None` means "not
//! fixed here". Two types agree when no field that both fix differs.

use serde::Serialize;
use std::fmt;

/// Audio or video: which budget and which columns of the report a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Medium {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
        })
    }
}

/// A codec whose packets a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus, RFC 6716.
    Opus,
    /// AV1 bitstream, low-overhead format, one temporal unit a packet.
    Av1,
}

impl Codec {
    /// Audio or video.
    #[must_use]
    pub const fn medium(self) -> Medium {
        match self {
            Self::Opus => Medium::Audio,
            Self::Av1 => Medium::Video,
        }
    }

    /// The RTP clock rate in Hz: RFC 7587 § 4.1 for Opus; AV1 RTP § 4.1.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Av1 => 90_000,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opus => "Opus",
            Self::Av1 => "AV1",
        })
    }
}

/// How the samples of a picture lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 8-bit Y, Cb, Cr planes, chroma halved both ways (rounded up), BT.601
    /// limited range.
    I420,
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I420 => f.write_str("I420"),
        }
    }
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Columns, 1 to 16,384.
    pub width: u32,
    /// Rows, 1 to 16,384.
    pub height: u32,
}

impl Size {
    /// The largest width or height that any node takes.
    pub const MAX_SIDE: u32 = 16_384;

    /// A size. \[any\]
    #[must_use]
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Frames per second as a fraction, so that 30000/1001 stays exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameRate {
    /// Frames …
    pub num: u32,
    /// … in this many seconds; at least 1.
    pub den: u32,
}

impl FrameRate {
    /// `num` frames in `den` seconds; a zero is read as one. \[any\]
    #[must_use]
    pub const fn new(num: u32, den: u32) -> Self {
        Self { num: if num == 0 { 1 } else { num }, den: if den == 0 { 1 } else { den } }
    }

    /// Frames per second. \[any\]
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// How long after the first frame the frame numbered `index` begins, in
    /// nanoseconds, without accumulated rounding. \[any\]
    #[must_use]
    pub fn offset_nanos(self, index: u64) -> u64 {
        let nanos = u128::from(index) * u128::from(self.den) * 1_000_000_000 / u128::from(self.num);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den == 1 { write!(f, "{} fps", self.num) } else { write!(f, "{}/{} fps", self.num, self.den) }
    }
}

/// What a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// Raw sound: planar 32-bit float, nominal range −1 to 1.
    Audio {
        /// Samples per second.
        rate: Option<u32>,
        /// Channels, 1 to 8.
        channels: Option<u16>,
        /// Samples per channel in one frame.
        samples: Option<u32>,
    },
    /// Raw pictures.
    Video {
        /// Layout in memory.
        format: Option<PixelFormat>,
        /// Width and height.
        size: Option<Size>,
        /// Nominal rate; a sender may skip frames.
        fps: Option<FrameRate>,
    },
    /// Packets of a codec, one frame or temporal unit each.
    Packets {
        /// Which codec.
        codec: Option<Codec>,
    },
    /// Whole RTP packets, RFC 3550 § 5.1.
    Rtp {
        /// Which codec's payload.
        codec: Option<Codec>,
    },
    /// Events.
    Events,
    /// Data of a named shape, such as `sidetone.mask/1`.
    Data(&'static str),
    /// Whatever comes, or what a file holds that is not opened yet. It becomes
    /// what it is linked to.
    Any,
}

impl MediaType {
    /// Any raw sound.
    pub const AUDIO: Self = Self::Audio { rate: None, channels: None, samples: None };
    /// Any raw picture.
    pub const VIDEO: Self = Self::Video { format: None, size: None, fps: None };
    /// Packets of any codec.
    pub const PACKETS: Self = Self::Packets { codec: None };
    /// RTP of any payload.
    pub const RTP: Self = Self::Rtp { codec: None };

    /// Packets of `codec`. \[any\]
    #[must_use]
    pub const fn packets(codec: Codec) -> Self {
        Self::Packets { codec: Some(codec) }
    }

    /// RTP packets that carry `codec`. \[any\]
    #[must_use]
    pub const fn rtp(codec: Codec) -> Self {
        Self::Rtp { codec: Some(codec) }
    }

    /// I420 pictures of a known size and rate. \[any\]
    #[must_use]
    pub const fn i420(size: Option<Size>, fps: Option<FrameRate>) -> Self {
        Self::Video { format: Some(PixelFormat::I420), size, fps }
    }

    /// Whether both are of one family (raw audio, raw video, packets, RTP,
    /// events, the same data), whatever their details; what carries anything is
    /// of every family. \[any\]
    #[must_use]
    pub fn same_family(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Data(a), Self::Data(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// The type that satisfies both, or `None` if a field that both fix
    /// differs. \[any\]
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        Some(match (*self, *other) {
            (Self::Any, known) | (known, Self::Any) => known,
            (Self::Audio { rate: r, channels: c, samples: s }, Self::Audio { rate, channels, samples }) => {
                Self::Audio {
                    rate: field(r, rate)?,
                    channels: field(c, channels)?,
                    samples: field(s, samples)?,
                }
            }
            (Self::Video { format: f, size: s, fps: r }, Self::Video { format, size, fps }) => {
                Self::Video { format: field(f, format)?, size: field(s, size)?, fps: field(r, fps)? }
            }
            (Self::Packets { codec: a }, Self::Packets { codec }) => {
                Self::Packets { codec: field(a, codec)? }
            }
            (Self::Rtp { codec: a }, Self::Rtp { codec }) => Self::Rtp { codec: field(a, codec)? },
            (Self::Events, Self::Events) => Self::Events,
            (Self::Data(a), Self::Data(b)) if a == b => Self::Data(a),
            _ => return None,
        })
    }

    /// Audio or video, where the type says so. \[any\]
    #[must_use]
    pub fn medium(&self) -> Option<Medium> {
        match self {
            Self::Audio { .. } => Some(Medium::Audio),
            Self::Video { .. } => Some(Medium::Video),
            Self::Packets { codec } | Self::Rtp { codec } => codec.map(Codec::medium),
            Self::Events | Self::Data(_) | Self::Any => None,
        }
    }

    /// The family's name with its article, as messages use it: "a raw video". \[any\]
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self {
            Self::Audio { .. } => "a raw audio",
            Self::Video { .. } => "a raw video",
            Self::Packets { .. } => "a packet",
            Self::Rtp { .. } => "an RTP",
            Self::Events => "an event",
            Self::Data(_) => "a data",
            Self::Any => "an untyped",
        }
    }
}

fn field<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (Some(a), Some(b)) => (a == b).then_some(Some(a)),
        (a, b) => Some(a.or(b)),
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Audio { rate, channels, samples } => {
                f.write_str("raw audio")?;
                if let Some(rate) = rate {
                    write!(f, ", {rate} Hz")?;
                }
                match channels {
                    Some(1) => f.write_str(", mono")?,
                    Some(2) => f.write_str(", stereo")?,
                    Some(n) => write!(f, ", {n} channels")?,
                    None => {}
                }
                if let Some(samples) = samples {
                    write!(f, ", {samples} samples a frame")?;
                }
                Ok(())
            }
            Self::Video { format, size, fps } => {
                f.write_str("raw video")?;
                if let Some(format) = format {
                    write!(f, ", {format}")?;
                }
                if let Some(size) = size {
                    write!(f, ", {size}")?;
                }
                if let Some(fps) = fps {
                    write!(f, " at {fps}")?;
                }
                Ok(())
            }
            Self::Packets { codec: Some(codec) } => write!(f, "{codec} packets"),
            Self::Packets { codec: None } => f.write_str("packets of any codec"),
            Self::Rtp { codec: Some(codec) } => write!(f, "RTP packets of {codec}"),
            Self::Rtp { codec: None } => f.write_str("RTP packets"),
            Self::Events => f.write_str("events"),
            Self::Data(name) => write!(f, "data of {name}"),
            Self::Any => f.write_str("anything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_fields_take_the_other_sides_value() {
        let a = MediaType::Audio { rate: Some(48_000), channels: None, samples: None };
        let b = MediaType::Audio { rate: None, channels: Some(1), samples: None };
        assert_eq!(
            a.meet(&b),
            Some(MediaType::Audio { rate: Some(48_000), channels: Some(1), samples: None })
        );
    }

    #[test]
    fn fields_that_differ_do_not_meet() {
        assert_eq!(MediaType::rtp(Codec::Opus).meet(&MediaType::rtp(Codec::Av1)), None);
        assert_eq!(MediaType::AUDIO.meet(&MediaType::VIDEO), None);
    }

    #[test]
    fn what_carries_anything_becomes_what_it_meets() {
        for media in [MediaType::AUDIO, MediaType::rtp(Codec::Opus), MediaType::Events, MediaType::Any] {
            assert_eq!(
                (MediaType::Any.meet(&media), media.meet(&MediaType::Any)),
                (Some(media), Some(media))
            );
            assert!(MediaType::Any.same_family(&media) && media.same_family(&MediaType::Any));
        }
    }

    #[test]
    fn ntsc_frame_times_stay_exact() {
        let ntsc = FrameRate::new(30_000, 1_001);
        assert_eq!(ntsc.offset_nanos(30_000), 1_001_000_000_000);
    }
}
