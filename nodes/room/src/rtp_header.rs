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
    /// Counts packets.
    pub sequence: u16,
    /// Media time in the codec's clock.
    pub timestamp: u32,
    /// Whose.
    pub ssrc: Ssrc,
    /// When it was captured, as a 64-bit NTP time, where the packet says.
    pub captured_ntp: Option<u64>,
    /// How loud its sound is, 0 to 127 dB below full scale, likewise.
    pub loudness: Option<u8>,
    /// Where the payload begins in the packet, and how long it is, without padding.
    pub payload: (usize, usize),
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
        let begins = bytes.len() - rest.len();
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            if padding == 0 || padding > rest.len() {
                return None;
            }
            rest = &rest[..rest.len() - padding];
        }
        Some(Self {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: word(fixed, 4),
            ssrc: Ssrc(word(fixed, 8)),
            captured_ntp,
            loudness,
            payload: (begins, rest.len()),
        })
    }
}

/// Writes the header of a packet that carries these two extensions, where it has them, in
/// the one-byte form, RFC 8285 § 4.2. The padding bit is never set.
pub fn write(out: &mut Vec<u8>, header: &RtpHeader) {
    let mut extensions = Vec::with_capacity(12);
    if let Some(ntp) = header.captured_ntp {
        extensions.push(ABS_CAPTURE_TIME_ID << 4 | 7);
        extensions.extend(ntp.to_be_bytes());
    }
    if let Some(loudness) = header.loudness {
        extensions.extend([AUDIO_LEVEL_ID << 4, loudness & 0x7f]);
    }
    extensions.resize(extensions.len().next_multiple_of(4), 0);
    let has_extensions = !extensions.is_empty();
    out.push(0x80 | u8::from(has_extensions) << 4);
    out.push(header.payload_type & 0x7f | u8::from(header.marker) << 7);
    out.extend(header.sequence.to_be_bytes());
    out.extend(header.timestamp.to_be_bytes());
    out.extend(header.ssrc.0.to_be_bytes());
    if has_extensions {
        out.extend([0xbe, 0xde, 0]);
        #[allow(clippy::cast_possible_truncation)] // at most 12 bytes
        out.push((extensions.len() / 4) as u8);
        out.extend(extensions);
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
        assert_eq!((header.timestamp, header.sequence, header.payload), (9, 1, (36, 1)));
        for length in 0..32 {
            assert_eq!(RtpHeader::read(&packet[..length]), None, "cut to {length} bytes");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let header = RtpHeader {
            payload_type: 111,
            marker: true,
            sequence: 65_535,
            timestamp: 0x0102_0304,
            ssrc: Ssrc(9),
            captured_ntp: None,
            loudness: None,
            payload: (12, 2),
        };
        for (captured_ntp, loudness, begins) in
            [(None, None, 12), (Some(7), None, 28), (None, Some(127), 20), (Some(u64::MAX), Some(0), 28)]
        {
            let header = RtpHeader { captured_ntp, loudness, payload: (begins, 2), ..header };
            let mut bytes = Vec::new();
            write(&mut bytes, &header);
            bytes.extend([1, 2]);
            assert_eq!(RtpHeader::read(&bytes), Some(header));
        }
    }

    #[test]
    fn padding_longer_than_the_packet_is_refused() {
        let packet = |padding| [0xa0, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, padding];
        assert_eq!(RtpHeader::read(&packet(2)).unwrap().payload, (12, 0));
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
