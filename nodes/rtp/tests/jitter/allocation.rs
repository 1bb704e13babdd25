//! Nothing allocates once a stream runs, whatever the link does to it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;
use fastrand::Rng;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to `System`; the count beside it is a plain cell
// of this thread and allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn counted(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn sound_through_packer_buffer_and_unpacker_allocates_nothing() {
    let kind = |name| *sidetone_rtp::KINDS.iter().find(|spec| spec.kind == name).unwrap();
    let mut pack = Harness::new(kind("rtp.pack_opus"), &[]);
    let mut jitter = Harness::new(spec(), &[("min_ms", 40.into())]);
    let mut unpack = Harness::new(kind("rtp.unpack_opus"), &[]);
    let mut rng = Rng::with_seed(31);
    let mut allocations = 0;
    let mut lost = 0;
    for n in 0..2_000u32 {
        let warm = n >= 200;
        let payload: &[u8] = if n / 100 % 3 == 2 { &[] } else { &[0x78; 80] };
        let mut frame = pack.packet(Codec::Opus, payload);
        if payload.is_empty() {
            frame.header.flags = Flags::SILENCE;
        }
        frame.header = Harness::header(&mut pack, ms(20));
        pack.push(0, frame);
        allocations += counted(|| pack.advance(ms(20))) * u64::from(warm);
        // Jitter of up to 15 ms, and a tenth of the packets lost.
        let early = Duration::from_micros(rng.u64(0..15_000));
        allocations += counted(|| jitter.advance(early)) * u64::from(warm);
        for frame in pack.take(0) {
            if rng.u8(..10) > 0 {
                jitter.push(0, frame);
            }
        }
        allocations += counted(|| jitter.advance(ms(20) - early)) * u64::from(warm);
        for frame in jitter.take(0) {
            lost += u32::from(frame.header.flags.has(Flags::LOST));
            unpack.push(0, frame);
        }
        allocations += counted(|| unpack.run()) * u64::from(warm);
        pack.clear();
        jitter.clear();
        unpack.clear();
    }
    assert!(lost > 50, "{lost}");
    assert_eq!(allocations, 0);
}
