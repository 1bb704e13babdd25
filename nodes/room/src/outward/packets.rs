//! Frames of RTP and the packets of a media connection, made of each other.

use std::time::{Duration, UNIX_EPOCH};

use sidetone_core::rtp::{ABS_CAPTURE_TIME_ID, AUDIO_LEVEL_ID, ntp_of, payload_type, timestamp_of};
use sidetone_core::timestamp::duration_nanos;
use sidetone_core::{Codec, Timestamp};
use str0m::rtp::ExtensionValues;

use crate::client::peer_connection::{Incoming, Outgoing};
use crate::rtp_header::RtpHeader;

/// The packet that a frame holds; none where it holds none.
pub(crate) fn outgoing(bytes: &[u8]) -> Option<Outgoing> {
    let header = RtpHeader::read(bytes)?;
    let mut rest = bytes.get(12 + 4 * usize::from(bytes[0] & 0x0f)..)?;
    if bytes[0] & 0x10 != 0 {
        let words = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
        rest = rest.get(4 + 4 * usize::from(words)..)?;
    }
    if bytes[0] & 0x20 != 0 {
        rest = rest.get(..rest.len().checked_sub(usize::from(*rest.last()?))?)?;
    }
    let abs_capture_time = header.captured_ntp.map(|ntp| str0m::rtp::AbsCaptureTime {
        capture_time: UNIX_EPOCH + Duration::from_nanos(timestamp_of(ntp).nanos()),
        clock_offset: None,
    });
    let ext = ExtensionValues {
        abs_capture_time,
        audio_level: header.loudness.map(|loudness| -loudness.min(127).cast_signed()),
        // str0m writes the level only beside this.
        voice_activity: header.loudness.map(|loudness| loudness < 127),
        ..ExtensionValues::default()
    };
    Some(Outgoing {
        layer: None,
        ssrc: header.ssrc.0,
        seq: u16::from_be_bytes([bytes[2], bytes[3]]),
        timestamp: header.timestamp,
        marker: header.marker,
        ext,
        payload: rest.into(),
    })
}

/// When a packet says that it was captured.
pub(crate) fn captured(incoming: &Incoming) -> Option<Timestamp> {
    let told = incoming.packet.header.ext_vals.abs_capture_time.as_ref()?;
    let since = told.capture_time.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_nanos(duration_nanos(since)))
}

/// Writes a packet that came as RTP with this crate's own payload types and extensions.
pub(crate) fn write(out: &mut Vec<u8>, incoming: &Incoming, codec: Codec) {
    let header = &incoming.packet.header;
    let (level, time) = (header.ext_vals.audio_level, captured(incoming));
    // RFC 8285 § 4.2: the one-byte form, filled up to words.
    let mut ext = Vec::with_capacity(12);
    if let Some(time) = time {
        ext.push(ABS_CAPTURE_TIME_ID << 4 | 7);
        ext.extend(ntp_of(time).to_be_bytes());
    }
    if let Some(level) = level {
        ext.extend([AUDIO_LEVEL_ID << 4, level.unsigned_abs().min(127)]);
    }
    ext.resize(ext.len().next_multiple_of(4), 0);
    out.clear();
    out.push(if ext.is_empty() { 0x80 } else { 0x90 });
    out.push(payload_type(codec) | u8::from(header.marker) << 7);
    // What follows another feed is another sender to whoever orders packets.
    let ssrc = (*header.ssrc).wrapping_add(incoming.feed);
    #[allow(clippy::cast_possible_truncation)] // RTP has the lower half
    let seq = *incoming.packet.seq_no as u16;
    out.extend(seq.to_be_bytes());
    out.extend(header.timestamp.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    if !ext.is_empty() {
        out.extend([0xbe, 0xde]);
        out.extend(u16::try_from(ext.len() / 4).unwrap_or_default().to_be_bytes());
        out.extend(&ext);
    }
    out.extend(&*incoming.packet.payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_becomes_a_packet_with_its_times_and_without_its_padding() {
        let mut bytes = vec![0xb0, 0x80 | 111, 1, 2, 0, 0, 0, 9, 0, 0, 0, 7, 0xbe, 0xde, 0, 3];
        let at = Timestamp::from_nanos(1_795_000_000_123_456_789);
        bytes.push(ABS_CAPTURE_TIME_ID << 4 | 7);
        bytes.extend(ntp_of(at).to_be_bytes());
        bytes.extend([AUDIO_LEVEL_ID << 4, 30, 0]);
        bytes.extend([5, 6, 0, 2]);
        let out = outgoing(&bytes).expect("a packet");
        assert_eq!((out.ssrc, out.seq, out.timestamp, out.marker), (7, 0x102, 9, true));
        assert_eq!((&*out.payload, out.ext.audio_level), (&[5, 6][..], Some(-30)));
        let told = out.ext.abs_capture_time.expect("a time").capture_time;
        assert_eq!(told.duration_since(UNIX_EPOCH).map(duration_nanos).expect("after 1970"), at.nanos());
        for length in 0..bytes.len() - 4 {
            // Of what is cut short some is a packet still; none of it panics.
            let _ = outgoing(&bytes[..length]);
        }
        assert!(outgoing(&bytes[..20]).is_none());
    }
}
