//! `VideoJitter`: gives AV1 packets their order back, a picture at a time. No
//! clock, no allocation, no I/O: packets and the time go in, steps come out.
//!
//! - frozen: no picture can be decoded until a key frame starts. Of what comes,
//!   only the newest packets are kept, in case the key frame's first is behind.
//! - running: packet `next_seq` begins the next picture. When the picture is
//!   whole and due, its packets go out. When one is missing for longer than
//!   reordering explains, every later picture depends on what was lost: freeze.

use std::time::Duration;

use sidetone_core::{DropReason, Flags, Frame, Timestamp};

use crate::av1::payload_starts_sequence;
use crate::delay_estimate::{DelayEstimate, DelayRange, media_nanos};
use crate::jitter_buffer::Step;
use crate::packet::Packet;
use crate::sequence::{Place, Position, Sequence};

/// Packets held at most.
pub(crate) const SLOTS: usize = 2_048;
/// Packets kept while frozen.
const KEPT: i64 = 64;
const RATE: u32 = 90_000;
/// Key frames are asked for no more often.
const ASK_EVERY: Duration = Duration::from_millis(300);

struct Slot {
    position: Position,
    marker: bool,
    starts: bool,
    frame: Frame,
}

#[derive(Clone, Copy)]
enum State {
    Frozen,
    Running,
    /// The picture that ends with this packet goes out when it is due.
    Ready {
        last: i64,
        due: Timestamp,
    },
}

pub(crate) struct VideoJitter {
    delay: DelayEstimate,
    wait: Duration,
    sequence: Sequence,
    slots: Box<[Option<Slot>]>,
    seen: Box<[i64]>,
    held: usize,
    state: State,
    next_seq: i64,
    /// Packets from `next_seq` up to here are there and of one picture.
    cursor: i64,
    newest: i64,
    /// Since when a packet at `cursor` is known to be missing.
    missing_since: Option<Timestamp>,
    ask_at: Option<Timestamp>,
    asked_at: Option<Timestamp>,
    /// An RTP timestamp and its place on the output's timeline.
    anchor: Option<(i64, Timestamp)>,
    pts: Timestamp,
    flags: Flags,
    has_put: bool,
    is_over: bool,
    let_go: (u64, DropReason),
}

impl VideoJitter {
    pub(crate) fn new(range: DelayRange, wait: Duration) -> Self {
        Self {
            delay: DelayEstimate::new(range),
            wait,
            sequence: Sequence::default(),
            slots: (0..SLOTS).map(|_| None).collect(),
            seen: vec![-1; SLOTS].into(),
            held: 0,
            state: State::Frozen,
            next_seq: 0,
            cursor: 0,
            newest: 0,
            missing_since: None,
            ask_at: None,
            asked_at: None,
            anchor: None,
            pts: Timestamp::ZERO,
            flags: Flags::default(),
            has_put: false,
            is_over: false,
            let_go: (0, DropReason::Corrupt),
        }
    }

    pub(crate) fn set_range(&mut self, range: DelayRange, wait: Duration) {
        self.delay.set_range(range);
        self.wait = wait;
    }

    /// No packet comes any more: the last picture needs no marker.
    pub(crate) fn end(&mut self) {
        self.is_over = true;
        self.ask_at = None;
        if matches!(self.state, State::Frozen) {
            self.let_go_all(DropReason::Corrupt);
        }
    }

    /// Whether nothing more will go out without another packet.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0 || matches!(self.state, State::Frozen)
    }

    /// Whether a key frame may be asked for at `now`; notes it if so.
    pub(crate) fn may_ask(&mut self, now: Timestamp) -> bool {
        let may = self.asked_at.is_none_or(|asked| now.since(asked) >= ASK_EVERY);
        if may {
            self.asked_at = Some(now);
        }
        may
    }

    /// When `poll` has something to do.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Frozen => self.ask_at,
            State::Running => self.missing_since.map(|since| self.deadline(since)),
            State::Ready { due, .. } => Some(due),
        }
    }

    /// Takes a packet that came at `now`, or says why not.
    pub(crate) fn insert(&mut self, now: Timestamp, frame: Frame) -> Option<DropReason> {
        let Ok(packet) = Packet::parse(frame.bytes()) else { return Some(DropReason::Corrupt) };
        let (marker, starts) = (packet.header.marker, payload_starts_sequence(packet.payload));
        let position = match self.sequence.place(&packet.header) {
            Place::Stray => return Some(DropReason::Corrupt),
            Place::Here(position) => position,
            Place::Anew(position) => {
                self.let_go_all(DropReason::Stopped);
                self.delay.reset();
                self.seen.fill(-1);
                self.state = State::Frozen;
                self.newest = position.sequence;
                self.ask_at = Some(now + self.wait);
                // A new stream asks for its own key frames.
                (self.asked_at, self.anchor) = (None, None);
                position
            }
        };
        let seq = position.sequence;
        let seen = &mut self.seen[slot_of(seq)];
        if *seen == seq {
            return Some(DropReason::Duplicate);
        }
        *seen = seq;
        let is_frozen = matches!(self.state, State::Frozen);
        if seq <= self.newest - KEPT && is_frozen || seq < self.next_seq && !is_frozen {
            return Some(DropReason::Late);
        }
        if !is_frozen && seq >= self.next_seq + SLOTS as i64 {
            self.let_go_all(DropReason::Overflow);
            self.freeze(now);
        }
        self.hold(Slot { position, marker, starts, frame });
        if starts && matches!(self.state, State::Frozen) {
            self.begin(seq, DropReason::Corrupt);
        } else if matches!(self.state, State::Frozen) && self.ask_at.is_none() && !self.is_over {
            self.ask_at = Some(self.asked_at.map_or(now, |asked| now.max(asked + ASK_EVERY)));
        }
        None
    }

    /// What is to be done at `now`; call until `None`.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<Step> {
        if self.let_go.0 > 0 {
            self.let_go.0 -= 1;
            return Some(Step::Dropped(self.let_go.1));
        }
        loop {
            match self.state {
                State::Frozen => {
                    self.ask_at.filter(|at| *at <= now)?;
                    self.ask_at = None;
                    return self.may_ask(now).then_some(Step::AskForKeyFrame);
                }
                State::Ready { last, due } => {
                    if due > now {
                        return None;
                    }
                    return self.put(last);
                }
                State::Running => self.look(now)?,
            }
            if self.let_go.0 > 0 {
                return self.poll(now);
            }
        }
    }

    /// Finds out whether the next picture is whole, or lost; `None` while
    /// neither is plain.
    fn look(&mut self, now: Timestamp) -> Option<()> {
        let first = self.slot(self.next_seq).map(|slot| slot.position.timestamp);
        while let (Some(timestamp), Some(slot)) = (first, self.slot(self.cursor)) {
            // AV1 RTP § 4.2: the marker may be missing; then the next timestamp
            // ends the picture.
            let is_next = slot.position.timestamp != timestamp;
            if slot.marker || is_next {
                let last = if is_next { self.cursor - 1 } else { self.cursor };
                self.ready(now, last, timestamp);
                return Some(());
            }
            self.cursor += 1;
            self.missing_since = None;
        }
        if self.newest < self.cursor {
            let timestamp = first.filter(|_| self.is_over && self.cursor > self.next_seq)?;
            self.ready(now, self.cursor - 1, timestamp);
            return Some(());
        }
        let since = *self.missing_since.get_or_insert(now);
        if now < self.deadline(since) {
            return None;
        }
        match (self.next_seq + 1..=self.newest).find(|seq| self.slot(*seq).is_some_and(|slot| slot.starts)) {
            Some(start) => self.begin(start, DropReason::Corrupt),
            None => {
                self.let_go_all(DropReason::Corrupt);
                self.freeze(now);
            }
        }
        Some(())
    }

    fn ready(&mut self, now: Timestamp, last: i64, timestamp: i64) {
        let media = media_nanos(timestamp, RATE);
        self.delay.observe(now, media);
        self.missing_since = None;
        self.state = State::Ready { last, due: self.delay.due(media).max(now) };
    }

    /// When a missing packet is given up: reordering may delay it as much as
    /// jitter does the others, and `wait` beyond.
    fn deadline(&self, since: Timestamp) -> Timestamp {
        let known = (self.next_seq..=self.newest).find_map(|seq| self.slot(seq));
        let due = known.map(|slot| self.delay.due(media_nanos(slot.position.timestamp, RATE)));
        // A picture of which nothing was counted yet may be stamped far ahead.
        let latest = since + Duration::from_nanos(self.delay.target().unsigned_abs());
        due.map_or(since, |due| due.clamp(since, latest)) + self.wait
    }

    fn put(&mut self, last: i64) -> Option<Step> {
        let seq = self.next_seq;
        self.next_seq += 1;
        if seq >= last {
            self.state = State::Running;
            self.cursor = self.next_seq;
        }
        let slot = self.slots[slot_of(seq)].take()?;
        self.held -= 1;
        let mut frame = slot.frame;
        let at = slot.position.timestamp;
        let (zero, pts) = *self.anchor.get_or_insert((at, frame.header.pts.max(self.pts)));
        let (ahead, behind) = (u64::try_from(at - zero), u64::try_from(zero - at));
        self.pts = match (ahead, behind) {
            (Ok(ahead), _) => pts.after_units(ahead, RATE),
            (_, Ok(behind)) => pts - Timestamp::ZERO.after_units(behind, RATE).since(Timestamp::ZERO),
            _ => pts,
        };
        frame.header.pts = self.pts;
        let key = if slot.starts { Flags::KEY } else { Flags::default() };
        let marker = if slot.marker { Flags::MARKER } else { Flags::default() };
        frame.header.flags = frame.header.flags.with(key).with(marker).with(self.flags);
        self.flags = Flags::default();
        self.has_put = true;
        Some(Step::Put(frame))
    }

    /// Goes on with the key frame that starts at `seq`.
    fn begin(&mut self, seq: i64, reason: DropReason) {
        let mut before = 0;
        for slot in self
            .slots
            .iter_mut()
            .filter(|slot| slot.as_ref().is_some_and(|slot| slot.position.sequence < seq))
        {
            *slot = None;
            before += 1;
        }
        self.held -= before;
        self.let_go = (self.let_go.0 + before as u64, reason);
        self.state = State::Running;
        (self.next_seq, self.cursor) = (seq, seq);
        (self.missing_since, self.ask_at, self.asked_at) = (None, None, None);
        self.flags = if self.has_put { Flags::DISCONTINUITY } else { Flags::default() };
    }

    fn freeze(&mut self, now: Timestamp) {
        self.state = State::Frozen;
        self.missing_since = None;
        let soonest = self.asked_at.map_or(now, |asked| now.max(asked + ASK_EVERY));
        self.ask_at = (!self.is_over).then_some(soonest);
    }

    fn hold(&mut self, slot: Slot) {
        let seq = slot.position.sequence;
        let before = self.newest;
        self.newest = self.newest.max(seq);
        if matches!(self.state, State::Frozen) {
            let steps = (self.newest - before).min(SLOTS as i64);
            for old in self.newest - KEPT + 1 - steps..=self.newest - KEPT {
                self.drop_slot(old);
            }
        }
        self.drop_slot(seq);
        self.slots[slot_of(seq)] = Some(slot);
        self.held += 1;
    }

    fn drop_slot(&mut self, seq: i64) {
        if self.slots[slot_of(seq)].take().is_some() {
            self.held -= 1;
            self.let_go = (self.let_go.0 + 1, DropReason::Corrupt);
        }
    }

    fn slot(&self, seq: i64) -> Option<&Slot> {
        self.slots[slot_of(seq)].as_ref().filter(|slot| slot.position.sequence == seq)
    }

    fn let_go_all(&mut self, reason: DropReason) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
        self.let_go = (self.let_go.0 + self.held as u64, reason);
        self.held = 0;
    }
}

fn slot_of(sequence: i64) -> usize {
    usize::try_from(sequence.rem_euclid(SLOTS as i64)).unwrap_or(0)
}
