//! Waking a lane that sleeps.
//!
//! A lane's `LaneWaker` is in one of three states:
//!
//! - `AWAKE`: the lane runs, and nobody has called since it last looked.
//! - `CALLED`: somebody called; the lane will look again before it sleeps.
//! - `ASLEEP`: the lane is parked, or about to be.
//!
//! Who calls swaps in `CALLED`; only if that replaces `ASLEEP` does it cost a
//! system call. The lane goes to sleep by exchanging `AWAKE` for `ASLEEP`,
//! which fails if somebody has called, and swaps in `AWAKE` when it is back.
//! Both sides swap with `AcqRel`, so what was written before a call is seen
//! after the sleep it ended. The nasty race, a call between the lane's last
//! look at its links and its exchange, makes the exchange fail; a call between
//! the exchange and the park leaves the thread's token set, so park returns at
//! once.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

const AWAKE: u8 = 0;
const CALLED: u8 = 1;
const ASLEEP: u8 = 2;

/// Wakes one lane. \[any\]
#[derive(Default)]
pub struct LaneWaker {
    state: AtomicU8,
    thread: OnceLock<Thread>,
    wakes: AtomicU64,
}

impl LaneWaker {
    /// Makes sure the lane looks at its links again. Costs a system call only
    /// if the lane sleeps. \[real-time\]
    pub fn wake(&self) {
        if self.state.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            if let Some(thread) = self.thread.get() {
                thread.unpark();
            }
        }
    }

    /// How often a sleeping lane was woken. \[any\]
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }

    /// Sleeps until called or for `limit`; returns at once if called since the
    /// last sleep. Only the lane's own thread may call it.
    pub(crate) fn sleep(&self, limit: Option<Duration>) {
        self.thread.get_or_init(std::thread::current);
        if self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // Waking early is harmless: the lane looks, and sleeps again.
            match limit {
                Some(limit) => std::thread::park_timeout(limit),
                None => std::thread::park(),
            }
        }
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Whether somebody called since the last look; for lanes that are driven
    /// in turn rather than slept.
    pub(crate) fn take_call(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == CALLED
    }
}

/// Wakes one node, from another thread or another node: its `process` is called
/// soon. \[real-time\]
#[derive(Clone, Default)]
pub struct NodeWaker {
    called: Arc<AtomicBool>,
    lane: Arc<LaneWaker>,
}

impl NodeWaker {
    pub(crate) fn new(lane: Arc<LaneWaker>) -> Self {
        Self { called: Arc::default(), lane }
    }

    /// Has the node called soon. \[real-time\]
    pub fn wake(&self) {
        self.called.store(true, Ordering::Release);
        self.lane.wake();
    }

    pub(crate) fn take_call(&self) -> bool {
        // The load keeps the common case free of a write.
        self.called.load(Ordering::Relaxed) && self.called.swap(false, Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_before_the_sleep_is_not_lost() {
        let waker = LaneWaker::default();
        waker.wake();
        waker.sleep(None);
        assert_eq!(waker.wakes(), 0, "a lane that is awake costs no wake");
    }

    #[test]
    fn a_sleeping_lane_is_woken_every_time() {
        let waker = Arc::new(LaneWaker::default());
        let seen = Arc::new(AtomicU64::new(0));
        let sleeper = {
            let (waker, seen) = (Arc::clone(&waker), Arc::clone(&seen));
            std::thread::spawn(move || {
                while seen.load(Ordering::Acquire) < 1_000 {
                    waker.sleep(None);
                }
            })
        };
        for _ in 0..1_000 {
            seen.fetch_add(1, Ordering::Release);
            waker.wake();
        }
        sleeper.join().unwrap();
    }
}
