//! Frames of RTP and the packets of a media connection, made of each other; and what a
//! frame that came from elsewhere is given.

use std::time::{Duration, SystemTime};

use sidetone_core::rtp::{Ssrc, ntp_of, payload_type, timestamp_of};
use sidetone_core::{Codec, Context, Flags, Frame, Timestamp};
use str0m::rtp::{AbsCaptureTime, ExtensionValues};

use crate::client::peer_connection::{Incoming, Outgoing};
use crate::rtp_header::{self, RtpHeader};

/// A capture time further from now than this is not believed.
const CAPTURE_SANITY: Duration = Duration::from_secs(10);

/// The packet that a frame holds; none where it holds none.
pub(crate) fn outgoing(bytes: &[u8]) -> Option<Outgoing> {
    let header = RtpHeader::read(bytes)?;
    let (begins, length) = header.payload;
    let captured = header.captured_ntp.map(|ntp| {
        let since = Duration::from_nanos(timestamp_of(ntp).nanos());
        AbsCaptureTime { capture_time: SystemTime::UNIX_EPOCH + since, clock_offset: None }
    });
    Some(Outgoing {
        layer: None,
        ssrc: header.ssrc.0,
        seq: header.sequence,
        timestamp: header.timestamp,
        marker: header.marker,
        ext: ExtensionValues {
            abs_capture_time: captured,
            audio_level: header.loudness.map(|loudness| -loudness.cast_signed()),
            // str0m writes the level only beside this.
            voice_activity: header.loudness.map(|loudness| loudness < 127),
            ..ExtensionValues::default()
        },
        payload: bytes.get(begins..begins + length)?.into(),
    })
}

/// Writes a packet that came as RTP with this crate's own payload types and extensions.
pub(crate) fn write(out: &mut Vec<u8>, incoming: &Incoming, codec: Codec) -> RtpHeader {
    let (packet, about) = (&incoming.packet, &incoming.packet.header);
    let captured = about.ext_vals.abs_capture_time.as_ref();
    let captured =
        captured.and_then(|captured| captured.capture_time.duration_since(SystemTime::UNIX_EPOCH).ok());
    #[allow(clippy::cast_possible_truncation)] // RTP carries the lower half
    let header = RtpHeader {
        payload_type: payload_type(codec),
        marker: about.marker,
        sequence: *packet.seq_no as u16,
        timestamp: about.timestamp,
        // Each feed is a source of its own: its numbers go on without a gap.
        ssrc: Ssrc(incoming.feed),
        captured_ntp: captured.map(|captured| ntp_of(Timestamp::ZERO + captured)),
        loudness: about.ext_vals.audio_level.map(|level| level.unsigned_abs().min(127)),
        payload: (0, packet.payload.len()),
    };
    out.clear();
    rtp_header::write(out, &header);
    out.extend_from_slice(&packet.payload);
    header
}

/// Makes a frame that came from elsewhere one of this run, `count` being how many came
/// before of its stream. \[real-time\]
pub(crate) fn enter(cx: &mut Context<'_>, frame: &mut Frame, header: &RtpHeader, count: &mut u64) {
    let (now, told) = (cx.now(), header.captured_ntp.map(timestamp_of));
    let sane = told.filter(|at| at.since(now).max(now.since(*at)) <= CAPTURE_SANITY);
    // Another machine's clock may run ahead of ours.
    frame.header = cx.born(sane.map_or(now, |at| at.min(now)), Duration::ZERO);
    frame.header.sequence = *count;
    if header.marker {
        frame.header.flags = frame.header.flags.with(Flags::MARKER);
    }
    *count += 1;
}

#[cfg(test)]
mod tests {
    use sidetone_core::rtp::{ABS_CAPTURE_TIME_ID, AUDIO_LEVEL_ID};
    use sidetone_core::timestamp::duration_nanos;

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
        assert_eq!(
            told.duration_since(SystemTime::UNIX_EPOCH).map(duration_nanos).expect("after 1970"),
            at.nanos()
        );
        for length in 0..bytes.len() - 4 {
            // Of what is cut short some is a packet still; none of it panics.
            let _ = outgoing(&bytes[..length]);
        }
        assert!(outgoing(&bytes[..20]).is_none());
    }
}
