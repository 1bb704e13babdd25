//! `RtpHeader`: what a room needs to see of an RTP packet, RFC 3550 § 5.1.
//!
//! Read in place, without allocating; packets pass through whole.

use sidetone_core::rtp::{ABS_CAPTURE_TIME_ID, AUDIO_LEVEL_ID, Ssrc};

/// Bytes of the fixed part.
const FIXED: usize = 12;

/// What a room needs to see of an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Which codec.
    pub payload_type: u8,
    /// The last packet of a picture, or the first of a talk spurt.
    pub marker: bool,
    /// Media time in the codec's clock.
    pub timestamp: u32,
    /// Whose.
    pub ssrc: Ssrc,
    /// When it was captured, as a 64-bit NTP time, where the packet says.
    pub captured_ntp: Option<u64>,
    /// How loud its sound is, 0 to 127 dB below full scale, likewise.
    pub loudness: Option<u8>,
}

/// Whether a datagram that shares RTP's port is RTCP, RFC 5761 § 4. \[any\]
#[must_use]
pub fn is_rtcp(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|kind| (192..=223).contains(kind))
}

impl RtpHeader {
    /// Reads a packet's header; `None` if it is no RTP packet or its lengths
    /// do not hold. \[real-time\]
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut rest = bytes.get(FIXED + 4 * usize::from(fixed[0] & 0x0f)..)?;
        let (mut captured_ntp, mut loudness) = (None, None);
        if fixed[0] & 0x10 != 0 {
            let head: &[u8; 4] = rest.first_chunk()?;
            let length = 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
            let extensions = rest.get(4..4 + length)?;
            // RFC 8285 § 4.2: the one-byte form.
            if head[..2] == [0xbe, 0xde] {
                captured_ntp = extension(extensions, ABS_CAPTURE_TIME_ID)
                    .and_then(<[u8]>::first_chunk)
                    .map(|ntp| u64::from_be_bytes(*ntp));
                loudness = match extension(extensions, AUDIO_LEVEL_ID) {
                    Some([level]) => Some(level & 0x7f),
                    _ => None,
                };
            }
            rest = &rest[4 + length..];
        }
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            if padding == 0 || padding > rest.len() {
                return None;
            }
        }
        Some(Self {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            timestamp: word(fixed, 4),
            ssrc: Ssrc(word(fixed, 8)),
            captured_ntp,
            loudness,
        })
    }
}

/// The value of extension `wanted`.
fn extension(mut extensions: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [head, rest @ ..] = extensions {
        let (id, length) = (head >> 4, usize::from(head & 0x0f) + 1);
        extensions = match id {
            // RFC 8285 § 4.1.2: a zero byte is padding.
            0 => rest,
            // RFC 8285 § 4.2: stop at id 15.
            15 => return None,
            _ if id == wanted => return rest.get(..length),
            _ => rest.get(length..)?,
        };
    }
    None
}

fn word(bytes: &[u8; FIXED], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capture_time_is_found_behind_csrcs_and_other_extensions() {
        let mut packet = vec![0x91, 0x80 | 45, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4];
        packet.extend([0; 4]);
        packet.extend([0xbe, 0xde, 0, 4]);
        packet.extend([0x31, 7, 7, 0, 0x17, 1, 2, 3, 4, 5, 6, 7, 8, 0x20, 0x80 | 30, 0]);
        packet.push(0xff);
        let header = RtpHeader::read(&packet).unwrap();
        assert_eq!((header.captured_ntp, header.loudness), (Some(0x0102_0304_0506_0708), Some(30)));
        assert_eq!((header.payload_type, header.marker, header.ssrc), (45, true, Ssrc(0x0102_0304)));
        assert_eq!(header.timestamp, 9);
        for length in 0..32 {
            assert_eq!(RtpHeader::read(&packet[..length]), None, "cut to {length} bytes");
        }
    }

    #[test]
    fn padding_longer_than_the_packet_is_refused() {
        let packet = |padding| [0xa0, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, padding];
        assert!(RtpHeader::read(&packet(2)).is_some());
        assert!(RtpHeader::read(&packet(3)).is_none());
        assert!(RtpHeader::read(&packet(0)).is_none());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..rng.usize(0..60)).map(|_| rng.u8(..)).collect();
            if let Some(first) = bytes.first_mut().filter(|_| rng.bool()) {
                *first = 0x80 | *first & 0x3f;
            }
            let _ = (RtpHeader::read(&bytes), is_rtcp(&bytes));
        }
    }
}
