//! `Sender`: numbers the packets of one RTP stream and writes their headers.

use std::time::Duration;

use fastrand::Rng;
use sidetone_core::rtp::{Ssrc, payload_type};
use sidetone_core::{Codec, Context, EventKind, Figure, Frame, ParamSpec, Setup, Timestamp, Value};

use crate::packet::{HEADER_BYTES, Header, write_header};

/// The parameter that names the stream.
pub(crate) const SSRC: ParamSpec =
    ParamSpec::int("ssrc", 0, 0, 0xffff_ffff, "The synchronisation source, if it must be a known one.")
        .optional();

/// The parameter that says what the payload is.
pub(crate) const fn payload_type_param(codec: Codec) -> ParamSpec {
    ParamSpec::int("payload_type", payload_type(codec) as i64, 0, 127, "The RTP payload type.")
}

/// The sending end of one stream.
pub(crate) struct Sender {
    codec: Codec,
    ssrc: Ssrc,
    payload_type: u8,
    sequence: u16,
    offset: u32,
    /// Bytes of all packets, headers included.
    bytes: u64,
    /// When the first sound or picture in them was captured, and where the last
    /// ends.
    span: Option<(Timestamp, Timestamp)>,
    /// When their rate is told next.
    tell_at: Timestamp,
}

/// How much is sent between two words on its rate.
const TELL_EVERY: Duration = Duration::from_secs(1);

impl Sender {
    /// A stream as `setup` says. Its first sequence number and the offset of
    /// its timestamps are random, RFC 3550 § 5.1. \[control\]
    pub(crate) fn new(codec: Codec, setup: &Setup<'_>) -> Self {
        let mut rng = Rng::with_seed(setup.seed);
        let (random, sequence, offset) = (rng.u32(..), rng.u16(..), rng.u32(..));
        let ssrc = match setup.params.get("ssrc") {
            Some(Value::Int(given)) => u32::try_from(*given).unwrap_or(random),
            _ => random,
        };
        let payload_type = u8::try_from(setup.params.int("payload_type")).unwrap_or(payload_type(codec));
        Self {
            codec,
            ssrc: Ssrc(ssrc),
            payload_type,
            sequence,
            offset,
            bytes: 0,
            span: None,
            tell_at: Timestamp::ZERO,
        }
    }

    /// A packet through output 0 whose payload, at most `room` bytes, `fill`
    /// writes; it gives how many it wrote. \[real-time\]
    pub(crate) fn packet(
        &mut self,
        cx: &mut Context<'_>,
        header: sidetone_core::Header,
        marker: bool,
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Frame {
        let rtp = Header {
            marker,
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.offset.wrapping_add(units(header.pts, self.codec.clock_rate())),
            ssrc: self.ssrc,
            captured: Some(header.captured),
            loudness: header.loudness,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let captured = header.captured;
        let end = captured + header.duration;
        let mut frame = cx.rtp(0, self.codec, HEADER_BYTES + room, header);
        let storage = frame.storage_mut();
        let start = write_header(&rtp, storage).unwrap_or(0);
        let written = fill(&mut storage[start..start + room]);
        frame.set_len(start + written);
        self.bytes += (start + written) as u64;
        let (first, last) = self.span.unwrap_or_else(|| {
            self.tell_at = captured + TELL_EVERY;
            (captured, end)
        });
        self.span = Some((first, last.max(end)));
        if captured >= self.tell_at {
            self.tell_at = captured + TELL_EVERY;
            self.tell_rate(cx);
        }
        frame
    }

    /// Tells how many kilobits a second of media took so far. \[real-time\]
    pub(crate) fn tell_rate(&self, cx: &mut Context<'_>) {
        let Some((first, last)) = self.span else { return };
        let seconds = last.since(first).as_secs_f64();
        if seconds > 0.0 {
            let value = self.bytes as f64 * 8.0 / 1000.0 / seconds;
            cx.emit(EventKind::Figure(Figure { name: "kbps", unit: "kbit/s", value }));
        }
    }
}

/// `at` in units of a clock of `rate` Hz, to the nearest, modulo 2^32.
pub(crate) fn units(at: Timestamp, rate: u32) -> u32 {
    let units = (u128::from(at.nanos()) * u128::from(rate) + 500_000_000) / 1_000_000_000;
    #[allow(clippy::cast_possible_truncation)] // RTP timestamps wrap
    let wrapped = units as u32;
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_thirds_of_a_second_do_not_drift() {
        for frame in [1u64, 2, 3, 1_000, 30 * 86_400] {
            let at = Timestamp::ZERO.after_units(frame, 30);
            assert_eq!(u64::from(units(at, 90_000)), frame * 3_000 % (1 << 32));
        }
    }
}
