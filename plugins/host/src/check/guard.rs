//! `Guarded`: memory beside which lies a page that nobody may touch, so that a
//! read or a write outside faults at once; and what the fault was about.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Bytes of a page, or of several.
const PAGE: usize = if cfg!(target_arch = "x86_64") { 4_096 } else { 65_536 };
/// What lies in the pages of a block, but outside it.
const CANARY: u8 = 0xa5;
/// Blocks that are known by name at once; of more the oldest are forgotten.
const KNOWN: usize = 512;

/// At which end of a block the page lies that nobody may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// After its last byte.
    After,
    /// Before its first.
    Before,
}

/// Memory of its own, with pages around it that fault.
pub(crate) struct Guarded {
    map: *mut u8,
    /// Bytes between the two guards.
    inner: usize,
    data: *mut u8,
    length: usize,
}

impl Guarded {
    /// `length` bytes, a multiple of 64; `name` is what a fault says of it.
    ///
    /// # Panics
    /// If there is no memory: the check cannot go on.
    pub(crate) fn new(length: usize, edge: Edge, name: &str) -> Self {
        let inner = length.div_ceil(PAGE).max(1) * PAGE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, of nothing that exists.
        let map = unsafe { libc::mmap(ptr::null_mut(), inner + 2 * PAGE, libc::PROT_NONE, flags, -1, 0) };
        assert!(map != libc::MAP_FAILED, "there is no memory for the frames of the check");
        let map = map.cast::<u8>();
        let at = PAGE + if edge == Edge::After { inner - length } else { 0 };
        // SAFETY: within the mapping, by its length.
        let data = unsafe { map.add(at) };
        let block = Self { map, inner, data, length };
        block.protect(libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: between the guards everything may be written now.
        unsafe { map.add(PAGE).write_bytes(CANARY, inner) };
        remember(map as usize, inner + 2 * PAGE, data as usize, length, name);
        block
    }

    pub(crate) fn pointer(&self) -> *mut u8 {
        self.data
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: as many bytes are the block's, and readable unless taken away.
        unsafe { std::slice::from_raw_parts(self.data, self.length) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and writable unless sealed, which callers know.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.length) }
    }

    /// Lets nobody write it any more.
    pub(crate) fn seal(&self) {
        self.protect(libc::PROT_READ);
    }

    /// Lets it be written again.
    pub(crate) fn unseal(&self) {
        self.protect(libc::PROT_READ | libc::PROT_WRITE);
    }

    /// Whether nothing was written in its pages beside it.
    pub(crate) fn is_whole(&self) -> bool {
        let before = self.data as usize - self.map as usize - PAGE;
        // SAFETY: both parts lie between the guards.
        let beside = unsafe {
            [
                std::slice::from_raw_parts(self.map.add(PAGE), before),
                std::slice::from_raw_parts(self.data.add(self.length), self.inner - self.length - before),
            ]
        };
        beside.iter().all(|part| part.iter().all(|byte| *byte == CANARY))
    }

    fn protect(&self, how: i32) {
        // SAFETY: its own pages, between the guards.
        unsafe { libc::mprotect(self.map.add(PAGE).cast(), self.inner, how) };
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The addresses stay taken, so that a late use faults and is told.
        // SAFETY: its own mapping, which nobody is to use from now on.
        unsafe {
            libc::mmap(
                self.map.cast(),
                self.inner + 2 * PAGE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
                -1,
                0,
            );
            reuse(self.map, self.inner + 2 * PAGE);
        }
        gone(self.map as usize);
    }
}

/// Mappings that are given back at last, once enough others have come after.
unsafe fn reuse(map: *mut u8, whole: usize) {
    const LATER: usize = 128;
    static OLD: [(AtomicPtr<u8>, AtomicUsize); LATER] =
        [const { (AtomicPtr::new(ptr::null_mut()), AtomicUsize::new(0)) }; LATER];
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let (old, length) = &OLD[NEXT.fetch_add(1, Ordering::Relaxed) % LATER];
    let before = old.swap(map, Ordering::Relaxed);
    let bytes = length.swap(whole, Ordering::Relaxed);
    if !before.is_null() {
        forget(before as usize);
        // SAFETY: a mapping that was parted with long ago.
        unsafe { libc::munmap(before.cast(), bytes) };
    }
}

/// What is known of a block, for a handler of signals to read.
struct Known {
    map: AtomicUsize,
    whole: AtomicUsize,
    data: AtomicUsize,
    length: AtomicUsize,
    name: [AtomicUsize; NAME],
    is_gone: AtomicUsize,
}

/// Bytes of a name that are kept, one to an atomic.
const NAME: usize = 48;

static BLOCKS: [Known; KNOWN] = [const {
    Known {
        map: AtomicUsize::new(0),
        whole: AtomicUsize::new(0),
        data: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        name: [const { AtomicUsize::new(0) }; NAME],
        is_gone: AtomicUsize::new(0),
    }
}; KNOWN];
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn remember(map: usize, whole: usize, data: usize, length: usize, name: &str) {
    let free = BLOCKS.iter().find(|block| block.map.load(Ordering::Relaxed) == 0);
    let block = free.unwrap_or_else(|| &BLOCKS[NEXT.fetch_add(1, Ordering::Relaxed) % KNOWN]);
    block.whole.store(whole, Ordering::Relaxed);
    block.data.store(data, Ordering::Relaxed);
    block.length.store(length, Ordering::Relaxed);
    block.is_gone.store(0, Ordering::Relaxed);
    let bytes = name.bytes().map(usize::from).chain(std::iter::repeat(0));
    block.name.iter().zip(bytes).for_each(|(slot, byte)| slot.store(byte, Ordering::Relaxed));
    block.map.store(map, Ordering::Release);
}

fn known(map: usize) -> Option<&'static Known> {
    BLOCKS.iter().find(|block| block.map.load(Ordering::Relaxed) == map)
}

fn gone(map: usize) {
    if let Some(block) = known(map) {
        block.is_gone.store(1, Ordering::Relaxed);
    }
}

fn forget(map: usize) {
    if let Some(block) = known(map) {
        block.map.store(0, Ordering::Relaxed);
    }
}

/// What an address has to do with a block.
pub(crate) struct Place {
    /// The block's name, as bytes that end with a zero.
    pub(crate) name: [u8; NAME],
    /// How far from its first byte: below 0, before it.
    pub(crate) offset: isize,
    pub(crate) length: usize,
    pub(crate) is_gone: bool,
}

/// The block that `address` lies in or beside. Safe in a handler of signals.
pub(crate) fn place(address: usize) -> Option<Place> {
    let block = BLOCKS.iter().find(|block| {
        let map = block.map.load(Ordering::Acquire);
        map != 0 && (map..map + block.whole.load(Ordering::Relaxed)).contains(&address)
    })?;
    let mut name = [0; NAME];
    name.iter_mut().zip(&block.name).for_each(|(byte, slot)| *byte = slot.load(Ordering::Relaxed) as u8);
    Some(Place {
        name,
        offset: address.wrapping_sub(block.data.load(Ordering::Relaxed)) as isize,
        length: block.length.load(Ordering::Relaxed),
        is_gone: block.is_gone.load(Ordering::Relaxed) != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_knows_what_lies_beside_it() {
        let mut block = Guarded::new(192, Edge::After, "a block");
        block.bytes_mut().fill(1);
        assert!(block.is_whole());
        let end = block.pointer() as usize + 192;
        assert_eq!(end % PAGE, 0, "the page after it begins where it ends");
        let place = place(end + 3).unwrap();
        assert_eq!((place.offset, place.length, place.is_gone), (195, 192, false));
        // SAFETY: the byte before the block lies in its pages.
        unsafe { *block.pointer().sub(1) = 7 };
        assert!(!block.is_whole(), "a write before the block is seen");
    }
}
