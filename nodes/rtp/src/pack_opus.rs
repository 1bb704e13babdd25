//! `rtp.pack_opus`: puts Opus packets into RTP, RFC 7587.
//!
//! Ports: `in` Opus packets → `out` RTP, one packet for each.
//!
//! Parameters: `ssrc`, 0 to 4294967295, default drawn from the graph's seed;
//! `payload_type`, 0 to 127, default 111.
//!
//! Latency: none.
//!
//! Method: timestamps count `pts` in 48 kHz (RFC 7587 § 4.1), from a random
//! offset, as sequence numbers do (RFC 3550 § 5.1). Every packet tells when its
//! sound was captured, by the abs-capture-time extension in its short form: 8
//! bytes of NTP time, 12 with their header and padding, and 4 that open the
//! extension block; and how loud it is, where the encoder says so, by that of RFC
//! 6464, which fits in the padding. Of silence (empty packets, or those of at most two bytes,
//! which say that nothing follows) the first is sent and the rest is not; the
//! receiver sees by the timestamps how long it was. The first packet after it
//! has the marker bit (RFC 3551 § 4.1). Once a second and at the end the figure
//! `kbps` tells the packets' rate so far, headers included, over the time of the
//! sound in them.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> pack -> unpack -> decode -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode" }
//! nodes.pack = { kind = "rtp.pack_opus" }
//! nodes.unpack = { kind = "rtp.unpack_opus" }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.file = { kind = "file.wav_sink", path = "tone.wav" }
//! ```

use sidetone_core::registry::declared;
use sidetone_core::{
    Codec, Context, DropReason, Fault, FaultKind, Finish, Flags, Format, MediaType, Node, NodeSpec,
    Placement, PortSpec,
};

use crate::opus;
use crate::packet::HEADER_BYTES;
use crate::sender::{SSRC, Sender, payload_type_param};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "rtp.pack_opus",
    summary: "Puts Opus packets into RTP.",
    sheet: sidetone_core::data_sheet!("pack_opus.rs"),
    inputs: &[PortSpec::new("in", MediaType::packets(Codec::Opus), "The packets.")],
    outputs: &[PortSpec::new("out", MediaType::rtp(Codec::Opus), "The same in RTP.")],
    params: &[SSRC, payload_type_param(Codec::Opus)],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &declared,
    build: &|setup| {
        Ok(Box::new(PackOpus { sender: Sender::new(Codec::Opus, &setup), is_silent: false, toc: None }))
    },
};

/// More than any sender puts in one datagram.
const MOST_BYTES: usize = 65_000 - HEADER_BYTES;

struct PackOpus {
    sender: Sender,
    is_silent: bool,
    /// The first byte of the packet before, with its count set to one frame.
    toc: Option<u8>,
}

impl Node for PackOpus {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(mut frame) = cx.pop(0) {
            if !matches!(frame.format(), Format::Packet { codec: Codec::Opus, .. }) {
                return Err(Fault::new(FaultKind::WrongFormat, "rtp.pack_opus takes Opus packets"));
            }
            if frame.bytes().len() > MOST_BYTES {
                cx.dropped(DropReason::Corrupt);
                continue;
            }
            let mut header = std::mem::take(&mut frame.header);
            let began_silent = self.is_silent;
            self.is_silent = header.flags.has(Flags::SILENCE) || opus::is_silence(frame.bytes());
            if self.is_silent && began_silent {
                continue;
            }
            let marker = !self.is_silent && (began_silent || header.flags.has(Flags::MARKER));
            let silence = self.toc.map(|toc| [toc]);
            let payload = match (frame.bytes(), &silence) {
                // Nothing was encoded: a frame of length 0 says so (RFC 6716 §
                // 3.2.1), once it is known of which configuration.
                ([], Some(silence)) => &silence[..],
                ([], None) => continue,
                (payload, _) => payload,
            };
            self.toc = payload.first().map(|toc| toc & !3);
            let flags = header.flags.without(Flags::SILENCE.with(Flags::MARKER));
            header.flags = if marker { flags.with(Flags::MARKER) } else { flags };
            let packet = self.sender.packet(cx, header, marker, payload.len(), |to| {
                to.copy_from_slice(payload);
                payload.len()
            });
            cx.push(0, packet);
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.sender.tell_rate(cx);
        Ok(Finish::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use sidetone_core::EventKind;
    use sidetone_core::harness::Harness;
    use std::time::Duration;

    /// One 20 ms frame after another; an empty payload is flagged as silence.
    fn packed(payloads: &[&[u8]]) -> Vec<sidetone_core::Frame> {
        let mut node = Harness::new(&SPEC, &[]);
        for payload in payloads {
            let mut frame = node.packet(Codec::Opus, payload);
            if payload.is_empty() {
                frame.header.flags = Flags::SILENCE;
            }
            node.push(0, frame);
            node.advance(Duration::from_millis(20));
        }
        node.take(0)
    }

    #[test]
    fn timestamps_count_48_kilohertz_and_sequence_numbers_packets() {
        let out = packed(&[&[0x78, 1, 2, 3][..]; 4]);
        let headers: Vec<_> = out.iter().map(|frame| Packet::parse(frame.bytes()).unwrap().header).collect();
        for pair in headers.windows(2) {
            assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 960);
            assert_eq!(pair[1].sequence.wrapping_sub(pair[0].sequence), 1);
            assert_eq!(pair[1].ssrc, pair[0].ssrc);
        }
        assert_eq!(headers[0].payload_type, 111);
        for (frame, header) in out.iter().zip(&headers) {
            assert_eq!(header.captured, Some(frame.header.captured));
            assert_eq!(Packet::parse(frame.bytes()).unwrap().payload, [0x78, 1, 2, 3]);
        }
        assert_ne!((headers[0].sequence, headers[0].timestamp), (0, 48_000));
    }

    #[test]
    fn the_rate_is_told_once_a_second_and_at_the_end() {
        let mut node = Harness::new(&SPEC, &[]);
        let mut bytes = 0;
        for _ in 0..125 {
            let mut frame = node.packet(Codec::Opus, &[0x78; 80]);
            frame.header.duration = Duration::from_millis(20);
            node.push(0, frame);
            node.advance(Duration::from_millis(20));
            bytes += node.take(0)[0].bytes().len();
        }
        node.end(0);
        node.run();
        let told = node.events().into_iter().filter_map(|event| match event {
            EventKind::Figure(figure) => Some((figure.name, figure.unit, figure.value)),
            _ => None,
        });
        // 2.5 s, so twice and at the end.
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 3);
        assert_eq!(told[2], ("kbps", "kbit/s", bytes as f64 * 8.0 / 1000.0 / 2.5));
    }

    #[test]
    fn silence_is_told_once_and_the_marker_follows_it() {
        let speech: &[u8] = &[0x7b, 1, 2, 3];
        let out = packed(&[speech, speech, &[], &[], &[], speech, speech]);
        let got: Vec<_> = out
            .iter()
            .map(|frame| {
                let packet = Packet::parse(frame.bytes()).unwrap();
                (packet.payload.len(), packet.header.marker)
            })
            .collect();
        assert_eq!(got, [(4, false), (4, false), (1, false), (4, true), (4, false)]);
        let silence = Packet::parse(out[2].bytes()).unwrap();
        assert_eq!(silence.payload, [0x78]);
        let ahead = |to: usize| {
            Packet::parse(out[to].bytes()).unwrap().header.timestamp.wrapping_sub(silence.header.timestamp)
        };
        assert_eq!(ahead(3), 3 * 960);
    }

    #[test]
    fn a_given_source_identifier_is_kept_and_others_are_refused() {
        let mut node = Harness::new(&SPEC, &[("ssrc", 0xdead_beefi64.into()), ("payload_type", 96.into())]);
        node.push(0, node.packet(Codec::Opus, &[0x78, 1, 2]));
        node.push(0, node.packet(Codec::Av1, &[0x78, 1, 2]));
        node.run();
        let out = node.take(0);
        let header = Packet::parse(out[0].bytes()).unwrap().header;
        assert_eq!((header.ssrc.0, header.payload_type), (0xdead_beef, 96));
        assert_eq!(node.fault().unwrap().kind, FaultKind::WrongFormat);
    }
}
