//! In the steady state a room in memory hands packets over without allocating.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sidetone_core::harness::Harness;
use sidetone_core::{Codec, Key, NodeSpec, Shared};

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
