//! What the nodes that speak RTP must agree on: ids, payload types, times.

use crate::Timestamp;
use crate::media_type::Codec;

/// A synchronisation source, RFC 3550 § 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssrc(pub u32);

/// The local id of the abs-capture-time header extension (one-byte form, RFC
/// 8285 § 4.2) where nothing was negotiated:
/// <http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time>.
pub const ABS_CAPTURE_TIME_ID: u8 = 1;

/// The local id of the audio level header extension, RFC 6464, likewise.
pub const AUDIO_LEVEL_ID: u8 = 2;

/// The payload type of `codec` where nothing was negotiated; those that
/// Chromium offers. \[any\]
#[must_use]
pub const fn payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::Opus => 111,
        Codec::Av1 => 45,
    }
}

/// The codec of payload type `number` where nothing was negotiated. \[any\]
#[must_use]
pub const fn codec_of(number: u8) -> Option<Codec> {
    match number {
        111 => Some(Codec::Opus),
        45 => Some(Codec::Av1),
        _ => None,
    }
}

/// Seconds from the NTP epoch (1900) to the Unix epoch, RFC 5905 § 6.
const NTP_UNIX_SECONDS: u64 = 2_208_988_800;

/// As a 64-bit NTP time, 32 bits of fraction. \[any\]
#[must_use]
pub fn ntp_of(at: Timestamp) -> u64 {
    let (seconds, nanos) = (at.nanos() / 1_000_000_000, at.nanos() % 1_000_000_000);
    let fraction = (nanos << 32).div_ceil(1_000_000_000);
    (seconds.wrapping_add(NTP_UNIX_SECONDS) << 32).wrapping_add(fraction)
}

/// From a 64-bit NTP time; times before 1970 read as the epoch. \[any\]
#[must_use]
pub fn timestamp_of(ntp: u64) -> Timestamp {
    let seconds = (ntp >> 32).saturating_sub(NTP_UNIX_SECONDS);
    let nanos = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    Timestamp::from_nanos(seconds * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_time_survives_the_trip_to_the_nanosecond() {
        for nanos in [0, 1, 999_999_999, 1_000_000_000, 1_795_000_000_123_456_789] {
            let at = Timestamp::from_nanos(nanos);
            assert_eq!(timestamp_of(ntp_of(at)), at);
        }
    }
}
