//! `Stamp`: the last bytes of every payload, by which receivers know whose it is and
//! when it was sent. Nobody decodes the payload; its head is as the codec has it.

use std::time::{Duration, SystemTime};

use crate::protocol::Kind;

const LEN: usize = 20;
const MARK: [u8; 4] = *b"load";
/// Bytes of the shortest payload: a head and the stamp.
pub(super) const LEAST: usize = LEN + 4;
/// RFC 6716 § 3.1: a frame of 20 ms, full band, one channel.
const OPUS_HEAD: u8 = 0xf8;
/// AV1 RTP payload format § 4.4: one element, and whether a coded sequence begins.
const AV1_HEAD: [u8; 2] = [0x10, 0x18];

/// Whose a packet is, and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When, in nanoseconds since 1970, as the system stamps what it receives.
    pub(super) sent: u64,
    /// The stream's number in the run.
    pub(super) stream: u32,
    /// The packet's number in the stream, from 0.
    pub(super) count: u32,
}

/// Whether a payload is of sound or of pictures.
pub(super) fn kind_of(payload: &[u8]) -> Kind {
    if payload.first() == Some(&OPUS_HEAD) { Kind::Audio } else { Kind::Video }
}

/// The time on the wall, in nanoseconds since 1970.
pub(super) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Stamp {
    /// A payload of `size` bytes, at least [`LEAST`].
    pub(super) fn payload(&self, kind: Kind, begins_key_frame: bool, size: usize) -> Vec<u8> {
        let mut bytes = vec![0x55; size.max(LEAST)];
        bytes[0] = match kind {
            Kind::Audio => OPUS_HEAD,
            Kind::Video => AV1_HEAD[usize::from(begins_key_frame)],
        };
        let at = bytes.len() - LEN;
        bytes[at..at + 4].copy_from_slice(&MARK);
        bytes[at + 4..at + 12].copy_from_slice(&self.sent.to_be_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&self.stream.to_be_bytes());
        bytes[at + 16..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// What a payload says, if it is one of these.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let rest = payload.last_chunk::<LEN>()?.strip_prefix(&MARK)?;
        let (sent, rest) = rest.split_first_chunk()?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (count, _) = rest.split_first_chunk()?;
        Some(Self {
            sent: u64::from_be_bytes(*sent),
            stream: u32::from_be_bytes(*stream),
            count: u32::from_be_bytes(*count),
        })
    }
}

#[cfg(test)]
mod tests {
    use str0m::format::detect_av1_keyframe;

    use super::*;

    #[test]
    fn what_is_stamped_is_read_and_heads_are_the_codecs() {
        let stamp = Stamp { sent: 1 << 60, stream: 7, count: u32::MAX };
        for (size, begins) in [(0, true), (LEAST, false), (1_150, true)] {
            let payload = stamp.payload(Kind::Video, begins, size);
            assert_eq!((payload.len(), Stamp::of(&payload)), (size.max(LEAST), Some(stamp)));
            assert_eq!((detect_av1_keyframe(&payload), kind_of(&payload)), (begins, Kind::Video));
            assert_eq!(Stamp::of(&payload[..payload.len() - 1]), None);
        }
        assert_eq!(kind_of(&stamp.payload(Kind::Audio, false, 80)), Kind::Audio);
        assert_eq!(Stamp::of(b"short"), None);
    }
}
