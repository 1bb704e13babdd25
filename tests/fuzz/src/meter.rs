//! How much memory a thread holds, so that a run on hostile lengths can be held
//! to a bound. Memory of C libraries is not seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts for each thread what it holds.
struct Metered;

#[global_allocator]
static METERED: Metered = Metered;

thread_local! {
    // Freeing what another thread allocated takes it below zero.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// What `work` gives, and the most bytes that this thread held at once
/// meanwhile, beyond what it held before.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

fn count(bytes: usize, sign: isize) {
    // A thread that is being torn down has no counters left.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + sign * bytes.cast_signed());
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is handed on to the system's allocator unchanged, so its
// guarantees hold; counting allocates nothing, since the counters are constant
// thread-locals without destructors.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_what_was_freed_since_and_nothing_from_before() {
        let before = vec![0u8; 1 << 20];
        let ((), peak) = peak_of(|| {
            drop(vec![1u8; 3 << 20]);
            drop(vec![1u8; 2 << 20]);
        });
        assert!((3 << 20..4 << 20).contains(&peak), "{peak}");
        let mut grown = before;
        let ((), peak) = peak_of(|| grown.resize(2 << 20, 0));
        assert!(peak >= 1 << 20, "{peak}");
    }
}
