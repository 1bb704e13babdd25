//! A ring: a bounded queue from one thread to one other, without locks.
//!
//! `tail` counts what was ever put in and `head` what was ever taken out, both
//! wrapping. The slot of count `n` is `n` modulo the number of slots, a power of
//! two. A slot is
//!
//! - the producer's while `tail - head` does not reach it: only the producer
//!   writes `tail`, and it writes the slot before it;
//! - the consumer's from the moment it sees a `tail` beyond the slot until it
//!   writes a `head` beyond it.
//!
//! `tail` is stored with `Release` and loaded by the consumer with `Acquire`, so
//! that whoever sees the count sees the item; `head` likewise the other way
//! round, so that a slot is written again only after it was read. Each end keeps
//! the other's count as it last saw it, and loads it anew only when that says
//! full (or empty): most of the time neither touches the other's cache line. A
//! count seen late can only make the ring look fuller (or emptier) than it is.
//!
//! `ringbuf` does the same, but loom cannot look inside it, and the wake that
//! goes with a ring is where the races are; so links between lanes use this one
//! and loom runs over both together.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::sync::{Apart, Arc, AtomicUsize, Ordering, UnsafeCell};

struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    head: Apart<AtomicUsize>,
    tail: Apart<AtomicUsize>,
}

// SAFETY: each slot is reached by one end at a time (the module's rule of whose
// it is), so items only ever move from one thread to another.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl<T: Send> Send for Shared<T> {}

/// The end that puts in.
pub(crate) struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    /// `head` as it was last seen.
    head: usize,
}

/// The end that takes out.
pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    /// `tail` as it was last seen.
    tail: usize,
}

/// Both ends of a ring with room for at least `capacity` items. \[control\]
pub(crate) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let slots =
        (0..capacity.max(1).next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let shared =
        Arc::new(Shared { slots, head: Apart(AtomicUsize::new(0)), tail: Apart(AtomicUsize::new(0)) });
    (Producer { shared: Arc::clone(&shared), tail: 0, head: 0 }, Consumer { shared, head: 0, tail: 0 })
}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, count: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[count & (self.slots.len() - 1)]
    }
}

impl<T> Producer<T> {
    /// Puts `item` in, or gives it back if there is no room. \[real-time\]
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        self.push_within(self.shared.slots.len(), item)
    }

    /// The same, if fewer than `limit` items wait. \[real-time\]
    #[inline]
    pub(crate) fn push_within(&mut self, limit: usize, item: T) -> Result<(), T> {
        if !self.has_room(limit.min(self.shared.slots.len())) {
            return Err(item);
        }
        // SAFETY: there is room, so the slot at `tail` is the producer's, and
        // `&mut self` makes this the only producer.
        self.shared.slot(self.tail).with_mut(|slot| unsafe { (*slot).write(item) });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Whether fewer than `limit` items wait. \[real-time\]
    #[inline]
    pub(crate) fn has_room(&mut self, limit: usize) -> bool {
        self.tail.wrapping_sub(self.head) < limit || self.len() < limit
    }

    /// Items that wait. \[real-time\]
    pub(crate) fn len(&mut self) -> usize {
        self.head = self.shared.head.0.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head)
    }

    /// At least as many as wait, without asking the other end. \[real-time\]
    pub(crate) const fn len_at_most(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }
}

impl<T> Consumer<T> {
    /// The next item, where it lies. \[real-time\]
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<&T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the slot at `head` is the consumer's and was written. The
        // reference borrows `self`, and only `pop`, which needs `&mut self`, gives
        // the slot back.
        Some(self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_ref() }))
    }

    /// Takes the next item. \[real-time\]
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the slot at `head` is the consumer's and was written; counting it
        // as taken right after makes this the only time it is read out.
        let item = self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(item)
    }

    /// Items that wait. \[real-time\]
    #[inline]
    pub(crate) fn len(&mut self) -> usize {
        self.tail = self.shared.tail.0.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head)
    }

    #[inline]
    fn is_empty(&mut self) -> bool {
        if self.tail == self.head {
            self.tail = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.tail == self.head
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.0.load(Ordering::Relaxed);
        let mut head = self.head.0.load(Ordering::Relaxed);
        while head != tail {
            // SAFETY: both ends are gone; what lies between the counts was written
            // and never taken.
            self.slot(head).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_and_no_more_go_in_than_fit() {
        let (mut into, mut out) = ring(4);
        for lap in 0..5 {
            for n in 0..4 {
                assert_eq!(into.push(lap * 4 + n), Ok(()));
            }
            assert_eq!((into.push(99), into.len(), out.len()), (Err(99), 4, 4));
            assert_eq!(out.peek(), Some(&(lap * 4)));
            for n in 0..4 {
                assert_eq!(out.pop(), Some(lap * 4 + n));
            }
            assert!(out.pop().is_none() && out.peek().is_none());
        }
    }

    #[test]
    fn what_was_never_taken_is_dropped_once() {
        let item = std::sync::Arc::new(());
        let (mut into, mut out) = ring(4);
        for _ in 0..3 {
            let _ = into.push(std::sync::Arc::clone(&item));
        }
        drop(out.pop());
        assert_eq!(std::sync::Arc::strong_count(&item), 3);
        drop((into, out));
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
    }

    #[test]
    fn two_threads_agree_on_every_item() {
        let count = if cfg!(miri) { 200 } else { 100_000 };
        let (mut into, mut out) = ring(4);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..count {
                    let mut item = Box::new(n);
                    while let Err(back) = into.push(item) {
                        item = back;
                        std::thread::yield_now();
                    }
                }
            });
            for n in 0..count {
                while out.peek().is_none() {
                    std::thread::yield_now();
                }
                assert_eq!(out.peek().map(|item| **item), Some(n));
                assert_eq!(out.pop().as_deref(), Some(&n));
            }
        });
    }

    #[test]
    fn what_is_left_when_its_ends_go_on_two_threads_is_dropped_once() {
        let item = std::sync::Arc::new(());
        for _ in 0..if cfg!(miri) { 4 } else { 1_000 } {
            let (mut into, mut out) = ring(4);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    (0..3).for_each(|_| assert!(into.push(std::sync::Arc::clone(&item)).is_ok()));
                    drop(into);
                });
                scope.spawn(|| drop((out.pop(), out)));
            });
        }
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
    }

    #[test]
    fn its_counts_go_on_past_the_greatest_number() {
        let (mut into, mut out) = ring(4);
        let near = usize::MAX - 2;
        (into.tail, into.head, out.tail, out.head) = (near, near, near, near);
        into.shared.tail.0.store(near, Ordering::Relaxed);
        into.shared.head.0.store(near, Ordering::Relaxed);
        for n in 0..8 {
            assert!(into.push(Box::new(n)).is_ok() && into.push(Box::new(n + 100)).is_ok());
            assert_eq!((out.len(), out.pop().as_deref()), (2, Some(&n)));
            assert_eq!(out.pop().as_deref(), Some(&(n + 100)));
        }
        (0..4).for_each(|n| assert!(into.push(Box::new(n)).is_ok()));
        assert!(into.push(Box::new(4)).is_err(), "it is full");
    }
}
