//! `rtp.unpack_opus`: takes Opus packets out of RTP, RFC 7587.
//!
//! Ports: `in` RTP with Opus → `out` Opus packets.
//!
//! Parameters: none.
//!
//! Latency: none.
//!
//! Method: the header is taken off. What the jitter buffer says of frames that
//! did not come passes on: a lost one carries the payload of its successor, if
//! that is there, for in-band FEC; silence is empty. A packet whose length its
//! sender did not say has it from its first bytes (RFC 6716 § 3.1). What is
//! damaged goes no further.
//!
//! ```toml
//! sidetone = 1
//! links = ["tone -> opus -> pack -> jitter -> unpack -> decode -> file"]
//! nodes.tone = { kind = "test.tone" }
//! nodes.opus = { kind = "codec.opus_encode" }
//! nodes.pack = { kind = "rtp.pack_opus" }
//! nodes.jitter = { kind = "rtp.jitter_buffer" }
//! nodes.unpack = { kind = "rtp.unpack_opus" }
//! nodes.decode = { kind = "codec.opus_decode" }
//! nodes.file = { kind = "file.wav_sink", path = "tone.wav" }
//! ```

use sidetone_core::registry::declared;
use sidetone_core::{
    Codec, Context, DropReason, Fault, FaultKind, Flags, Format, MediaType, Node, NodeSpec, Placement,
    PortSpec, Timestamp,
};

use crate::opus;
use crate::packet::Packet;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "rtp.unpack_opus",
    summary: "Takes Opus packets out of RTP.",
    sheet: sidetone_core::data_sheet!("unpack_opus.rs"),
    inputs: &[PortSpec::new("in", MediaType::rtp(Codec::Opus), "The RTP packets.")],
    outputs: &[PortSpec::new("out", MediaType::packets(Codec::Opus), "The packets in them.")],
    params: &[],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &declared,
    build: &|_| Ok(Box::new(UnpackOpus)),
};

struct UnpackOpus;

impl Node for UnpackOpus {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(mut frame) = cx.pop(0) {
            if !matches!(frame.format(), Format::Rtp { codec: Codec::Opus, .. }) {
                return Err(Fault::new(FaultKind::WrongFormat, "rtp.unpack_opus takes RTP with Opus"));
            }
            let mut header = std::mem::take(&mut frame.header);
            let stands_in = header.flags.has(Flags::LOST) || header.flags.has(Flags::SILENCE);
            let payload = Packet::parse(frame.bytes()).ok().map(|packet| packet.payload);
            let samples = payload.and_then(opus::samples);
            let payload = match (payload, samples) {
                (Some(payload), Some(samples)) => {
                    if header.duration.is_zero() {
                        let end = Timestamp::ZERO.after_units(u64::from(samples), 48_000);
                        header.duration = end.since(Timestamp::ZERO);
                    }
                    payload
                }
                // A loss with nothing, or nothing of use, after it stays a loss.
                _ if stands_in => &[],
                _ => {
                    cx.dropped(DropReason::Corrupt);
                    continue;
                }
            };
            let packet = cx.packet(0, Codec::Opus, payload, header);
            cx.push(0, packet);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use sidetone_core::harness::Harness;
    use std::time::Duration;

    fn rtp(payload: &[u8]) -> Vec<u8> {
        [&[0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3][..], payload].concat()
    }

    #[test]
    fn the_payload_comes_out_with_its_duration_and_trail() {
        let mut node = Harness::new(&SPEC, &[]);
        let mut frame = node.rtp(Codec::Opus, &rtp(&[0x79, 1, 2]));
        frame.header = node.header(Duration::ZERO);
        node.push(0, frame);
        node.run();
        let out = node.take(0);
        assert_eq!(out[0].bytes(), [0x79, 1, 2]);
        assert_eq!(out[0].header.duration, Duration::from_millis(40));
        assert!(matches!(out[0].format(), Format::Packet { codec: Codec::Opus, len: 3 }));
    }

    #[test]
    fn losses_pass_with_their_successor_and_silence_passes_empty() {
        let mut node = Harness::new(&SPEC, &[]);
        let cases = [(Flags::LOST, rtp(&[0x78, 7, 8])), (Flags::LOST, vec![]), (Flags::SILENCE, vec![])];
        for (flags, bytes) in &cases {
            let mut frame = node.rtp(Codec::Opus, bytes);
            frame.header.flags = *flags;
            frame.header.duration = Duration::from_millis(20);
            node.push(0, frame);
        }
        node.run();
        let out = node.take(0);
        let got: Vec<_> = out.iter().map(|frame| (frame.header.flags, frame.bytes())).collect();
        assert_eq!(got, [(Flags::LOST, &[0x78, 7, 8][..]), (Flags::LOST, &[]), (Flags::SILENCE, &[])]);
        assert!(out.iter().all(|frame| frame.header.duration == Duration::from_millis(20)));
    }

    #[test]
    fn whatever_comes_it_gives_opus_or_counts_it_as_corrupt() {
        let mut node = Harness::new(&SPEC, &[]);
        let mut rng = Rng::with_seed(9);
        for _ in 0..5_000 {
            let mut bytes = rtp(&[0x7b, 2, 3, 4]);
            for _ in 0..rng.usize(..5) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            node.push(0, node.rtp(Codec::Opus, &bytes));
        }
        node.run();
        let out = node.take(0);
        assert!(out.iter().all(|frame| opus::samples(frame.bytes()).is_some()));
        let corrupt = node.ledger().dropped[DropReason::Corrupt as usize].get();
        assert_eq!((out.len() as u64 + corrupt, node.fault()), (5_000, None));
        assert!(corrupt > 100);
    }
}
