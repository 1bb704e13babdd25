//! The RTP packet, RFC 3550 § 5.1: a view of received bytes and a writer of
//! sent ones. Neither allocates, which is why they are not `rtc-rtp`'s: its
//! header keeps contributing sources and extensions in vectors, two or three
//! allocations a packet each way. It is their twin in the tests instead: each
//! reads what the other writes, alike.

use std::fmt;
use std::ops::Range;

use sidetone_core::Timestamp;
use sidetone_core::rtp::{ABS_CAPTURE_TIME_ID, AUDIO_LEVEL_ID, Ssrc, ntp_of, timestamp_of};

/// The bytes before the payload of a packet that we send: 12 of fixed header,
/// 4 that open the extension block (RFC 8285 § 4.2: 0xBEDE and its length in
/// words), 9 of abs-capture-time in its short form (1 of id and length, 8 of NTP
/// time), and 3 that the audio level of sound fits in, padding otherwise.
pub const HEADER_BYTES: usize = 28;

/// The profile of one-byte header extensions, RFC 8285 § 4.2.
const ONE_BYTE: u16 = 0xBEDE;
/// That of two-byte ones; the lower four bits are the application's, § 4.3.
const TWO_BYTE: u16 = 0x1000;
/// What is fainter than so many decibels below full scale is taken for no voice.
const FAINT: u8 = 50;

/// The fields of a packet's header that we use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Last packet of a picture, or first of a talk spurt.
    pub marker: bool,
    /// What the payload is, 0 to 127.
    pub payload_type: u8,
    /// Counts up by one a packet, modulo 2^16.
    pub sequence: u16,
    /// Media time in the codec's clock rate, modulo 2^32.
    pub timestamp: u32,
    /// Whose packet it is.
    pub ssrc: Ssrc,
    /// When its first sample was captured, if the sender says so.
    pub captured: Option<Timestamp>,
    /// How loud its sound is, 0 to 127 dB below full scale, likewise.
    pub loudness: Option<u8>,
}

/// A packet in received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fields of its header.
    pub header: Header,
    /// Its payload, without padding.
    pub payload: &'a [u8],
}

/// Why bytes are not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end before the header or its extension does.
    Short,
    /// The version is not 2.
    Version,
    /// An extension element runs past its block, or the padding past the
    /// payload.
    Length,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the RTP packet is cut short",
            Self::Version => "the RTP version is not 2",
            Self::Length => "a length in the RTP packet is wrong",
        })
    }
}

impl std::error::Error for Malformed {}

impl<'a> Packet<'a> {
    /// Reads any bytes. \[real-time\]
    ///
    /// # Errors
    /// If they are not an RTP packet.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = parse(bytes)?;
        Ok(Self { header, payload: &bytes[payload] })
    }
}

/// The fields of a packet and where in `bytes` its payload stands. \[real-time\]
///
/// # Errors
/// If the bytes are not an RTP packet.
pub fn parse(bytes: &[u8]) -> Result<(Header, Range<usize>), Malformed> {
    let [first, second, ..] = *bytes else { return Err(Malformed::Short) };
    if first >> 6 != 2 {
        return Err(Malformed::Version);
    }
    let mut header = Header {
        marker: second & 0x80 != 0,
        payload_type: second & 0x7f,
        sequence: u16_at(bytes, 2)?,
        timestamp: u32_at(bytes, 4)?,
        ssrc: Ssrc(u32_at(bytes, 8)?),
        captured: None,
        loudness: None,
    };
    let mut start = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let profile = u16_at(bytes, start)?;
        let length = 4 * usize::from(u16_at(bytes, start + 2)?);
        let block = bytes.get(start + 4..start + 4 + length).ok_or(Malformed::Short)?;
        read_extensions(profile, block, &mut header)?;
        start += 4 + length;
    }
    if start > bytes.len() {
        return Err(Malformed::Short);
    }
    let mut end = bytes.len();
    if first & 0x20 != 0 {
        // RFC 3550 § 5.1: the last octet counts the padding, itself included.
        let padding = usize::from(*bytes.last().ok_or(Malformed::Short)?);
        if padding == 0 || padding > end - start {
            return Err(Malformed::Length);
        }
        end -= padding;
    }
    Ok((header, start..end))
}

/// Writes the header of a packet that we send, [`HEADER_BYTES`] long; `None` if
/// `to` is shorter. \[real-time\]
#[must_use]
pub fn write_header(header: &Header, to: &mut [u8]) -> Option<usize> {
    let to = to.get_mut(..HEADER_BYTES)?;
    to[0] = 0x90; // version 2, no padding, an extension, no contributing source
    to[1] = u8::from(header.marker) << 7 | header.payload_type & 0x7f;
    to[2..4].copy_from_slice(&header.sequence.to_be_bytes());
    to[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    to[8..12].copy_from_slice(&header.ssrc.0.to_be_bytes());
    to[12..14].copy_from_slice(&ONE_BYTE.to_be_bytes());
    to[14..16].copy_from_slice(&3u16.to_be_bytes());
    to[16..28].fill(0);
    if let Some(captured) = header.captured {
        to[16] = ABS_CAPTURE_TIME_ID << 4 | 7; // length 8, written as one less
        to[17..25].copy_from_slice(&ntp_of(captured).to_be_bytes());
    }
    if let Some(loudness) = header.loudness {
        to[25] = AUDIO_LEVEL_ID << 4; // length 1
        // RFC 6464 § 3: the first bit says that there is a voice. Nobody has looked
        // for one: whatever is to be heard may be it.
        to[26] = u8::from(loudness < FAINT) << 7 | loudness & 0x7f;
    }
    Some(HEADER_BYTES)
}

/// Looks for the audio level, and for abs-capture-time in its short (8) or long form
/// (16 bytes, of which the clock offset is not used). RFC 8285 § 4.1: elements follow
/// one another, zero bytes between them are padding.
fn read_extensions(profile: u16, block: &[u8], header: &mut Header) -> Result<(), Malformed> {
    let two_byte = profile & 0xfff0 == TWO_BYTE;
    if profile != ONE_BYTE && !two_byte {
        return Ok(());
    }
    let mut rest = block;
    while let [first, tail @ ..] = rest {
        if *first == 0 {
            rest = tail;
            continue;
        }
        let (id, length, tail) = if two_byte {
            let [length, tail @ ..] = tail else { return Err(Malformed::Length) };
            (*first, usize::from(*length), tail)
        } else if *first >> 4 == 15 {
            // § 4.2: id 15 ends the reading of the block.
            break;
        } else {
            (*first >> 4, usize::from(*first & 0x0f) + 1, tail)
        };
        let value = tail.get(..length).ok_or(Malformed::Length)?;
        match (id, value) {
            (ABS_CAPTURE_TIME_ID, _) if length == 8 || length == 16 => {
                header.captured = value.first_chunk().map(|ntp| timestamp_of(u64::from_be_bytes(*ntp)));
            }
            (AUDIO_LEVEL_ID, [level]) => header.loudness = Some(level & 0x7f),
            _ => {}
        }
        rest = &tail[length..];
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    let value = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed::Short)?;
    Ok(u16::from_be_bytes(*value))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let value = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Malformed::Short)?;
    Ok(u32::from_be_bytes(*value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use fastrand::Rng;
    use rtc_shared::marshal::{Marshal, Unmarshal};

    /// A packet that `rtc-rtp` writes, with everything a header can have.
    fn theirs(rng: &mut Rng) -> rtc_rtp::Packet {
        let mut packet = rtc_rtp::Packet::default();
        let header = &mut packet.header;
        header.version = 2;
        header.marker = rng.bool();
        header.payload_type = rng.u8(..128);
        header.sequence_number = rng.u16(..);
        header.timestamp = rng.u32(..);
        header.ssrc = rng.u32(..);
        header.csrc = (0..rng.usize(..16)).map(|_| rng.u32(..)).collect();
        header.padding = rng.bool();
        for _ in 0..rng.usize(..4) {
            let length = [1, 8, rng.usize(1..=16)][rng.usize(..3)];
            let value: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
            header.set_extension(rng.u8(1..=14), Bytes::from(value)).unwrap();
        }
        packet.payload = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect::<Vec<_>>().into();
        packet
    }

    fn same(ours: &Packet<'_>, theirs: &rtc_rtp::Packet) {
        let header = &theirs.header;
        assert_eq!(
            (ours.header.marker, ours.header.payload_type, ours.header.sequence),
            (header.marker, header.payload_type, header.sequence_number)
        );
        assert_eq!((ours.header.timestamp, ours.header.ssrc.0), (header.timestamp, header.ssrc));
        assert_eq!(ours.payload, &theirs.payload[..]);
        let captured = header
            .get_extension(ABS_CAPTURE_TIME_ID)
            .filter(|value| matches!(value.len(), 8 | 16))
            .map(|value| timestamp_of(u64::from_be_bytes(*value.first_chunk().unwrap())));
        assert_eq!(ours.header.captured, captured);
        let level = header.get_extension(AUDIO_LEVEL_ID).filter(|value| value.len() == 1);
        assert_eq!(ours.header.loudness, level.map(|value| value[0] & 0x7f));
    }

    #[test]
    fn what_the_twin_writes_reads_alike() {
        let mut rng = Rng::with_seed(1);
        for _ in 0..20_000 {
            let packet = theirs(&mut rng);
            let bytes = packet.marshal().unwrap();
            same(&Packet::parse(&bytes).unwrap(), &packet);
        }
    }

    #[test]
    fn the_twin_reads_what_we_write_alike() {
        let mut rng = Rng::with_seed(2);
        for _ in 0..20_000 {
            let header = Header {
                marker: rng.bool(),
                payload_type: rng.u8(..128),
                sequence: rng.u16(..),
                timestamp: rng.u32(..),
                ssrc: Ssrc(rng.u32(..)),
                captured: Some(Timestamp::from_nanos(rng.u64(..1 << 60))),
                loudness: rng.bool().then(|| rng.u8(..128)),
            };
            let mut bytes = vec![0xff; HEADER_BYTES + rng.usize(..40)];
            assert_eq!(write_header(&header, &mut bytes), Some(HEADER_BYTES));
            let ours = Packet::parse(&bytes).unwrap();
            assert_eq!(ours.header, header);
            same(&ours, &rtc_rtp::Packet::unmarshal(&mut &bytes[..]).unwrap());
        }
        assert_eq!(write_header(&Header::default(), &mut [0; HEADER_BYTES - 1]), None);
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_it_takes_the_twin_takes() {
        let mut rng = Rng::with_seed(3);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..50_000 {
            let mut bytes = theirs(&mut rng).marshal().unwrap().to_vec();
            for _ in 0..rng.usize(..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            match Packet::parse(&bytes) {
                Ok(ours) => {
                    taken += 1;
                    // The twin leaves the block at id 15 without skipping the
                    // rest of it, and takes only 0x1000 of the sixteen two-byte
                    // profiles: those two are its errors.
                    let Ok(theirs) = rtc_rtp::Packet::unmarshal(&mut &bytes[..]) else { continue };
                    assert_eq!(ours.header.timestamp, theirs.header.timestamp);
                    assert!(theirs.payload.len() >= ours.payload.len());
                }
                Err(_) => refused += 1,
            }
        }
        assert!(taken > 1_000 && refused > 1_000, "{taken} taken, {refused} refused");
    }

    #[test]
    fn padding_that_lies_is_refused() {
        let mut bytes = [0; 16];
        bytes[0] = 0xa0;
        for (padding, payload) in
            [(1, Ok(3)), (4, Ok(0)), (0, Err(Malformed::Length)), (5, Err(Malformed::Length))]
        {
            bytes[15] = padding;
            assert_eq!(Packet::parse(&bytes).map(|packet| packet.payload.len()), payload);
        }
    }

    #[test]
    fn the_long_form_of_capture_time_is_read() {
        let at = Timestamp::from_nanos(1_795_000_000_123_456_789);
        let mut bytes = vec![0x90, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xbe, 0xde, 0, 5];
        bytes.push(ABS_CAPTURE_TIME_ID << 4 | 15);
        bytes.extend(ntp_of(at).to_be_bytes());
        bytes.extend([0; 11]);
        bytes.push(9);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.header.captured, packet.payload), (Some(at), &[9][..]));
    }
}
