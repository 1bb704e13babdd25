//! `Timing`: how long the hall's thread takes, written by it and read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sidetone_core::histogram::Histogram;

/// How long the hall's thread takes, and what it had no room for.
#[derive(Default)]
pub struct Timing {
    /// From when a datagram was read to when what it gave was handed to the sockets, of
    /// each packet that went out.
    pub forward: Spans,
    /// A turn of the thread, without its sleep.
    pub turn: Spans,
    /// Commands for which there was no room.
    full: AtomicU64,
    /// Datagrams that the system did not take.
    unsent: AtomicU64,
}

/// Durations, counted by one thread.
#[derive(Default)]
pub struct Spans {
    all: Histogram,
    /// As it was when it was last asked for.
    before: Mutex<Histogram>,
}

/// What became of durations, in seconds: the quantiles of those since it was last asked
/// for, the rest of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// How many.
    pub count: u64,
    /// All together.
    pub sum: f64,
    /// Half are at most this.
    pub p50: f64,
    /// 99 of a hundred are at most this.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

impl Timing {
    /// Packets that came at `taken` have gone out now. \[real-time\]
    pub(super) fn went(&self, packets: u64, taken: Instant) {
        if packets > 0 {
            let span = taken.elapsed();
            (0..packets).for_each(|_| self.forward.all.record(span));
        }
    }

    /// A turn took so long. \[real-time\]
    pub(super) fn turned(&self, span: Duration) {
        self.turn.all.record(span);
    }

    pub(super) fn count_full(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_unsent(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    /// Commands for which there was no room, and datagrams that the system did not
    /// take. \[any\]
    #[must_use]
    pub fn lost(&self) -> (u64, u64) {
        (self.full.load(Ordering::Relaxed), self.unsent.load(Ordering::Relaxed))
    }
}

impl Spans {
    /// What became of them. \[control\]
    #[must_use]
    pub fn figures(&self) -> Figures {
        let now = Histogram::default();
        now.merge(&self.all);
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = now.since(&before).summary();
        let (count, sum) = (now.count(), Duration::from_nanos(now.sum()).as_secs_f64());
        *before = now;
        Figures { count, sum, p50: recent.p50 / 1e3, p99: recent.p99 / 1e3, max: recent.max / 1e3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_since_the_last_look_and_the_rest_of_all() {
        let spans = Spans::default();
        assert_eq!(spans.figures(), Figures::default());
        (0..99).for_each(|_| spans.all.record(Duration::from_micros(100)));
        spans.all.record(Duration::from_millis(50));
        let first = spans.figures();
        assert_eq!((first.count, first.max), (100, 0.05));
        assert!((first.p50 / 1e-4 - 1.0).abs() < 0.02 && (first.p99 / 1e-4 - 1.0).abs() < 0.02, "{first:?}");
        spans.all.record(Duration::from_millis(1));
        let second = spans.figures();
        assert!((second.p50 / 1e-3 - 1.0).abs() < 0.02, "{second:?}");
        assert_eq!((second.count, second.max), (101, 0.05));
        assert!((second.sum - 0.0609).abs() < 1e-6, "{second:?}");
    }
}
