//! `AudioJitter`: gives Opus packets a steady clock. One frame goes out every
//! frame's length; what is missing is named, not waited for. No clock, no
//! allocation, no I/O: packets and the time go in, steps come out.
//!
//! The state is a clock that says which media time is due when:
//!
//! - at rest: nothing is due. The next packet starts the clock.
//! - running: at `next_at` the frame at media time `next_ts` goes out, which
//!   packet `next_seq` or one after it should hold.
//!
//! The delay is `next_at` less that media time, above the estimate's base. It
//! grows by standing still (a concealment goes out, media time waits) and falls
//! by leaving a frame out. By less than a frame it moves without either: what
//! goes out does so a little later or sooner. As long as nothing went out, it is
//! whatever the quickest packet so far says.

use std::time::Duration;

use sidetone_core::timestamp::duration_nanos;
use sidetone_core::{DropReason, Flags, Frame, Header, Timestamp};

use crate::delay_estimate::{DelayEstimate, DelayRange, Nanos, media_nanos};
use crate::jitter_buffer::Step;
use crate::opus;
use crate::packet::Packet;
use crate::sequence::{Place, Position, Sequence};

/// Packets held at most: 1.28 s of the shortest frames.
const SLOTS: usize = 512;
const RATE: u32 = 48_000;
/// So late a packet may come, on a link without jitter, by the scheduling of
/// this machine and the one before it.
pub(crate) const SLACK: Duration = Duration::from_millis(1);
/// After so long with no packet, rest.
const REST_UNITS: i64 = RATE as i64;
/// A longer gap in timestamps is no silence but another timeline.
const JUMP_UNITS: i64 = 2 * RATE as i64;
/// So many packets late in a row are a slower path: the next one is played, and
/// the clock set back to it.
const LATE_IN_A_ROW: u32 = 3;
const SKIP_EVERY: Duration = Duration::from_millis(500);
/// A delay that is too long by this much came of a stall; it falls five times as
/// fast.
const STALLED: Nanos = 100_000_000;
const SKIP_SOON: Duration = Duration::from_millis(100);
/// A delay that is too long by less than a frame falls by one part in so many of
/// the time that passes, as if the sender's clock were that much faster.
const SLOWLY: u32 = 200;
/// So long a quiet place to skip is waited for, and so long no skip follows
/// after the clock was set back.
const SKIP_PATIENCE: Duration = Duration::from_secs(2);

struct Slot {
    position: Position,
    samples: i64,
    frame: Frame,
}

#[derive(Clone, Copy)]
struct Clock {
    next_at: Timestamp,
    next_seq: i64,
    next_ts: i64,
}

/// What stands at the clock's next place.
enum Next {
    /// A packet.
    Packet { seq: i64 },
    /// Nothing was sent, for so many units.
    Silence { units: i64 },
    /// A packet that did not come; `successor` is the one right after it.
    Lost { units: i64, skip_to: i64, successor: Option<i64> },
    /// No later packet is here either.
    Unknown,
}

pub(crate) struct AudioJitter {
    delay: DelayEstimate,
    sequence: Sequence,
    slots: Box<[Option<Slot>]>,
    /// Which packet came last in each slot, to tell late from twice.
    seen: Box<[i64]>,
    held: usize,
    clock: Option<Clock>,
    /// Whether nothing went out since the clock was started.
    is_fresh: bool,
    /// When the last frame that went out ended, once one did.
    ended_at: Option<Timestamp>,
    /// Where the next frame stands on the output's timeline.
    pts: Timestamp,
    /// When its sound was captured.
    captured: Timestamp,
    number: u64,
    /// Units in the last packet's frame.
    frame_units: i64,
    is_silent: bool,
    /// Units put out since the last packet.
    starved: i64,
    late_in_a_row: u32,
    inserted: bool,
    excess_since: Option<Timestamp>,
    skip_from: Timestamp,
    flags: Flags,
    is_over: bool,
    let_go: (u64, DropReason),
}

impl AudioJitter {
    pub(crate) fn new(range: DelayRange) -> Self {
        Self {
            delay: DelayEstimate::new(with_slack(range)),
            sequence: Sequence::default(),
            slots: (0..SLOTS).map(|_| None).collect(),
            seen: vec![-1; SLOTS].into(),
            held: 0,
            clock: None,
            is_fresh: false,
            ended_at: None,
            pts: Timestamp::ZERO,
            captured: Timestamp::ZERO,
            number: 0,
            frame_units: 960,
            is_silent: false,
            starved: 0,
            late_in_a_row: 0,
            inserted: false,
            excess_since: None,
            skip_from: Timestamp::ZERO,
            flags: Flags::default(),
            is_over: false,
            let_go: (0, DropReason::Stopped),
        }
    }

    pub(crate) fn set_range(&mut self, range: DelayRange) {
        self.delay.set_range(with_slack(range));
    }

    /// No packet comes any more: what is held plays out, nothing is concealed
    /// after it.
    pub(crate) fn end(&mut self) {
        self.is_over = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// When `poll` has something to do.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        self.clock.map(|clock| clock.next_at)
    }

    /// Takes a packet that came at `now`, or says why not.
    pub(crate) fn insert(&mut self, now: Timestamp, frame: Frame) -> Option<DropReason> {
        let Ok(packet) = Packet::parse(frame.bytes()) else { return Some(DropReason::Corrupt) };
        let Some(samples) = opus::samples(packet.payload) else { return Some(DropReason::Corrupt) };
        let position = match self.sequence.place(&packet.header) {
            Place::Stray => return Some(DropReason::Corrupt),
            Place::Here(position) => position,
            Place::Anew(position) => {
                self.let_go_all(DropReason::Stopped);
                self.rest();
                self.delay.reset();
                self.seen.fill(-1);
                position
            }
        };
        let seen = &mut self.seen[slot_of(position.sequence)];
        if *seen == position.sequence {
            return Some(DropReason::Duplicate);
        }
        *seen = position.sequence;
        let media = media_nanos(position.timestamp, RATE);
        self.delay.observe(now, media);
        if self.clock.is_none() && self.delay.above_base(now, media) > self.delay.max() {
            // Its timestamps stood still while it was silent, or the path is
            // another: what was known before says nothing now.
            self.delay.reset();
            self.delay.observe(now, media);
        }
        match self.clock {
            None => self.start(now, position, &frame.header),
            Some(clock) if position.sequence >= clock.next_seq + SLOTS as i64 => {
                self.let_go_all(DropReason::Overflow);
                self.set_clock(position);
                self.flags = Flags::DISCONTINUITY;
            }
            Some(clock) if position.sequence < clock.next_seq || position.timestamp < clock.next_ts => {
                self.late_in_a_row += 1;
                if !self.may_set_back(clock, position) {
                    if position.sequence == clock.next_seq {
                        self.clock = Some(Clock { next_seq: clock.next_seq + 1, ..clock });
                    }
                    return Some(DropReason::Late);
                }
                self.set_clock(position);
                self.skip_from = now + SKIP_PATIENCE;
            }
            Some(clock) if self.is_fresh => self.start_sooner(now, clock),
            Some(_) => {}
        }
        self.starved = 0;
        self.held += 1;
        self.slots[slot_of(position.sequence)] = Some(Slot { position, samples: i64::from(samples), frame });
        None
    }

    /// What is to be done at `now`; call until `None`.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<Step> {
        if self.let_go.0 > 0 {
            self.let_go.0 -= 1;
            return Some(Step::Dropped(self.let_go.1));
        }
        loop {
            let clock = self.clock.filter(|clock| clock.next_at <= now)?;
            let next = self.next(clock);
            let delay = self.delay.above_base(clock.next_at, media_nanos(clock.next_ts, RATE));
            let wanted = self.delay.target().saturating_sub(delay);
            if wanted > 0 && !self.inserted && !(self.is_over && self.held == 0) {
                if wanted < self.frame_nanos() / 2 {
                    // Less than half a frame: this frame waits so much longer.
                    let slide = Duration::from_nanos(wanted.cast_unsigned());
                    self.clock = Some(Clock { next_at: clock.next_at + slide, ..clock });
                    continue;
                }
                self.inserted = true;
                self.is_fresh = false;
                let flag = if matches!(next, Next::Silence { .. }) { Flags::SILENCE } else { Flags::LOST };
                return Some(Step::Hollow(self.header(flag, self.frame_units, false)));
            }
            if self.should_skip(now, &next, wanted.saturating_neg()) {
                self.skip_from = now + if wanted <= -STALLED { SKIP_SOON } else { SKIP_EVERY };
                if let Some(step) = self.skip(clock, next) {
                    return Some(step);
                }
                continue;
            }
            self.inserted = false;
            self.is_fresh = false;
            return match next {
                Next::Packet { seq } => {
                    self.fall_slowly(delay);
                    self.play(seq)
                }
                Next::Silence { units } => Some(Step::Hollow(self.header(Flags::SILENCE, units, true))),
                Next::Lost { units, skip_to, successor } => {
                    let mut header = self.header(Flags::LOST, units, true);
                    header.sequence = self.number;
                    self.number += 1;
                    self.clock = self.clock.map(|clock| Clock { next_seq: skip_to, ..clock });
                    Some(self.with_successor(header, successor))
                }
                Next::Unknown => self.conceal(),
            };
        }
    }

    /// Starts the clock with the packet at `position`.
    fn start(&mut self, now: Timestamp, position: Position, header: &Header) {
        let due = self.delay.due(media_nanos(position.timestamp, RATE)).max(now);
        let next_at = self.ended_at.map_or(due, |ended| due.max(ended));
        match self.ended_at {
            // The output's timeline goes on as time did.
            Some(ended) => {
                self.pts += next_at.since(ended);
                self.flags = Flags::DISCONTINUITY;
            }
            None => self.pts = header.pts,
        }
        self.captured = header.captured;
        self.number = header.sequence;
        self.late_in_a_row = 0;
        self.is_fresh = true;
        self.clock = Some(Clock { next_at, next_seq: position.sequence, next_ts: position.timestamp });
    }

    /// Starts the clock as early as the quickest packet so far allows: the first
    /// may have been slower, as a sender's that has only just begun is.
    fn start_sooner(&mut self, now: Timestamp, clock: Clock) {
        let due = self.delay.due(media_nanos(clock.next_ts, RATE)).max(now);
        let next_at = self.ended_at.map_or(due, |ended| due.max(ended)).min(clock.next_at);
        if self.ended_at.is_some() {
            self.pts = self.pts - clock.next_at.since(next_at);
        }
        self.clock = Some(Clock { next_at, ..clock });
    }

    /// Lets the frame after the next one go out a little sooner, if the `delay` is
    /// longer than any packet of late needed.
    fn fall_slowly(&mut self, delay: Nanos) {
        let slack = duration_nanos(SLACK).cast_signed();
        let needed = self.delay.target().max(self.delay.greatest() + slack);
        let excess = delay.saturating_sub(needed);
        if !(1..self.frame_nanos()).contains(&excess) {
            return;
        }
        let most = length(self.frame_units) / SLOWLY;
        let sooner = most.min(Duration::from_nanos(excess.cast_unsigned()));
        self.clock = self.clock.map(|clock| Clock { next_at: clock.next_at - sooner, ..clock });
    }

    fn rest(&mut self) {
        if let Some(clock) = self.clock.take() {
            self.ended_at = Some(clock.next_at);
        }
        self.starved = 0;
        self.inserted = false;
        self.excess_since = None;
    }

    fn set_clock(&mut self, to: Position) {
        self.late_in_a_row = 0;
        self.clock = self.clock.map(|clock| Clock { next_seq: to.sequence, next_ts: to.timestamp, ..clock });
    }

    /// Whether the clock may be set back to a late packet.
    fn may_set_back(&self, clock: Clock, to: Position) -> bool {
        let delay = self.delay.above_base(clock.next_at, media_nanos(to.timestamp, RATE));
        to.sequence >= clock.next_seq && self.late_in_a_row > LATE_IN_A_ROW && delay <= self.delay.max()
    }

    fn next(&mut self, clock: Clock) -> Next {
        if self.held == 0 {
            return Next::Unknown;
        }
        let ahead = (clock.next_seq..clock.next_seq + SLOTS as i64).find(|seq| self.slot(*seq).is_some());
        let Some((seq, ts)) = ahead.and_then(|seq| Some((seq, self.slot(seq)?.position.timestamp))) else {
            // Only timestamps that run against sequence numbers leave some.
            self.let_go_all(DropReason::Late);
            return Next::Unknown;
        };
        let gap = ts - clock.next_ts;
        if gap <= 0 || gap > JUMP_UNITS {
            return Next::Packet { seq };
        }
        let missing = seq - clock.next_seq;
        let units = gap.min(self.frame_units);
        let frames = (gap + self.frame_units - 1) / self.frame_units;
        if frames > missing {
            return Next::Silence { units };
        }
        // In-band FEC is about the frame right before its packet (RFC 6716 §
        // 2.1.7), so only the last of a run of losses has it.
        let is_last = units == gap;
        Next::Lost {
            units,
            skip_to: if is_last { seq } else { clock.next_seq + 1 },
            successor: is_last.then_some(seq),
        }
    }

    fn slot(&self, seq: i64) -> Option<&Slot> {
        self.slots[slot_of(seq)].as_ref().filter(|slot| slot.position.sequence == seq)
    }

    fn play(&mut self, seq: i64) -> Option<Step> {
        let slot = self.slots[slot_of(seq)].take()?;
        self.held -= 1;
        let clock = self.clock?;
        if slot.position.timestamp - clock.next_ts > JUMP_UNITS {
            self.flags = Flags::DISCONTINUITY;
        }
        self.is_silent =
            Packet::parse(slot.frame.bytes()).is_ok_and(|packet| opus::is_silence(packet.payload));
        self.frame_units = slot.samples;
        self.late_in_a_row = 0;
        let mut frame = slot.frame;
        let length = length(slot.samples);
        frame.header.pts = self.pts;
        frame.header.duration = length;
        frame.header.flags = frame.header.flags.with(self.flags);
        self.flags = Flags::default();
        self.pts += length;
        self.captured = frame.header.captured + length;
        self.number = frame.header.sequence + 1;
        self.clock = Some(Clock {
            next_at: clock.next_at + length,
            next_seq: seq + 1,
            next_ts: slot.position.timestamp + slot.samples,
        });
        Some(Step::Put(frame))
    }

    fn conceal(&mut self) -> Option<Step> {
        if self.is_over || self.starved >= REST_UNITS {
            self.rest();
            return None;
        }
        let units = self.frame_units;
        self.starved += units;
        let flag = if self.is_silent { Flags::SILENCE } else { Flags::LOST };
        Some(Step::Hollow(self.header(flag, units, true)))
    }

    /// The header of a frame that no packet holds; media time passes with it if
    /// `advance`. It has no trail: nobody captured it.
    fn header(&mut self, flag: Flags, units: i64, advance: bool) -> Header {
        let length = length(units);
        let mut header = Header::new(self.captured, length);
        header.pts = self.pts;
        header.sequence = self.number;
        header.flags = flag.with(self.flags);
        self.flags = Flags::default();
        self.pts += length;
        if let Some(clock) = &mut self.clock {
            clock.next_at += length;
            if advance {
                clock.next_ts += units;
                self.captured += length;
            }
        }
        header
    }

    /// A lost frame that shares the bytes of the packet after it.
    fn with_successor(&mut self, header: Header, successor: Option<i64>) -> Step {
        let slot = successor.and_then(|seq| self.slots[slot_of(seq)].as_mut());
        let Some(slot) = slot else { return Step::Hollow(header) };
        // Set aside, so that the packet's trail is not copied.
        let own = std::mem::take(&mut slot.frame.header);
        let mut shared = slot.frame.clone();
        slot.frame.header = own;
        shared.header = header;
        Step::Put(shared)
    }

    /// Whether the delay should fall by a frame here: where nobody hears it, or
    /// if it has been too long for a while.
    fn should_skip(&mut self, now: Timestamp, next: &Next, excess: Nanos) -> bool {
        if excess < self.frame_nanos() || self.inserted {
            self.excess_since = None;
            return false;
        }
        let since = *self.excess_since.get_or_insert(now);
        let quiet = matches!(next, Next::Silence { .. } | Next::Lost { .. });
        let known = !matches!(next, Next::Unknown);
        known && now >= self.skip_from && (quiet || self.is_silent || now.since(since) >= SKIP_PATIENCE)
    }

    fn skip(&mut self, clock: Clock, next: Next) -> Option<Step> {
        let mut after = clock;
        let mut dropped = None;
        match next {
            Next::Packet { seq } => {
                let slot = self.slots[slot_of(seq)].take()?;
                self.held -= 1;
                after.next_seq = seq + 1;
                after.next_ts = slot.position.timestamp + slot.samples;
                dropped = Some(Step::Dropped(DropReason::Overflow));
            }
            Next::Silence { units } => after.next_ts += units,
            Next::Lost { units, skip_to, .. } => {
                after.next_ts += units;
                after.next_seq = skip_to;
                self.number += 1;
            }
            Next::Unknown => {}
        }
        self.captured += length((after.next_ts - clock.next_ts).clamp(0, JUMP_UNITS));
        self.clock = Some(after);
        dropped
    }

    fn let_go_all(&mut self, reason: DropReason) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
        self.let_go = (self.let_go.0 + self.held as u64, reason);
        self.held = 0;
    }

    fn frame_nanos(&self) -> Nanos {
        media_nanos(self.frame_units, RATE)
    }
}

fn slot_of(sequence: i64) -> usize {
    usize::try_from(sequence.rem_euclid(SLOTS as i64)).unwrap_or(0)
}

fn length(units: i64) -> Duration {
    Timestamp::ZERO.after_units(u64::try_from(units).unwrap_or(0), RATE).since(Timestamp::ZERO)
}

fn with_slack(range: DelayRange) -> DelayRange {
    DelayRange { min: range.min.max(SLACK), ..range }
}
