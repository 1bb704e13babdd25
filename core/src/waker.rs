//! Waking a lane that sleeps, and telling it where to look.
//!
//! A lane's nodes are numbered into places, 62 words of 64 bits; two nodes may
//! have the same place, which costs a look for nothing. Who has put something
//! into a link sets the receiver's bit, then the bit of its word in `pending`.
//! `pending` has two more bits: `MAIL`, for messages, and `ASLEEP`, set by the
//! lane alone.
//!
//! - The lane looks by swapping `pending` with 0 and then each word named there
//!   with 0, and goes to its links after that.
//! - It sleeps by exchanging a `pending` of 0 for `ASLEEP`, which fails if
//!   anything was called since it last looked; then it parks. The swap of its
//!   next look takes `ASLEEP` away.
//! - Who calls sets its bits with read-modify-writes; whoever's finds `ASLEEP`
//!   there unparks the thread, which costs a system call. Nobody else does.
//!
//! Why nothing is lost. A caller's fresh bit in a word is set (`AcqRel`) before
//! that word's bit in `pending` is (`AcqRel`), and the lane swaps in the
//! opposite order, so a lane that saw the word's bit in `pending` finds the bit
//! in the word, and one that did not will be told: its exchange fails, or it is
//! found `ASLEEP`. A call between exchange and park leaves the thread's token
//! set, so park returns at once.
//!
//! The nasty race is the short cut that keeps a busy link free of
//! read-modify-writes: a caller that finds its bit still set does nothing, since
//! the lane has yet to look. It has put its item into the ring, fences
//! (`SeqCst`), and reads the bit; the lane clears the bit, fences, and reads the
//! ring. Of two such threads at least one sees the other's write: either the
//! caller sees the bit cleared and sets it anew, or the lane sees the item.
//! Whoever set the bit first is the one who sets `pending` and wakes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::ledger::NodeId;
use crate::sync::{AtomicBool, AtomicU64, Ordering, Thread, current, fence, park};

const WORDS: usize = if cfg!(loom) { 1 } else { 62 };
/// How many places there are.
pub(crate) const PLACES: usize = WORDS * 64;
const MAIL: u64 = 1 << 62;
const ASLEEP: u64 = 1 << 63;

/// Where a lane is told to look; nodes whose ids differ by [`PLACES`] share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(u16);

impl Place {
    #[allow(clippy::cast_possible_truncation)] // PLACES fits
    pub(crate) const fn of(node: NodeId) -> Self {
        Self((node.0 as usize % PLACES) as u16)
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Wakes one lane. \[any\]
pub struct LaneWaker {
    pending: AtomicU64,
    words: [AtomicU64; WORDS],
    thread: OnceLock<Thread>,
    wakes: AtomicU64,
}

impl Default for LaneWaker {
    fn default() -> Self {
        Self {
            pending: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            thread: OnceLock::new(),
            wakes: AtomicU64::new(0),
        }
    }
}

impl LaneWaker {
    /// Makes sure the lane looks at `place` after all that the caller has done.
    /// Costs a system call only if the lane sleeps. \[real-time\]
    pub(crate) fn wake(&self, place: Place) {
        let (word, bit) = (place.index() / 64, 1 << (place.index() % 64));
        fence(Ordering::SeqCst);
        if self.words[word].load(Ordering::Relaxed) & bit == 0
            && self.words[word].fetch_or(bit, Ordering::AcqRel) & bit == 0
        {
            self.call(1 << word);
        }
    }

    /// Makes sure the lane reads its messages. \[real-time\]
    pub(crate) fn wake_for_mail(&self) {
        self.call(MAIL);
    }

    fn call(&self, bit: u64) {
        if self.pending.fetch_or(bit, Ordering::AcqRel) & ASLEEP != 0 {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            if let Some(thread) = self.thread.get() {
                thread.unpark();
            }
        }
    }

    /// How often a sleeping lane was woken. A caller that comes while another is
    /// about to unpark it counts too. \[any\]
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }

    /// Whether anything was called since the last look. \[real-time\]
    pub(crate) fn is_called(&self) -> bool {
        self.pending.load(Ordering::Relaxed) & !ASLEEP != 0
    }

    /// Looks: tells `see` of every place that was called, and returns whether
    /// there is mail. Only the lane's own thread may call it. \[real-time\]
    pub(crate) fn look(&self, mut see: impl FnMut(Place)) -> bool {
        if self.pending.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let pending = self.pending.swap(0, Ordering::AcqRel);
        let mut words = pending & !(MAIL | ASLEEP);
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            let mut bits = self.words[word].swap(0, Ordering::AcqRel);
            while bits != 0 {
                #[allow(clippy::cast_possible_truncation)] // PLACES fits
                see(Place((word * 64) as u16 + bits.trailing_zeros() as u16));
                bits &= bits - 1;
            }
        }
        // Before the links are read: see the nasty race above.
        fence(Ordering::SeqCst);
        pending & MAIL != 0
    }

    /// Sleeps until called or for `limit`; returns at once if called since the
    /// last look. Only the lane's own thread may call it.
    pub(crate) fn sleep(&self, limit: Option<Duration>) {
        self.thread.get_or_init(current);
        if self.pending.compare_exchange(0, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // Waking early is harmless: the lane looks, and sleeps again.
            match limit {
                #[cfg(not(loom))]
                Some(limit) => std::thread::park_timeout(limit),
                _ => park(),
            }
        }
    }
}

/// Wakes one node, from another thread or another node: its `process` is called
/// soon. \[real-time\]
#[derive(Clone, Default)]
pub struct NodeWaker {
    called: Arc<AtomicBool>,
    lane: Arc<LaneWaker>,
    place: Place,
}

impl NodeWaker {
    pub(crate) fn new(lane: Arc<LaneWaker>, node: NodeId) -> Self {
        Self { called: Arc::default(), lane, place: Place::of(node) }
    }

    /// Has the node called soon. \[real-time\]
    pub fn wake(&self) {
        self.called.store(true, Ordering::Release);
        self.lane.wake(self.place);
    }

    pub(crate) fn take_call(&self) -> bool {
        // The load keeps the common case free of a write.
        self.called.load(Ordering::Relaxed) && self.called.swap(false, Ordering::Acquire)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_call_before_the_sleep_is_not_lost() {
        let waker = LaneWaker::default();
        waker.wake(Place(70));
        waker.sleep(None);
        assert_eq!(waker.wakes(), 0, "a lane that is awake costs no wake");
        let mut seen = Vec::new();
        assert!(!waker.look(|place| seen.push(place)));
        assert_eq!(seen, [Place(70)]);
    }

    #[test]
    fn every_place_and_the_mail_are_told_once() {
        let waker = LaneWaker::default();
        for place in [0, 63, 64, 3_967, 64] {
            waker.wake(Place(place));
        }
        waker.wake_for_mail();
        let mut seen = Vec::new();
        assert!(waker.look(|place| seen.push(place.0)));
        assert_eq!(seen, [0, 63, 64, 3_967]);
        assert!(!waker.look(|_| panic!("told twice")));
    }

    #[test]
    fn a_sleeping_lane_is_woken_every_time() {
        let rounds = if cfg!(miri) { 20 } else { 1_000 };
        let waker = Arc::new(LaneWaker::default());
        let seen = Arc::new(AtomicU64::new(0));
        let sleeper = {
            let (waker, seen) = (Arc::clone(&waker), Arc::clone(&seen));
            std::thread::spawn(move || {
                while seen.load(Ordering::Acquire) < rounds {
                    waker.sleep(None);
                    waker.look(|_| {});
                }
            })
        };
        for n in 0..rounds {
            seen.fetch_add(1, Ordering::Release);
            waker.wake(Place(u16::try_from(n % 200).unwrap()));
        }
        sleeper.join().unwrap();
    }
}
