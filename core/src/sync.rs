//! The atomics that the lock-free parts are made of: the standard library's, or
//! under `--cfg loom` those of `loom`, which tries every order of events.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};
#[cfg(not(loom))]
pub(crate) use std::thread::{Thread, current, park};

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{Thread, current, park},
};

/// `std::cell::UnsafeCell` with loom's way of reaching what is inside.
#[cfg(not(loom))]
#[derive(Debug, Default)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// Keeps what two threads write apart, so that neither waits for the other's
/// cache line (two lines, since processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// A bounded queue with many producers and consumers.
#[cfg(not(loom))]
pub(crate) type Queue<T> = crossbeam_queue::ArrayQueue<T>;

/// Its stand-in for loom, which cannot see into the real one.
#[cfg(loom)]
pub(crate) struct Queue<T> {
    items: loom::sync::Mutex<std::collections::VecDeque<T>>,
    capacity: usize,
}

#[cfg(loom)]
impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { items: loom::sync::Mutex::new(std::collections::VecDeque::new()), capacity }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn len(&self) -> usize {
        self.items.lock().map_or(0, |items| items.len())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.items.lock().ok()?.pop_front()
    }

    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        match self.items.lock() {
            Ok(mut items) if items.len() < self.capacity => {
                items.push_back(item);
                Ok(())
            }
            _ => Err(item),
        }
    }
}
