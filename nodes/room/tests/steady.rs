//! In the steady state a room in memory hands packets over without allocating, and a
//! room server forwards them so.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sidetone_core::harness::Harness;
use sidetone_core::{Codec, Key, NodeSpec, Shared, Timestamp};
use sidetone_room::protocol::{Kind, SlotOf, Source, StreamId, StreamInfo, Wish};
use sidetone_room::server::media::{Forwarder, Packet, Settings};
use sidetone_room::server::replay::PersonId;
use sidetone_room::server::room::Order;

/// Counts what each thread allocates: the test's own work is on one, and what the
/// test runner does meanwhile is not its.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` through `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const AUDIO: usize = 0;
const VIDEO: usize = 1;

#[test]
fn a_room_of_three_forwards_without_allocating() {
    let join: &NodeSpec = sidetone_room::KINDS.iter().find(|spec| spec.kind == "room.join").unwrap();
    let shared = Shared::default();
    let mut nodes: Vec<Harness> = ["alice", "bob", "carol"]
        .map(|user| {
            let params = [("url", "mem://steady".into()), ("user", user.into())];
            Harness::try_new(join, &params, &shared).unwrap()
        })
        .into();
    for _ in 0..2 {
        nodes.iter_mut().for_each(Harness::run);
    }
    for node in &mut nodes {
        for key in 0..2 {
            node.link_output(AUDIO, Some(Key(key)));
            node.link_output(VIDEO, Some(Key(key)));
        }
    }
    let frames = [nodes[0].rtp(Codec::Opus, &[0x80; 100]), nodes[0].rtp(Codec::Av1, &[0x80; 1_100])];
    let mut before = 0;
    for round in 0..1_100 {
        if round == 100 {
            before = ALLOCATIONS.get();
        }
        for node in &mut nodes {
            for port in [AUDIO, VIDEO] {
                let mut frame = frames[port].clone();
                frame.header = node.header(std::time::Duration::ZERO);
                node.push(port, frame);
            }
            node.run();
        }
        for node in &mut nodes {
            node.run();
            node.clear();
        }
    }
    let after = ALLOCATIONS.get();
    for node in &nodes {
        assert_eq!(node.ledger().frames.get(), 4 * 1_100, "sound and pictures of the two others");
        assert_eq!(node.ledger().drops(), 0);
    }
    assert_eq!(after - before, 0, "allocations in 1000 rounds of 6 packets");
}

#[test]
fn a_server_forwards_a_room_of_ten_without_allocating() {
    let mut now = Timestamp::from_nanos(1_000_000_000);
    let mut forwarder = Forwarder::new(Settings::default(), 1);
    let streams = || (0..10).flat_map(|person| [(person, person * 2 + 1), (person, person * 2 + 2)]);
    for (person, no) in streams() {
        let (source, codec) =
            if no % 2 == 1 { (Source::Microphone, "opus") } else { (Source::Camera, "av1") };
        let id = StreamId::new(&format!("user{person}/{}", source.word())).unwrap();
        let info = StreamInfo { id, no, source, codec: codec.into(), muted: false, layers: Vec::new() };
        forwarder.order(now, &Order::Publish(PersonId(person), info));
    }
    let kinds = [Kind::Audio, Kind::Video];
    let recv: Vec<_> = kinds
        .into_iter()
        .flat_map(|kind| (0..9).map(move |at| SlotOf { mid: format!("{kind:?}{at}"), kind }))
        .collect();
    for person in 0..10 {
        forwarder.slots(now, PersonId(person), 1, &recv, &["opus", "av1"]);
        for (_, no) in streams().filter(|(owner, _)| *owner != person) {
            forwarder.order(now, &Order::Play(PersonId(person), no, Wish::High));
        }
    }
    let mut writes = Vec::new();
    let (mut allocations, mut written) = (0, 0);
    for round in 0..1_100_u32 {
        now += std::time::Duration::from_millis(20);
        let before = ALLOCATIONS.get();
        for (_, no) in streams() {
            let packet = Packet {
                ssrc: no,
                seq: u64::from(round) + 5,
                timestamp: round * 960,
                marker: false,
                is_key: round == 50 && no % 2 == 0,
                level: (no % 2 == 1).then_some(20),
                len: 900,
            };
            writes.clear();
            forwarder.packet(now, no, 0, &packet, &mut writes);
            written += writes.len();
        }
        if round >= 100 {
            allocations += ALLOCATIONS.get() - before;
        }
        // What is looked at ten times a second may allocate.
        forwarder.tick(now);
        forwarder.take();
    }
    assert_eq!(written, 10 * 9 * (1_100 + 1_050), "sound from the first on, pictures from the key frame");
    assert_eq!(allocations, 0, "in 1000 rounds of 20 packets to 9 each");
}
