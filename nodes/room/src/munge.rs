//! `Munger`: gives the packets that come to one media section of a subscriber, from
//! one stream after another, the numbers and timestamps of a single stream.
//!
//! After LiveKit's `pkg/sfu/rtpmunger.go`: a switch continues where the last source
//! ended; what the server holds back leaves no gap; what was lost before the server
//! leaves the gap that it is, into which a late packet still fits.

use std::time::Duration;

use sidetone_core::Timestamp;
use sidetone_core::timestamp::duration_nanos;

/// How far a packet may be behind the newest of its source and still go out: a little
/// more than the 100 packets that str0m asks for again.
const WINDOW: u64 = u128::BITS as u64;
/// RFC 3550, appendix A.1 (`MAX_DROPOUT`): a greater step ahead is a sender that counts
/// anew.
const MAX_DROPOUT: u64 = 3_000;
/// The first number of a stream is below this: a receiver takes the rollover counter
/// to be 0 at first (RFC 3711 § 3.3.1), which must still hold when the first packets
/// come in another order.
pub(crate) const FIRST_BELOW: u16 = 32_768;
/// A switch moves timestamps on by at least this, so that no two pictures share one.
const LEAST_STEP: Duration = Duration::from_millis(10);

/// What a packet is to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Counted on past its wrap.
    pub(crate) seq: u64,
    pub(crate) timestamp: u32,
}

/// What becomes of a packet of the present source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Munged {
    /// It goes out.
    As(Name),
    /// It went out before, or is too old.
    Late,
    /// Its source counts anew, as if it were another.
    Anew,
}

/// The numbers of one outgoing stream.
#[derive(Debug)]
pub(crate) struct Munger {
    clock_rate: u32,
    /// The newest that went out, and when; at first what is to come before the first.
    last: Name,
    at: Option<Timestamp>,
    source: Option<Source>,
}

/// The source whose packets go out.
#[derive(Debug)]
struct Source {
    /// Its numbers, as they come: the first since the switch, and the newest.
    first: u64,
    newest: u64,
    /// Outgoing less incoming, for the newest.
    seq_offset: u64,
    timestamp_offset: u32,
    /// Bit n: the packet n before the newest came.
    seen: u128,
    /// Bit n: the packet n before the newest was held back, so that those before it have
    /// an offset greater by one.
    skipped: u128,
}

impl Munger {
    /// Of a stream of `clock_rate` per second that begins with number `first`, of
    /// 1 to 32,767, and at about `timestamp`.
    pub(crate) fn new(clock_rate: u32, first: u16, timestamp: u32) -> Self {
        debug_assert!((1..FIRST_BELOW).contains(&first));
        Self { clock_rate, last: Name { seq: u64::from(first) - 1, timestamp }, at: None, source: None }
    }

    /// The first packet of another source, or of the same after a pause: from now on
    /// none from before is let through.
    pub(crate) fn switch(&mut self, now: Timestamp, seq: u64, timestamp: u32) -> Name {
        let step = self.at.map_or(LEAST_STEP, |at| now.since(at).max(LEAST_STEP));
        let ticks = u128::from(duration_nanos(step)) * u128::from(self.clock_rate) / 1_000_000_000;
        #[allow(clippy::cast_possible_truncation)] // it wraps, as timestamps do
        let name = Name { seq: self.last.seq + 1, timestamp: self.last.timestamp.wrapping_add(ticks as u32) };
        self.source = Some(Source {
            first: seq,
            newest: seq,
            seq_offset: name.seq.wrapping_sub(seq),
            timestamp_offset: name.timestamp.wrapping_sub(timestamp),
            seen: 1,
            skipped: 0,
        });
        (self.last, self.at) = (name, Some(now));
        name
    }

    /// A packet of the source that goes out.
    pub(crate) fn munge(&mut self, now: Timestamp, seq: u64, timestamp: u32) -> Munged {
        let Some(source) = &mut self.source else { return Munged::Anew };
        let is_newest = match source.place(seq) {
            Place::Ahead => true,
            Place::Behind => false,
            Place::Late => return Munged::Late,
            Place::Anew => return Munged::Anew,
        };
        let name = Name {
            seq: seq.wrapping_add(source.seq_offset).wrapping_add(source.skipped_after(seq)),
            timestamp: timestamp.wrapping_add(source.timestamp_offset),
        };
        if is_newest {
            (self.last, self.at) = (name, Some(now));
        }
        Munged::As(name)
    }

    /// A packet of the source that goes out is itself held back.
    pub(crate) fn skip(&mut self, seq: u64) {
        // One that comes late has left its gap already.
        if let Some(source) = &mut self.source
            && source.place(seq) == Place::Ahead
        {
            source.skipped |= 1;
            source.seq_offset = source.seq_offset.wrapping_sub(1);
        }
    }
}

/// Where a packet stands in its source.
#[derive(PartialEq)]
enum Place {
    Ahead,
    Behind,
    Late,
    Anew,
}

impl Source {
    /// Takes note of packet `seq`.
    fn place(&mut self, seq: u64) -> Place {
        if let Some(ahead @ 1..) = seq.checked_sub(self.newest) {
            if ahead > MAX_DROPOUT {
                return Place::Anew;
            }
            let shift =
                |bits: u128| u32::try_from(ahead).ok().and_then(|by| bits.checked_shl(by)).unwrap_or(0);
            (self.seen, self.skipped) = (shift(self.seen) | 1, shift(self.skipped));
            self.newest = seq;
            return Place::Ahead;
        }
        let behind = self.newest - seq;
        if seq < self.first || behind >= WINDOW || self.seen >> behind & 1 == 1 {
            return Place::Late;
        }
        self.seen |= 1 << behind;
        Place::Behind
    }

    /// How many packets after `seq` were held back, of those within the window.
    fn skipped_after(&self, seq: u64) -> u64 {
        let after = (1_u128 << (self.newest - seq)) - 1;
        u64::from((self.skipped & after).count_ones())
    }
}

#[cfg(test)]
mod tests;
