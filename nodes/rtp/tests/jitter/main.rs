//! The jitter buffer on simulated links, in virtual time.

mod allocation;
mod audio;
mod video;

use std::time::Duration;

use sidetone_core::harness::Harness;
use sidetone_core::rtp::Ssrc;
use sidetone_core::{
    Codec, DropReason, Flags, MediaType, NodeSpec, Offer, Params, Timestamp, VIRTUAL_START, Value,
};
use sidetone_rtp::packet::{HEADER_BYTES, Header, Packet, write_header};

/// The node under test.
fn spec() -> &'static NodeSpec {
    sidetone_rtp::KINDS.iter().find(|spec| spec.kind == "rtp.jitter_buffer").expect("is registered")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The bytes of a packet.
fn rtp(sequence: u16, timestamp: u32, ssrc: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        marker,
        payload_type: 96,
        sequence,
        timestamp,
        ssrc: Ssrc(ssrc),
        captured: Some(VIRTUAL_START),
        loudness: None,
    };
    let mut bytes = vec![0; HEADER_BYTES];
    write_header(&header, &mut bytes).expect("has room");
    bytes.extend(payload);
    bytes
}

/// What came out, and when.
struct Out {
    at: Duration,
    pts: Timestamp,
    duration: Duration,
    flags: Flags,
    bytes: Vec<u8>,
}

impl Out {
    /// Its packet's sequence number, if it is a packet.
    fn sequence(&self) -> Option<u16> {
        let stands_in = self.flags.has(Flags::LOST) || self.flags.has(Flags::SILENCE);
        (!stands_in).then(|| Packet::parse(&self.bytes).expect("is a packet").header.sequence)
    }

    fn is_lost(&self) -> bool {
        self.flags.has(Flags::LOST)
    }
}

/// A jitter buffer that packets come to at given times.
struct Link {
    node: Harness,
    codec: Codec,
    out: Vec<Out>,
    asked: Vec<Duration>,
}

impl Link {
    fn new(codec: Codec, params: &[(&str, Value)]) -> Self {
        Self { node: Harness::new(spec(), params), codec, out: Vec::new(), asked: Vec::new() }
    }

    fn now(&self) -> Duration {
        self.node.now().since(VIRTUAL_START)
    }

    /// Lets `packets` arrive, each at its offset from the start.
    fn arrive(&mut self, mut packets: Vec<(Duration, Vec<u8>)>) -> &mut Self {
        packets.sort_by_key(|(at, _)| *at);
        for (at, bytes) in packets {
            self.pass(at);
            self.node.push(0, self.node.rtp(self.codec, &bytes));
            self.node.run();
            self.collect();
        }
        self
    }

    /// Lets time pass up to `until`, noting when everything comes out.
    fn pass(&mut self, until: Duration) -> &mut Self {
        while let Some(at) = self.node.wake_at().map(|at| at.since(VIRTUAL_START)).filter(|at| *at <= until) {
            self.node.advance_to(at);
            self.collect();
        }
        self.node.advance_to(until);
        self.collect();
        self
    }

    /// Ends the input and plays what is left.
    fn end(&mut self) -> &mut Self {
        self.node.end(0);
        self.node.run();
        self.collect();
        self.pass(self.now() + ms(5_000))
    }

    fn collect(&mut self) {
        assert_eq!(self.node.fault(), None);
        let at = self.now();
        for frame in self.node.take(0) {
            self.out.push(Out {
                at,
                pts: frame.header.pts,
                duration: frame.header.duration,
                flags: frame.header.flags,
                bytes: frame.bytes().to_vec(),
            });
        }
        self.asked.extend(self.node.upstream().iter().map(|_| at));
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.node.ledger().dropped[reason as usize].get()
    }

    fn lost(&self) -> usize {
        self.out.iter().filter(|out| out.is_lost()).count()
    }

    fn sequences(&self) -> Vec<u16> {
        self.out.iter().filter_map(Out::sequence).collect()
    }
}

#[test]
fn the_declared_latency_is_the_least_that_the_medium_waits() {
    let cases = [
        (Some(Codec::Opus), 0, ms(1)),
        (Some(Codec::Opus), 40, ms(40)),
        (Some(Codec::Av1), 0, ms(0)),
        (Some(Codec::Av1), 40, ms(40)),
        (None, 0, ms(0)),
    ];
    for (codec, min_ms, least) in cases {
        let params = Params::new(spec().params, &[("min_ms", min_ms.into())]).unwrap();
        let input = MediaType::Rtp { codec };
        let told = spec().negotiated(&Offer { params: &params, inputs: &[Some(input)] }).unwrap();
        assert_eq!(told.latency, least, "{codec:?} {min_ms}");
    }
}
