//! `rtp.unpack_av1`: puts AV1 temporal units together from RTP packets.
//!
//! Ports: `in` RTP with AV1, in order → `out` AV1 packets, a temporal unit each.
//!
//! Parameters: none.
//!
//! Latency: none; a unit goes out with its last packet, or, where that lacks the
//! marker bit, with the first of the next (§ 4.2).
//!
//! Method: "RTP Payload Format For AV1 (v1.0)". OBUs get their sizes back, and
//! units a temporal delimiter; those that begin a coded video sequence are
//! flagged as key frames. A unit of which a packet is missing, or that is
//! damaged or larger than 8 MiB, is dropped; the next is flagged as a
//! discontinuity and a key frame asked for upstream. Without a jitter buffer
//! before it, packets out of order count as missing.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> av1 -> pack -> jitter -> unpack -> file"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.av1 = { kind = "codec.av1_encode" }
//! nodes.pack = { kind = "rtp.pack_av1" }
//! nodes.jitter = { kind = "rtp.jitter_buffer" }
//! nodes.unpack = { kind = "rtp.unpack_av1" }
//! nodes.file = { kind = "file.ivf_sink", path = "scene.ivf" }
//! ```

use sidetone_core::registry::declared;
use sidetone_core::{
    Codec, Context, Control, DropReason, Fault, FaultKind, Finish, Flags, Format, Header, MediaType, Node,
    NodeSpec, Placement, PortSpec,
};

use crate::av1::{Joiner, payload_starts_sequence, starts_sequence};
use crate::packet::Packet;

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "rtp.unpack_av1",
    summary: "Puts AV1 temporal units together from RTP packets.",
    sheet: sidetone_core::data_sheet!("unpack_av1.rs"),
    inputs: &[PortSpec::new("in", MediaType::rtp(Codec::Av1), "The RTP packets, in order.")],
    outputs: &[PortSpec::new("out", MediaType::packets(Codec::Av1), "The temporal units.")],
    params: &[],
    placement: Placement::Shared,
    real_time: false,
    negotiate: &declared,
    build: &|_| Ok(Box::new(UnpackAv1::default())),
};

#[derive(Default)]
struct UnpackAv1 {
    joiner: Joiner,
    /// The header of the unit's last packet so far; `None` between units.
    open: Option<Header>,
    /// Whether the unit lacks a packet or has a damaged one.
    is_broken: bool,
    /// Whether a unit was dropped since the last that went out.
    has_gap: bool,
    /// Source, sequence number and timestamp of the packet before.
    last: Option<(u32, u16, u32)>,
}

impl Node for UnpackAv1 {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(mut frame) = cx.pop(0) {
            if !matches!(frame.format(), Format::Rtp { codec: Codec::Av1, .. }) {
                return Err(Fault::new(FaultKind::WrongFormat, "rtp.unpack_av1 takes RTP with AV1"));
            }
            let header = std::mem::take(&mut frame.header);
            match Packet::parse(frame.bytes()) {
                Ok(packet) => self.take(&packet, header, cx),
                Err(_) => cx.dropped(DropReason::Corrupt),
            }
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        self.close(cx);
        Ok(Finish::Done)
    }
}

impl UnpackAv1 {
    fn take(&mut self, packet: &Packet<'_>, header: Header, cx: &mut Context<'_>) {
        let rtp = &packet.header;
        let follows = self
            .last
            .is_none_or(|(ssrc, sequence, _)| ssrc == rtp.ssrc.0 && sequence.wrapping_add(1) == rtp.sequence);
        let is_next = self.last.is_some_and(|(ssrc, _, at)| ssrc != rtp.ssrc.0 || at != rtp.timestamp);
        self.last = Some((rtp.ssrc.0, rtp.sequence, rtp.timestamp));
        // Packets that are missing may have been the end of the unit before,
        // the start of this one, or both. N says that this is a start.
        self.is_broken |= !follows && self.open.is_some();
        if is_next {
            self.close(cx);
        }
        self.is_broken |= !follows && !payload_starts_sequence(packet.payload);
        let mut header = header;
        if let Some(before) = &self.open {
            let kept =
                if before.flags.has(Flags::DISCONTINUITY) { Flags::DISCONTINUITY } else { Flags::default() };
            header.flags = header.flags.with(kept);
        }
        self.open = Some(header);
        // A packet of padding alone only counts.
        if !packet.payload.is_empty() && !self.is_broken {
            self.is_broken = self.joiner.push(packet.payload).is_err();
        }
        if rtp.marker {
            self.close(cx);
        }
    }

    /// Puts the unit out, if it is whole.
    fn close(&mut self, cx: &mut Context<'_>) {
        let Some(mut header) = self.open.take() else { return };
        let unit = self.joiner.finish().ok().filter(|_| !self.is_broken);
        if let Some(unit) = unit {
            let key = if starts_sequence(unit) { Flags::KEY } else { Flags::default() };
            let gap = if self.has_gap { Flags::DISCONTINUITY } else { Flags::default() };
            header.flags = header.flags.without(Flags::KEY.with(Flags::MARKER)).with(key).with(gap);
            self.has_gap = false;
            let packet = cx.packet(0, Codec::Av1, unit, header);
            cx.push(0, packet);
        } else {
            cx.dropped(DropReason::Corrupt);
            cx.request(0, &Control::KeyFrame);
            self.has_gap = true;
        }
        self.joiner.clear();
        self.is_broken = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::av1::Splitter;
    use crate::av1::tests::{random_unit, unit};
    use fastrand::Rng;
    use sidetone_core::harness::Harness;

    /// The RTP packets of `units`, 20 bytes of payload each at most `limit`.
    fn packets(units: &[Vec<u8>], limit: usize) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::default();
        let mut packets: Vec<Vec<u8>> = Vec::new();
        for (at, unit) in units.iter().enumerate() {
            let count = splitter.plan(unit, limit).unwrap();
            for index in 0..count {
                let mut bytes = vec![0x80, 45 | u8::from(index + 1 == count) << 7];
                bytes.extend(u16::try_from((65_530 + packets.len()) & 0xffff).unwrap().to_be_bytes());
                bytes.extend((at as u32 * 3_000).to_be_bytes());
                bytes.extend([0, 0, 0, 7]);
                let start = bytes.len();
                bytes.resize(start + limit, 0);
                let len = splitter.write(unit, index, &mut bytes[start..]);
                bytes.truncate(start + len);
                packets.push(bytes);
            }
        }
        packets
    }

    fn run(packets: &[Vec<u8>]) -> (Harness, Vec<sidetone_core::Frame>) {
        let mut node = Harness::new(&SPEC, &[]);
        packets.iter().for_each(|packet| node.push(0, node.rtp(Codec::Av1, packet)));
        node.end(0);
        node.run();
        assert_eq!(node.fault(), None);
        let out = node.take(0);
        (node, out)
    }

    #[test]
    fn units_come_out_as_they_went_in() {
        let mut rng = Rng::with_seed(10);
        let units: Vec<_> = (0..200).map(|_| random_unit(&mut rng)).collect();
        let (node, out) = run(&packets(&units, 120));
        assert_eq!(out.iter().map(|frame| frame.bytes().to_vec()).collect::<Vec<_>>(), units);
        assert_eq!(node.ledger().drops(), 0);
    }

    #[test]
    fn a_key_frame_is_flagged() {
        let (_, out) = run(&packets(&[unit(true, 500), unit(false, 50)], 100));
        assert_eq!(
            out.iter().map(|frame| frame.header.flags.has(Flags::KEY)).collect::<Vec<_>>(),
            [true, false]
        );
    }

    #[test]
    fn without_the_marker_the_next_timestamp_or_the_end_closes_a_unit() {
        let units = [unit(true, 500), unit(false, 300), unit(false, 5)];
        let mut packets = packets(&units, 100);
        packets.iter_mut().for_each(|packet| packet[1] &= 0x7f);
        let (_, out) = run(&packets);
        assert_eq!(out.iter().map(|frame| frame.bytes().to_vec()).collect::<Vec<_>>(), units);
    }

    #[test]
    fn any_one_packet_missing_drops_its_unit_alone_and_asks_for_a_key_frame() {
        let units = [unit(true, 300), unit(false, 300), unit(true, 300), unit(true, 300)];
        let all = packets(&units, 100);
        let per_unit = all.len() / units.len();
        for missing in per_unit..2 * per_unit {
            let mut packets = all.clone();
            packets.remove(missing);
            let (mut node, out) = run(&packets);
            assert_eq!(out.len(), 3, "packet {missing}");
            assert!(out[1].header.flags.has(Flags::DISCONTINUITY.with(Flags::KEY)), "packet {missing}");
            assert!(!out[2].header.flags.has(Flags::DISCONTINUITY));
            assert_eq!(node.ledger().dropped[DropReason::Corrupt as usize].get(), 1);
            assert_eq!(node.upstream().len(), 1);
        }
    }

    #[test]
    fn mutated_packets_never_panic_and_sound_units_follow() {
        let mut rng = Rng::with_seed(11);
        for _ in 0..300 {
            let units: Vec<_> = (0..5).map(|_| random_unit(&mut rng)).collect();
            let mut all = packets(&units, rng.usize(5..200));
            for _ in 0..rng.usize(1..6) {
                let which = rng.usize(..all.len());
                let at = rng.usize(..all[which].len());
                all[which][at] = rng.u8(..);
            }
            let (node, out) = run(&all);
            assert!(out.len() as u64 + node.ledger().drops() >= 1);
        }
    }
}
