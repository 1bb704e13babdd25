//! `Pool`: a bounded store of reusable values, handed out by counting.
//!
//! A pool owns up to `limit` slots. `get` takes a free slot, or makes one while
//! there are fewer than `limit`; past that it counts the pool as dry and makes
//! a value that is freed, not kept, when its last handle goes. Handles may be
//! dropped on any thread; returning a slot is one push to a lock-free queue.
//!
//! The state of a slot is its `refs`:
//!
//! - 0: free. The free queue owns its box; nobody reads or writes the value.
//! - 1: one handle, which owns the box. It may write, through `&mut self`.
//! - n > 1: shared. Everyone may read, nobody may write.
//!
//! A handle that drops subtracts one with `Release`, so that its reads and
//! writes come before; whoever brings it to 0 fences with `Acquire`, so that
//! the next owner's writes come after every earlier handle's reads. A writer
//! loads `refs` with `Acquire` for the same reason: seeing 1, it sees all that
//! the dropped sharers did; a sole handle that drops may for that reason load
//! instead of subtracting. The nasty race, two sharers dropping at once, has
//! one winner, because `fetch_sub` is atomic: exactly one of them sees 1.
//!
//! A slot keeps its store alive, and the store its free slots: a circle, which
//! the pool cuts when it is dropped, by closing the store and freeing what is
//! free. A slot that comes back later is freed at once; one that comes back just
//! then may be pushed after all was freed, so whoever pushes looks again whether
//! the store was closed, and if so frees too. Push and close are each followed by
//! a `SeqCst` fence before the look at the other's, so one of the two finds it.

#![allow(unsafe_code)]

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Ordering, Queue, UnsafeCell, fence};

/// A bounded store of reusable values. \[any\]
pub struct Pool<T: Send + Sync> {
    store: Arc<Store<T>>,
}

struct Store<T: Send + Sync> {
    free: Queue<Box<Slot<T>>>,
    made: AtomicUsize,
    dry: AtomicU64,
    closed: AtomicBool,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

struct Slot<T: Send + Sync> {
    refs: AtomicUsize,
    /// Where it goes back to; none for a value beyond the limit.
    home: Option<Arc<Store<T>>>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through `Pooled`, which gives `&mut T` to a
// sole handle and `&T` otherwise (the module's table of states), so `Slot` may
// be shared wherever `T` may be shared and sent.
unsafe impl<T: Send + Sync> Sync for Slot<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Slot<T> {}

/// A counted handle to a pooled value. Cloning counts; dropping the last handle
/// returns the value to its pool. \[any\]
pub struct Pooled<T: Send + Sync> {
    /// From `Box::into_raw`; valid while any handle is, by `refs`.
    slot: NonNull<Slot<T>>,
}

// SAFETY: a handle is a counted `&Slot`, which is `Sync` as `T` is `Send + Sync`;
// the last one owns the box, and boxes of `Send` values may be sent.
unsafe impl<T: Send + Sync> Send for Pooled<T> {}
// SAFETY: as above; `&Pooled` gives `&T` only.
unsafe impl<T: Send + Sync> Sync for Pooled<T> {}

impl<T: Send + Sync + 'static> Pool<T> {
    /// A pool of at most `limit` values, each made by `make` when first
    /// needed. A limit of 0 is read as 1. \[control\]
    pub fn new(limit: usize, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let store = Store {
            free: Queue::new(limit.max(1)),
            made: AtomicUsize::new(0),
            dry: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            make: Box::new(make),
        };
        Self { store: Arc::new(store) }
    }

    /// Makes values ahead of need, up to `count` or the limit. \[control\]
    pub fn fill(&self, count: usize) {
        let store = &self.store;
        while store.made.load(Ordering::Relaxed) < count.min(self.limit()) {
            if store.made.fetch_add(1, Ordering::Relaxed) >= self.limit() {
                store.made.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            // Dropped at once, it is free.
            drop(Pooled::made((store.make)(), Some(Arc::clone(store))));
        }
    }

    /// The most values the pool keeps. \[any\]
    #[must_use]
    pub fn limit(&self) -> usize {
        self.store.free.capacity()
    }

    /// How often `get` found no value and the limit reached. \[any\]
    #[must_use]
    pub fn dry(&self) -> u64 {
        self.store.dry.load(Ordering::Relaxed)
    }

    /// A value, unless the pool is dry. Allocates only while fewer than `limit`
    /// exist. \[real-time\]
    #[must_use]
    pub fn try_get(&self) -> Option<Pooled<T>> {
        if let Some(slot) = self.store.free.pop() {
            slot.refs.store(1, Ordering::Relaxed);
            return Some(Pooled::own(slot));
        }
        (self.store.made.load(Ordering::Relaxed) < self.limit()).then(|| self.get())
    }

    /// Whether no value is out, so that dropping the pool frees them all here. \[any\]
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.store.free.len() >= self.store.made.load(Ordering::Relaxed)
    }

    /// A value whose contents are whatever its last user left. Allocates only
    /// while fewer than `limit` exist, or when the pool is dry. \[real-time\]
    #[must_use]
    pub fn get(&self) -> Pooled<T> {
        Store::get(&self.store)
    }
}

impl<T: Send + Sync> Drop for Pool<T> {
    fn drop(&mut self) {
        self.store.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.store.free_all();
    }
}

impl<T: Send + Sync> Store<T> {
    fn get(store: &Arc<Self>) -> Pooled<T> {
        if let Some(slot) = store.free.pop() {
            slot.refs.store(1, Ordering::Relaxed);
            return Pooled::own(slot);
        }
        // Counting first keeps concurrent callers from making more than fit.
        let keep = store.made.fetch_add(1, Ordering::Relaxed) < store.free.capacity();
        if !keep {
            store.made.fetch_sub(1, Ordering::Relaxed);
            store.dry.fetch_add(1, Ordering::Relaxed);
        }
        Pooled::made((store.make)(), keep.then(|| Arc::clone(store)))
    }

    fn free_all(&self) {
        while let Some(slot) = self.free.pop() {
            drop(slot);
        }
    }
}

impl<T: Send + Sync> Pooled<T> {
    /// A value that belongs to no pool and is freed with its last handle. \[control\]
    pub fn unpooled(value: T) -> Self {
        Self::made(value, None)
    }

    fn made(value: T, home: Option<Arc<Store<T>>>) -> Self {
        Self::own(Box::new(Slot { refs: AtomicUsize::new(1), home, value: UnsafeCell::new(value) }))
    }

    fn own(slot: Box<Slot<T>>) -> Self {
        Self { slot: NonNull::from(Box::leak(slot)) }
    }

    #[inline]
    fn slot(&self) -> &Slot<T> {
        // SAFETY: `refs` counts this handle, so the box has not been freed.
        unsafe { self.slot.as_ref() }
    }

    /// The value, to write, if this is its only handle. \[real-time\]
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if self.slot().refs.load(Ordering::Acquire) == 1 {
            // SAFETY: refs is 1 and `self` is that handle, borrowed mutably, so
            // no other reference exists and none can be made while this lives.
            Some(self.slot().value.with_mut(|value| unsafe { &mut *value }))
        } else {
            None
        }
    }

    /// Another value from the same pool, or `None` if the pool is gone or
    /// there never was one. \[real-time\]
    #[must_use]
    pub fn sibling(&self) -> Option<Self> {
        let store = self.slot().home.as_ref()?;
        (!store.closed.load(Ordering::Relaxed)).then(|| Store::get(store))
    }
}

impl<T: Send + Sync> Deref for Pooled<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a writer needs refs == 1 and `&mut` on the only handle; while
        // this shared borrow of a handle lives, there is no such writer.
        self.slot().value.with(|value| unsafe { &*value })
    }
}

impl<T: Send + Sync> Clone for Pooled<T> {
    fn clone(&self) -> Self {
        // Relaxed suffices: the new handle is made from one that is alive.
        self.slot().refs.fetch_add(1, Ordering::Relaxed);
        Self { slot: self.slot }
    }
}

impl<T: Send + Sync> Drop for Pooled<T> {
    fn drop(&mut self) {
        let refs = &self.slot().refs;
        if refs.load(Ordering::Acquire) != 1 {
            if refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        // SAFETY: this was the last handle, so the box is ours, and nobody uses
        // `self.slot` after its drop.
        let slot = unsafe { Box::from_raw(self.slot.as_ptr()) };
        // Counted, because the slot is another's as soon as it is pushed.
        let Some(store) = slot.home.clone() else { return };
        if store.closed.load(Ordering::Relaxed) {
            return;
        }
        // The queue holds as many as were ever made, so this cannot fail.
        let _ = store.free.push(slot);
        fence(Ordering::SeqCst);
        if store.closed.load(Ordering::Relaxed) {
            store.free_all();
        }
    }
}

/// A value in a pooled place of its own: written when the place is taken, dropped
/// before the place goes back. It is never shared, so it may always be written,
/// and moving it moves a pointer. \[any\]
pub(crate) struct Placed<T: Send + Sync>(Pooled<MaybeUninit<T>>);

/// Where values of one type are placed. \[any\]
pub(crate) type Places<T> = Pool<MaybeUninit<T>>;

/// At most `limit` places, all made at once. \[control\]
pub(crate) fn places<T: Send + Sync + 'static>(limit: usize) -> Places<T> {
    let places = Pool::new(limit, MaybeUninit::uninit);
    places.fill(limit);
    places
}

impl<T: Send + Sync> Placed<T> {
    /// In one of `places`; allocates where they are all taken. \[real-time\]
    pub(crate) fn new(places: &Places<T>, value: T) -> Self {
        Self::write(Store::get(&places.store), value)
    }

    /// In a place that is freed with it. \[control\]
    pub(crate) fn unpooled(value: T) -> Self {
        Self::write(Pooled::unpooled(MaybeUninit::uninit()), value)
    }

    /// In another of the places that this one is from; allocates where they are all
    /// taken or gone. \[real-time\]
    pub(crate) fn beside(&self, value: T) -> Self {
        Self::write(self.0.sibling().unwrap_or_else(|| Pooled::unpooled(MaybeUninit::uninit())), value)
    }

    fn write(place: Pooled<MaybeUninit<T>>, value: T) -> Self {
        // SAFETY: `place` is fresh, so it is the only handle, and nothing refers to
        // what is in it. It holds nothing that would have to be dropped.
        place.slot().value.with_mut(|slot| unsafe { (*slot).write(value) });
        Self(place)
    }

    /// The value; its place goes back. \[real-time\]
    pub(crate) fn into_inner(self) -> T {
        let this = ManuallyDrop::new(self);
        // SAFETY: `write` wrote the value, and neither `this` nor its drop reads it
        // again. The handle is read out once, and dropped here alone.
        let (value, place) = unsafe { (this.0.assume_init_read(), std::ptr::read(&raw const this.0)) };
        drop(place);
        value
    }
}

impl<T: Send + Sync> Deref for Placed<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `write` wrote it.
        unsafe { self.0.assume_init_ref() }
    }
}

impl<T: Send + Sync> DerefMut for Placed<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: `write` wrote it; this is the only handle, since it is never
        // cloned, and it is borrowed mutably.
        self.0.slot().value.with_mut(|slot| unsafe { (*slot).assume_init_mut() })
    }
}

impl<T: Send + Sync> Drop for Placed<T> {
    fn drop(&mut self) {
        // SAFETY: `write` wrote it; nobody uses it after its drop.
        self.0.slot().value.with_mut(|slot| unsafe { (*slot).assume_init_drop() });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_placed_value_is_dropped_once_and_its_place_taken_again() {
        let places = places(1);
        let counted = std::sync::Arc::new(());
        let mut a = Placed::new(&places, vec![std::sync::Arc::clone(&counted)]);
        a.push(std::sync::Arc::clone(&counted));
        let b = a.beside(vec![counted.clone()]);
        assert_eq!((a.len(), b.len(), std::sync::Arc::strong_count(&counted)), (2, 1, 4));
        assert_eq!(a.into_inner().len(), 2);
        drop(b);
        assert_eq!((std::sync::Arc::strong_count(&counted), places.dry()), (1, 1));
        let c = Placed::new(&places, vec![counted]);
        assert_eq!(places.dry(), 1, "its place was free again");
        drop(places);
        assert_eq!(c.len(), 1);
    }

    #[test]
    fn a_dropped_value_is_used_again() {
        let pool = Pool::new(2, || vec![0u8; 4]);
        let mut a = pool.get();
        a.get_mut().unwrap()[0] = 7;
        let at = a.as_ptr();
        drop(a);
        let b = pool.get();
        assert_eq!((b.as_ptr(), b[0]), (at, 7));
    }

    #[test]
    fn a_shared_value_cannot_be_written() {
        let pool = Pool::new(1, || 0u32);
        let mut a = pool.get();
        let b = a.clone();
        assert!(a.get_mut().is_none());
        drop(b);
        assert!(a.get_mut().is_some());
    }

    #[test]
    fn running_dry_is_counted_and_still_serves() {
        let pool = Pool::new(1, || 0u32);
        let a = pool.get();
        let b = pool.get();
        assert_eq!(pool.dry(), 1);
        drop((a, b));
        let _a = pool.get();
        assert_eq!(pool.dry(), 1);
    }

    #[test]
    fn handles_outlive_their_pool() {
        let pool = Pool::new(1, || String::from("x"));
        let a = pool.get();
        drop(pool);
        assert_eq!(*a, "x");
    }

    #[test]
    fn handles_dropped_on_many_threads_all_come_back() {
        let pool = Pool::new(64, || 0u64);
        pool.fill(64);
        for _ in 0..if cfg!(miri) { 2 } else { 50 } {
            let handles: Vec<_> = (0..64).map(|_| pool.get()).collect();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    let copy = handles.clone();
                    scope.spawn(move || drop(copy));
                }
                scope.spawn(move || drop(handles));
            });
        }
        assert_eq!((pool.dry(), pool.store.free.len()), (0, 64));
    }

    #[test]
    fn what_was_shared_may_be_written_once_the_others_have_let_go() {
        let pool = Pool::new(2, || 0u64);
        let mut mine = pool.get();
        for round in 1..=if cfg!(miri) { 8 } else { 1_000 } {
            let theirs = mine.clone();
            std::thread::scope(|scope| {
                let reader = scope.spawn(move || *theirs);
                let value = loop {
                    if let Some(value) = mine.get_mut() {
                        break value;
                    }
                    std::thread::yield_now();
                };
                *value = round;
                assert_eq!(reader.join().unwrap(), round - 1);
            });
        }
        assert_eq!(pool.dry(), 0);
    }

    #[test]
    fn what_one_thread_lets_go_another_takes_and_writes() {
        let pool = Pool::new(1, || [0u64; 2]);
        pool.fill(1);
        let rounds = if cfg!(miri) { 16 } else { 10_000 };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let mut value = loop {
                            match pool.try_get() {
                                Some(value) => break value,
                                None => std::thread::yield_now(),
                            }
                        };
                        let both = value.get_mut().unwrap();
                        both[0] += 1;
                        both[1] += 1;
                    }
                });
            }
        });
        assert_eq!(pool.try_get().as_deref(), Some(&[2 * rounds; 2]));
    }

    #[test]
    fn a_pool_that_goes_while_values_come_back_frees_them_all() {
        let counted = std::sync::Arc::new(());
        for _ in 0..if cfg!(miri) { 4 } else { 1_000 } {
            let made = std::sync::Arc::clone(&counted);
            let pool = Pool::new(4, move || std::sync::Arc::clone(&made));
            let values: Vec<_> = (0..6).map(|_| pool.get()).collect();
            std::thread::scope(|scope| {
                for value in values {
                    scope.spawn(move || {
                        let sibling = value.sibling();
                        drop((value, sibling));
                    });
                }
                scope.spawn(move || drop(pool));
            });
        }
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }
}
