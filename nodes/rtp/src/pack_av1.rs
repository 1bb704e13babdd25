//! `rtp.pack_av1`: cuts AV1 temporal units into RTP packets.
//!
//! Ports: `in` AV1 packets, a temporal unit each → `out` RTP, one or more
//! packets for each.
//!
//! Parameters: `mtu`, 64 to 65000 bytes, default 1200, the most a packet has
//! with its RTP header; `ssrc`, 0 to 4294967295, default drawn from the graph's
//! seed; `payload_type`, 0 to 127, default 45.
//!
//! Latency: none; the packets of a picture leave together.
//!
//! Method: "RTP Payload Format For AV1 (v1.0)". Temporal delimiters, tile lists
//! and padding are left out, as are the sizes in OBUs (§ 4.5, § 5); layers do
//! not share packets (§ 5). The first packet of a coded video sequence has N
//! (§ 4.4), the last of a temporal unit the marker bit (§ 4.2). Packets of a
//! picture are of nearly one size. Timestamps count `pts` in 90 kHz from a
//! random offset (§ 4.1, RFC 3550 § 5.1). Every packet tells when its picture was
//! captured, by the abs-capture-time extension in its short form: 8 bytes of NTP
//! time, 12 with their header and padding, and 4 that open the extension block.
//! Once a second and at the end the figure `kbps` tells the packets' rate so far,
//! headers included, over the time of the pictures in them.
//!
//! ```toml
//! sidetone = 1
//! links = ["scene -> av1 -> pack -> unpack -> file"]
//! nodes.scene = { kind = "test.scene" }
//! nodes.av1 = { kind = "codec.av1_encode" }
//! nodes.pack = { kind = "rtp.pack_av1", mtu = 1000 }
//! nodes.unpack = { kind = "rtp.unpack_av1" }
//! nodes.file = { kind = "file.ivf_sink", path = "scene.ivf" }
//! ```

use sidetone_core::registry::declared;
use sidetone_core::{
    Codec, Context, DropReason, Fault, FaultKind, Finish, Flags, Format, MediaType, Node, NodeSpec,
    ParamSpec, Placement, PortSpec,
};

use crate::av1::Splitter;
use crate::packet::HEADER_BYTES;
use crate::sender::{SSRC, Sender, payload_type_param};

/// The kind.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    kind: "rtp.pack_av1",
    summary: "Cuts AV1 temporal units into RTP packets.",
    sheet: sidetone_core::data_sheet!("pack_av1.rs"),
    inputs: &[PortSpec::new("in", MediaType::packets(Codec::Av1), "The temporal units.")],
    outputs: &[PortSpec::new("out", MediaType::rtp(Codec::Av1), "The same in RTP.")],
    params: &[
        ParamSpec::int("mtu", 1_200, 64, 65_000, "The most bytes of an RTP packet, header included.")
            .unit("bytes"),
        SSRC,
        payload_type_param(Codec::Av1),
    ],
    placement: Placement::Shared,
    real_time: false,
    negotiate: &declared,
    build: &|setup| {
        let mtu = usize::try_from(setup.params.int("mtu")).unwrap_or(1_200);
        let sender = Sender::new(Codec::Av1, &setup);
        Ok(Box::new(PackAv1 { sender, room: mtu - HEADER_BYTES, splitter: Splitter::default() }))
    },
};

struct PackAv1 {
    sender: Sender,
    /// What a packet has for its payload.
    room: usize,
    splitter: Splitter,
}

impl Node for PackAv1 {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(mut frame) = cx.pop(0) {
            if !matches!(frame.format(), Format::Packet { codec: Codec::Av1, .. }) {
                return Err(Fault::new(FaultKind::WrongFormat, "rtp.pack_av1 takes AV1 packets"));
            }
            let mut header = std::mem::take(&mut frame.header);
            let unit = frame.bytes();
            let Ok(count) = self.splitter.plan(unit, self.room) else {
                cx.dropped(DropReason::Corrupt);
                continue;
            };
            let key = if self.splitter.is_key() { Flags::KEY } else { Flags::default() };
            header.flags = header.flags.without(Flags::KEY.with(Flags::MARKER)).with(key);
            for index in 1..=count {
                let is_last = index == count;
                // The trail parts here: every packet but the last gets a copy.
                let mut own = if is_last { std::mem::take(&mut header) } else { header.clone() };
                if is_last {
                    own.flags = own.flags.with(Flags::MARKER);
                }
                let splitter = &self.splitter;
                let packet =
                    self.sender.packet(cx, own, is_last, self.room, |to| splitter.write(unit, index - 1, to));
                cx.push(0, packet);
            }
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
    use crate::av1::{payload_starts_sequence, tests::unit};
    use crate::packet::Packet;
    use sidetone_core::Frame;
    use sidetone_core::harness::Harness;

    fn packed(units: &[Vec<u8>], mtu: i64) -> Vec<Frame> {
        let mut node = Harness::new(&SPEC, &[("mtu", mtu.into())]);
        let start = node.now();
        for (index, unit) in units.iter().enumerate() {
            let mut frame = node.packet(Codec::Av1, unit);
            frame.header.pts = start.after_units(index as u64, 30);
            node.push(0, frame);
        }
        node.run();
        assert_eq!(node.fault(), None);
        node.take(0)
    }

    #[test]
    fn a_picture_shares_a_timestamp_and_ends_with_the_marker() {
        let out = packed(&[unit(true, 3_000), unit(false, 100), unit(false, 2_000)], 1_200);
        let headers: Vec<_> = out.iter().map(|frame| Packet::parse(frame.bytes()).unwrap().header).collect();
        let ahead: Vec<_> = headers.iter().map(|h| h.timestamp.wrapping_sub(headers[0].timestamp)).collect();
        assert_eq!(ahead, [0, 0, 0, 3_000, 6_000, 6_000]);
        assert_eq!(
            headers.iter().map(|h| h.marker).collect::<Vec<_>>(),
            [false, false, true, true, false, true]
        );
        assert!(headers.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
        let starts: Vec<_> = out
            .iter()
            .map(|frame| payload_starts_sequence(Packet::parse(frame.bytes()).unwrap().payload))
            .collect();
        assert_eq!(starts, [true, false, false, false, false, false]);
        assert!(out.iter().all(|frame| frame.bytes().len() <= 1_200));
        assert_eq!(headers[5].captured, Some(out[5].header.captured));
    }

    #[test]
    fn the_smallest_packets_still_carry_a_picture() {
        let out = packed(&[unit(true, 1_000)], 64);
        assert!(out.iter().all(|frame| frame.bytes().len() <= 64));
        assert!(out.last().unwrap().header.flags.has(Flags::MARKER.with(Flags::KEY)));
    }

    #[test]
    fn a_damaged_unit_is_counted_and_the_next_goes_out() {
        let mut node = Harness::new(&SPEC, &[]);
        node.push(0, node.packet(Codec::Av1, &[0x32, 200, 1]));
        node.push(0, node.packet(Codec::Av1, &unit(false, 10)));
        node.run();
        assert_eq!(node.take(0).len(), 1);
        assert_eq!(node.ledger().dropped[DropReason::Corrupt as usize].get(), 1);
    }
}
