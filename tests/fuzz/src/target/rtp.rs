//! RTP: headers, payloads, and the nodes that a hostile peer reaches.

use std::time::Duration;

use sidetone::Codec;
use sidetone::harness::Harness;
use sidetone_room::rtp_header::RtpHeader;
use sidetone_rtp::av1::{Joiner, MAX_UNIT, Splitter, obus, payload_starts_sequence};
use sidetone_rtp::{opus, packet};

use crate::Target;
use crate::nodes::{bytes, fed, node};
use crate::script::{script, steps};
use crate::target::codec::{av1_units, opus_packets};

/// One packet, by the two readers of headers there are.
pub(crate) const PACKET: Target = Target {
    name: "rtp_packet",
    run: |bytes| {
        let room = RtpHeader::read(bytes);
        let Ok(packet) = packet::Packet::parse(bytes) else { return false };
        let (ours, payload) = (packet.header, packet.payload);
        assert!(payload.len() + 12 <= bytes.len());
        assert!(opus::samples(payload).is_none_or(|samples| samples <= 5_760));
        let _ = (opus::is_silence(payload), payload_starts_sequence(payload));
        // What the nodes take the room has let through, and read alike.
        let room = room.unwrap_or_else(|| panic!("the room refuses what the nodes take"));
        assert_eq!(
            (ours.marker, ours.payload_type, ours.timestamp, ours.ssrc),
            (room.marker, room.payload_type, room.timestamp, room.ssrc)
        );
        // What was read can be written and is read again.
        let mut again = [0; packet::HEADER_BYTES];
        assert_eq!(packet::write_header(&ours, &mut again), Some(again.len()));
        assert_eq!(packet::parse(&again), Ok((ours, again.len()..again.len())));
        true
    },
    seeds: packets,
    words: &[],
    most_mib: 1,
};

/// A script of AV1 payloads, joined to a unit, cut anew, and joined again.
pub(crate) const AV1_PAYLOADS: Target = Target {
    name: "av1_payloads",
    run: |bytes| {
        let mut joiner = Joiner::default();
        if steps(bytes).any(|step| joiner.push(step.bytes).is_err()) {
            return false;
        }
        let Ok(unit) = joiner.finish().map(<[u8]>::to_vec) else { return false };
        assert!(unit.len() <= MAX_UNIT.min(4 * bytes.len() + 2), "{} bytes came", unit.len());
        assert!(obus(&unit).all(|obu| obu.is_ok()), "the unit is not whole");
        let mut splitter = Splitter::default();
        for limit in [2, 100, 1_200] {
            joiner.clear();
            // A unit of padding alone is not sent.
            let Ok(count) = splitter.plan(&unit, limit) else { continue };
            for index in 0..count {
                let mut payload = vec![0; limit];
                let length = splitter.write(&unit, index, &mut payload);
                assert!((1..=limit).contains(&length), "{length} bytes where {limit} fit");
                assert_eq!(joiner.push(&payload[..length]), Ok(()));
            }
            let again = joiner.finish().map(<[u8]>::to_vec);
            assert!(again.is_ok_and(|again| again.len() <= unit.len()), "the unit does not survive");
        }
        true
    },
    seeds: || av1_units().iter().map(|unit| payloads(unit.bytes())).collect(),
    words: &[],
    most_mib: 1,
};

/// A script of RTP packets with sound, through jitter buffer and unpacker.
pub(crate) const JITTER_OPUS: Target = Target {
    name: "jitter_opus",
    run: |bytes| play(Codec::Opus, "rtp.unpack_opus", bytes),
    seeds: || [10.0, 60.0].map(|frame_ms| script(20, &opus_rtp(frame_ms))).into(),
    words: &[],
    most_mib: 4,
};

/// The same with pictures.
pub(crate) const JITTER_AV1: Target = Target {
    name: "jitter_av1",
    run: |bytes| play(Codec::Av1, "rtp.unpack_av1", bytes),
    seeds: || [3, 33].map(|wait_ms| script(wait_ms, &av1_rtp())).into(),
    words: &[],
    most_mib: 4,
};

/// Plays a script of packets; whether anything came out.
fn play(codec: Codec, unpack: &str, bytes: &[u8]) -> bool {
    let (mut jitter, mut unpack) = (node("rtp.jitter_buffer", &[]), node(unpack, &[]));
    let (began, mut arrived, mut came) = (jitter.now(), 0, 0);
    let mut pass = |jitter: &mut Harness, arrived: usize| {
        for frame in jitter.take(0) {
            unpack.push(0, frame);
        }
        unpack.run();
        for frame in unpack.take(0) {
            assert!(frame.bytes().len() <= bytes.len() + 64 * arrived, "{frame:?}");
            assert!(frame.header.duration <= Duration::from_secs(1), "{frame:?}");
            came += 1;
        }
        // Sound goes out at most every 2.5 ms, with time or with packets.
        let elapsed = jitter.now().since(began).as_micros() as usize / 2_500;
        assert!(came <= arrived + elapsed, "{came} frames came of {arrived} packets in {elapsed} turns");
    };
    for step in steps(bytes) {
        jitter.advance(step.wait);
        let mut packet = jitter.rtp(codec, step.bytes);
        packet.header.flags = step.flags;
        jitter.push(0, packet);
        jitter.run();
        arrived += 1;
        pass(&mut jitter, arrived);
    }
    jitter.end(0);
    jitter.advance(Duration::from_secs(10));
    pass(&mut jitter, arrived);
    assert!(jitter.has_ended(), "it still waits 10 s after the last packet");
    assert_eq!((jitter.fault(), unpack.fault()), (None, None));
    came > 0
}

/// A few RTP packets of both codecs.
pub(crate) fn packets() -> Vec<Vec<u8>> {
    let (mut packets, pictures) = (opus_rtp(20.0), av1_rtp());
    packets.truncate(2);
    packets.extend(pictures.into_iter().take(2));
    packets
}

fn opus_rtp(frame_ms: f64) -> Vec<Vec<u8>> {
    bytes(&fed("rtp.pack_opus", &[], opus_packets(frame_ms)).take(0))
}

fn av1_rtp() -> Vec<Vec<u8>> {
    // Small packets, so that a picture is spread over several.
    bytes(&fed("rtp.pack_av1", &[("mtu", 128.into())], av1_units()).take(0))
}

/// The script of a unit's payloads.
fn payloads(unit: &[u8]) -> Vec<u8> {
    let (mut splitter, limit) = (Splitter::default(), 80);
    let count = splitter.plan(unit, limit).unwrap_or(0);
    let payload = |index| {
        let mut payload = vec![0; limit];
        let length = splitter.write(unit, index, &mut payload);
        payload.truncate(length);
        payload
    };
    script(0, &(0..count).map(payload).collect::<Vec<_>>())
}
