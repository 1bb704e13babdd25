//! `SharedMemory`: memory that another process can map, so that a frame in it
//! passes there without being copied.
//!
//! It is a memfd whose length is sealed: neither side can cut off what the other
//! has mapped, which would kill it. It is given out in `Place`s, one after
//! another and each once, every one on pages of its own; a pool puts a buffer in
//! each, and uses them again and again. So a place never has two owners in this
//! process, and what the other process does to one frame cannot reach the next.
//!
//! Who reads and writes when is a protocol between the two processes. The other
//! one may touch a frame between being asked to work on it and having answered;
//! this one meanwhile holds the frame in that call and looks at none of its
//! bytes. Memory that the other is only to read (`Access::Read`) is sealed so
//! that it cannot be mapped for writing any more, by whatever descriptor. Of
//! memory that it is to write, a process that breaks the protocol can change
//! bytes while they are read here. What is read is then rubbish, or half of it,
//! but nothing worse follows from that: no length, offset or type is ever kept
//! in there, only samples and pixels, for which every bit pattern will do.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What another process may do with memory that is shared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Read it: frames that come to it.
    Read,
    /// Write it, too: frames that it fills.
    Write,
}

/// Memory that another process can map, given out in places. \[any\]
pub struct SharedMemory {
    id: u64,
    file: OwnedFd,
    /// From `system::map`: `len` bytes, mapped until this is dropped.
    start: NonNull<u8>,
    len: usize,
    access: Access,
    /// Where what is not given out yet begins: a whole number of pages, at most
    /// `len`. It only grows.
    next: AtomicUsize,
}

// SAFETY: the bytes are reached through `Place`s alone, no two of which have one
// in common; what is left is a descriptor, numbers and an atomic.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// At least `len` zero bytes: whole pages, which take up memory once they are
    /// written to. \[control\]
    ///
    /// # Errors
    /// Where the system gives none, such as for want of descriptors; and on
    /// systems other than Linux, always.
    pub fn new(len: usize, access: Access) -> io::Result<Arc<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let whole = len.checked_next_multiple_of(page()).filter(|whole| (1..=MOST).contains(whole));
        let len = whole.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such length"))?;
        let (file, start) = system::map(len, access)?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self { id, file, start, len, access, next: AtomicUsize::new(0) }))
    }

    /// Room for `count` places of `bytes` each. \[control\]
    ///
    /// # Errors
    /// As for [`SharedMemory::new`].
    pub(crate) fn of_places(count: usize, bytes: usize, access: Access) -> io::Result<Arc<Self>> {
        Self::new(bytes.checked_next_multiple_of(page()).unwrap_or(usize::MAX).saturating_mul(count), access)
    }

    /// Tells it apart from all other shared memory of this process, also of what
    /// is gone. \[any\]
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Bytes, of places and of what is not given out. \[any\]
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // it never is
    pub const fn len(&self) -> usize {
        self.len
    }

    /// What the other process may do with it. \[any\]
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }

    /// A descriptor by which it can be mapped for reading alone: for a process that
    /// is to read what another one writes. \[control\]
    ///
    /// # Errors
    /// Where the system refuses, such as for want of descriptors or of /proc.
    pub fn read_only_fd(&self) -> io::Result<OwnedFd> {
        system::read_only(&self.file)
    }

    /// A place for `bytes`, on pages of its own; `None` where no more is left. \[any\]
    pub fn place(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let pages = bytes.max(1).checked_next_multiple_of(page())?;
        let end = |next: usize| next.checked_add(pages).filter(|end| *end <= self.len);
        // Relaxed suffices: who gets a place is all that it decides.
        let offset = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end).ok()?;
        Some(Place { memory: Arc::clone(self), offset, len: bytes })
    }
}

/// The descriptor that the other process maps, for what `access` allows.
impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of the mapping, and every `Place`,
        // each of which holds an `Arc` of this, is gone.
        unsafe { system::unmap(self.start, self.len) };
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("id", &self.id).field("len", &self.len).finish_non_exhaustive()
    }
}

/// A part of shared memory that has one owner in this process. Its bytes are zero
/// at first. \[any\]
#[derive(Debug)]
pub struct Place {
    memory: Arc<SharedMemory>,
    /// A whole number of pages.
    offset: usize,
    len: usize,
}

impl Place {
    /// Where it is. \[any\]
    #[must_use]
    pub const fn shared(&self) -> SharedPlace<'_> {
        SharedPlace { memory: &self.memory, offset: self.offset }
    }

    /// Its bytes. \[any\]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `SharedMemory::place` gave these bytes, which lie in the mapping,
        // to this place alone, and `memory` keeps that mapped. In this process only
        // `bytes_mut` writes them, which borrows the place mutably. Another process
        // writes them only while it is asked to, when nobody here reads them; that
        // the protocol is kept is up to the node that shares them, and what follows
        // if the other process breaks it is said at the top.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    /// Its bytes, to write. \[any\]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the place, of which there is one, is borrowed
        // mutably, so nobody else in this process reads or writes them.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: `SharedMemory::place` saw to it that `offset + len` is at most the
        // mapping's length.
        unsafe { self.memory.start.as_ptr().add(self.offset) }
    }
}

/// Where bytes are, so that another process finds them.
#[derive(Clone, Copy, Debug)]
pub struct SharedPlace<'a> {
    /// In which memory.
    pub memory: &'a Arc<SharedMemory>,
    /// Bytes from its beginning: a whole number of pages.
    pub offset: usize,
}

/// The most bytes of one memory: room enough for the largest pool of the largest
/// pictures, and offsets never overflow.
const MOST: usize = isize::MAX as usize;

fn page() -> usize {
    system::page().max(crate::frame::ALIGN)
}

#[cfg(all(target_os = "linux", not(miri)))]
mod system {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::ptr::NonNull;

    use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
    use rustix::mm::{MapFlags, ProtFlags};

    use super::Access;

    pub(super) fn page() -> usize {
        rustix::param::page_size()
    }

    pub(super) fn map(len: usize, access: Access) -> io::Result<(OwnedFd, NonNull<u8>)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("sidetone-frames", flags)?;
        rustix::fs::ftruncate(&file, len as u64)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so nothing that is mapped is replaced.
        let start =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, &file, 0)? };
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        if access == Access::Read {
            // What is mapped by now stays writable. Linux before 5.1 does not know
            // it: the other process is then kept from writing by good manners.
            let _ = rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE);
        }
        rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL)?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at null"))?;
        Ok((file, start))
    }

    pub(super) fn read_only(file: &OwnedFd) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// # Safety
    /// `start` is from `map` with the same `len`, and nobody uses it any more.
    pub(super) unsafe fn unmap(start: NonNull<u8>, len: usize) {
        // SAFETY: the caller's. It fails only for what is no mapping.
        let _ = unsafe { rustix::mm::munmap(start.as_ptr().cast(), len) };
    }
}

/// Miri maps no files: what is checked is that places do not overlap, and that
/// each is used as its borrows allow.
#[cfg(miri)]
mod system {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::io;
    use std::os::fd::OwnedFd;
    use std::ptr::NonNull;

    use super::Access;

    pub(super) fn page() -> usize {
        4_096
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, page()).unwrap()
    }

    pub(super) fn map(len: usize, _: Access) -> io::Result<(OwnedFd, NonNull<u8>)> {
        // SAFETY: `len` is not zero, which `SharedMemory::new` sees to.
        let start = unsafe { alloc_zeroed(layout(len)) };
        Ok((io::pipe()?.0.into(), NonNull::new(start).unwrap()))
    }

    pub(super) fn read_only(file: &OwnedFd) -> io::Result<OwnedFd> {
        file.try_clone()
    }

    /// # Safety
    /// `start` is from `map` with the same `len`, and nobody uses it any more.
    pub(super) unsafe fn unmap(start: NonNull<u8>, len: usize) {
        // SAFETY: the caller's.
        unsafe { dealloc(start.as_ptr(), layout(len)) };
    }
}

#[cfg(all(not(target_os = "linux"), not(miri)))]
mod system {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::ptr::NonNull;

    use super::Access;

    pub(super) fn page() -> usize {
        16_384
    }

    fn refused<T>() -> io::Result<T> {
        let why = "frames are shared with other processes on Linux alone; run the node in this process";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    pub(super) fn map(_: usize, _: Access) -> io::Result<(OwnedFd, NonNull<u8>)> {
        refused()
    }

    pub(super) fn read_only(_: &OwnedFd) -> io::Result<OwnedFd> {
        refused()
    }

    /// # Safety
    /// None is needed: `map` gives nothing.
    pub(super) unsafe fn unmap(_: NonNull<u8>, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_pages_of_their_own_until_none_are_left() {
        let memory = SharedMemory::of_places(3, page() + 1, Access::Write).unwrap();
        assert_eq!(memory.len(), 6 * page());
        let mut places: Vec<_> = (0..3).map(|_| memory.place(page() + 1).unwrap()).collect();
        assert!(memory.place(1).is_none());
        let offsets: Vec<_> = places.iter().map(|place| place.shared().offset).collect();
        assert_eq!(offsets, [0, 2 * page(), 4 * page()]);
        for (place, fill) in places.iter_mut().zip(1..) {
            assert!(place.bytes().iter().all(|byte| *byte == 0));
            place.bytes_mut().fill(fill);
        }
        drop(memory);
        assert!(places.iter().zip(1..).all(|(place, fill)| place.bytes().iter().all(|byte| *byte == fill)));
    }

    #[test]
    fn threads_get_different_places() {
        let (threads, each) = (4, if cfg!(miri) { 2 } else { 64 });
        let memory = SharedMemory::of_places(threads * each, 8, Access::Read).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let memory = &memory;
                scope.spawn(move || {
                    let mut mine: Vec<_> = (0..each).map(|_| memory.place(8).unwrap()).collect();
                    mine.iter_mut().for_each(|place| place.bytes_mut().fill(thread as u8));
                    assert!(mine.iter().all(|place| place.bytes() == [thread as u8; 8]));
                });
            }
        });
        assert!(memory.place(1).is_none());
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        for len in [0, usize::MAX, MOST + 2] {
            assert_eq!(SharedMemory::new(len, Access::Read).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert!(SharedMemory::of_places(usize::MAX, 2, Access::Read).is_err());
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    mod other_process {
        use rustix::mm::{MapFlags, ProtFlags};

        use super::*;

        /// What another process reads at a place, or why it cannot map it so.
        fn mapped(fd: impl AsFd, protection: ProtFlags, place: SharedPlace<'_>) -> io::Result<u8> {
            let len = place.memory.len();
            // SAFETY: no address is asked for; the byte that is read lies in the
            // mapping, which is taken away before anybody else could use it.
            unsafe {
                let start = rustix::mm::mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, fd, 0)?;
                let byte = start.cast::<u8>().add(place.offset).read();
                rustix::mm::munmap(start, len)?;
                Ok(byte)
            }
        }

        #[test]
        fn what_is_written_here_is_there_and_its_length_cannot_change() {
            for access in [Access::Read, Access::Write] {
                let memory = SharedMemory::of_places(2, 100, access).unwrap();
                let (_, mut place) = (memory.place(100), memory.place(100).unwrap());
                place.bytes_mut()[0] = 42;
                assert_eq!(mapped(memory.as_fd(), ProtFlags::READ, place.shared()).unwrap(), 42);
                assert_eq!(
                    mapped(memory.read_only_fd().unwrap(), ProtFlags::READ, place.shared()).unwrap(),
                    42
                );
                for len in [0, 1 << 20] {
                    assert_eq!(rustix::fs::ftruncate(&memory, len), Err(rustix::io::Errno::PERM));
                }
            }
        }

        #[test]
        fn it_can_be_written_elsewhere_only_where_that_is_meant() {
            let both = ProtFlags::READ | ProtFlags::WRITE;
            let memory = SharedMemory::of_places(1, 100, Access::Write).unwrap();
            let place = memory.place(100).unwrap();
            assert!(mapped(memory.as_fd(), both, place.shared()).is_ok());
            assert!(mapped(memory.read_only_fd().unwrap(), both, place.shared()).is_err());

            let memory = SharedMemory::of_places(1, 100, Access::Read).unwrap();
            let mut place = memory.place(100).unwrap();
            assert!(mapped(memory.as_fd(), both, place.shared()).is_err());
            place.bytes_mut().fill(7);
            assert_eq!(mapped(memory.as_fd(), ProtFlags::READ, place.shared()).unwrap(), 7);
        }
    }
}
