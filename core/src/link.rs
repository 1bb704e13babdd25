//! `Link`: the bounded path between two ports.
//!
//! It is a single-producer single-consumer ring, or, where the sender may
//! discard what the receiver has not taken yet, a bounded queue that both ends
//! may pop (`crossbeam-queue`), since the consumer's end of a single-consumer
//! ring is not the producer's to touch. Inside a lane and between lanes it
//! differs in who is told of what was put in: the lane's own list of nodes that
//! have something to do, or the other lane's waker.
//!
//! Who fills a ring tells the receiver once a call, not once a frame. A sender
//! in another lane that finds the ring full says so in `Crossing::blocked` and is
//! not called again; a receiver that has taken something looks there, once a call,
//! and wakes the sender. Each side writes first, then fences (`SeqCst`), then reads
//! what the other writes, so that of the two at least one sees the other: either
//! the sender sees the room, or the receiver sees it wait.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::control::Through;
use crate::event::Key;
use crate::frame::Frame;
use crate::lane::Mailbox;
use crate::ledger::{LinkLedger, NodeId};
use crate::ring::{Consumer, Producer, ring};
use crate::sync::{AtomicBool, Ordering, fence};
use crate::waker::{LaneWaker, Place};

/// What a link does with a frame for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The sending node is not called until there is room.
    #[default]
    Wait,
    /// The oldest frame in the link goes.
    DropOldest,
    /// The new frame goes.
    DropNewest,
}

impl Overflow {
    /// The words of the graph file.
    pub const WORDS: [(&'static str, Self); 3] =
        [("wait", Self::Wait), ("drop_oldest", Self::DropOldest), ("drop_newest", Self::DropNewest)];

    /// The word for it in graph files. \[any\]
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize].0
    }
}

/// What travels along a link.
pub(crate) enum Item {
    Frame(Frame),
    /// No more comes.
    End,
    /// No more comes by this link, since an edit takes it away: the receiver does
    /// not count it as ended before it has that edit too, which may bring the link
    /// that goes on for this one.
    Cut,
}

/// Where a link's frames are put.
pub(crate) enum Sender {
    Ring(Producer<Item>),
    Open(Arc<ArrayQueue<Item>>),
}

/// Who takes from a link.
pub(crate) enum Taker {
    /// `node`, which is in place `cell` of the same lane.
    Cell { node: NodeId, cell: usize },
    /// A node of another lane.
    Lane(Arc<Crossing>),
}

/// What both ends of a link between lanes share beside the ring.
pub(crate) struct Crossing {
    /// Set by a sender that found the ring full and is about to wait.
    blocked: AtomicBool,
    receiver: Waking,
    sender: Waking,
}

/// Which node of which lane is woken.
pub(crate) struct Waking {
    pub(crate) lane: Arc<LaneWaker>,
    pub(crate) place: Place,
}

impl Waking {
    fn wake(&self) {
        self.lane.wake(self.place);
    }
}

impl Crossing {
    pub(crate) fn new(sender: Waking, receiver: Waking) -> Self {
        Self { blocked: AtomicBool::new(false), receiver, sender }
    }

    /// Says that the sender waits for room, and whether it must: the receiver
    /// may have made room meanwhile. \[real-time\]
    pub(crate) fn must_wait<T>(&self, ring: &mut Producer<T>, capacity: usize) -> bool {
        self.blocked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        ring.len() >= capacity
    }

    /// Says that the receiver has taken something. \[real-time\]
    pub(crate) fn made_room(&self) {
        fence(Ordering::SeqCst);
        if self.blocked.load(Ordering::Relaxed) && self.blocked.swap(false, Ordering::Relaxed) {
            self.sender.wake();
        }
    }
}

/// Where a link's frames are taken.
pub(crate) enum Receiver {
    Ring(Consumer<Item>),
    /// Its next item stands apart once it was looked at.
    Open {
        queue: Arc<ArrayQueue<Item>>,
        head: Option<Item>,
    },
}

/// The sending end.
pub(crate) struct Outlet {
    pub(crate) port: usize,
    pub(crate) key: Option<Key>,
    pub(crate) link: LinkId,
    pub(crate) sender: Sender,
    pub(crate) taker: Taker,
    /// Frames for which the node is called on.
    pub(crate) capacity: usize,
    /// Frames that one call may bring it to.
    pub(crate) room: usize,
    pub(crate) overflow: Overflow,
    /// What one call put out beyond that, under `Wait`. The node is not called
    /// again before it is empty, so one call's output bounds it.
    pub(crate) spill: VecDeque<Item>,
    /// It has been sent its end, and goes once nothing is spilled.
    pub(crate) closing: bool,
    /// Whether the receiver has yet to be told of what was put in.
    pub(crate) untold: bool,
    pub(crate) ledger: Arc<LinkLedger>,
    /// In what it leaves its lane.
    pub(crate) shell: Option<Box<Shell>>,
}

/// The receiving end.
pub(crate) struct Inlet {
    pub(crate) port: usize,
    pub(crate) link: LinkId,
    /// By what name its node knows it: its own, or that of the link that it went
    /// on for.
    pub(crate) stream: LinkId,
    /// The link before it, until that has ended and is empty: it is held till
    /// then, and its node does not see it.
    pub(crate) after: Option<LinkId>,
    pub(crate) receiver: Receiver,
    /// Shared with a sender in another lane, which is told of room.
    pub(crate) crossing: Option<Arc<Crossing>>,
    /// Whether anything was taken since.
    pub(crate) taken: bool,
    pub(crate) ended: bool,
    /// Whether it closes a loop.
    pub(crate) is_loop: bool,
    /// Whether it goes once it has ended.
    pub(crate) leaving: bool,
    /// Whether it was cut.
    pub(crate) cut: bool,
    /// How many items the present call may still take: those that waited when
    /// it began. More may come meanwhile, but a call must come to an end.
    pub(crate) offered: usize,
    /// Whether something was let go before the frame that is taken next.
    pub(crate) gap: bool,
    /// Who feeds it; `None` in a harness.
    pub(crate) source: Option<Source>,
    /// In what it leaves its lane.
    pub(crate) shell: Option<Box<Shell>>,
}

/// What an end of a link leaves its lane in, made with it: so that no lane has to
/// free a queue, nor to allocate to hand it on.
#[derive(Default)]
#[allow(clippy::large_enum_variant)] // it is empty for as long as the end is at work
pub(crate) enum Shell {
    #[default]
    Empty,
    Inlet(Inlet),
    /// Kept to be dropped off the lane, and for nothing else.
    Outlet(#[allow(dead_code)] Outlet),
}

impl Shell {
    /// An end of a link, in the shell that was made for it. \[real-time\]
    pub(crate) fn of_inlet(mut inlet: Inlet) -> Option<Box<Self>> {
        let mut shell = inlet.shell.take()?;
        *shell = Self::Inlet(inlet);
        Some(shell)
    }

    /// An end of a link, in the shell that was made for it. \[real-time\]
    pub(crate) fn of_outlet(mut outlet: Outlet) -> Option<Box<Self>> {
        let mut shell = outlet.shell.take()?;
        *shell = Self::Outlet(outlet);
        Some(shell)
    }
}

/// Who feeds a link: where messages go that travel upstream.
pub(crate) struct Source {
    pub(crate) lane: Mailbox,
    pub(crate) node: NodeId,
    pub(crate) through: Through,
}

/// A link of a running graph. Ids are not used again while the engine lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// Where frames are put and where they are taken. \[control\]
pub(crate) fn path(room: usize, overflow: Overflow) -> (Sender, Receiver) {
    // Where nothing spills, one more than asked for, so that `End` has a place.
    let slots = if overflow == Overflow::Wait { room } else { room + 1 };
    if overflow == Overflow::DropOldest {
        let queue = Arc::new(ArrayQueue::new(slots));
        (Sender::Open(Arc::clone(&queue)), Receiver::Open { queue, head: None })
    } else {
        let (producer, consumer) = ring(slots);
        (Sender::Ring(producer), Receiver::Ring(consumer))
    }
}

impl Inlet {
    /// The end of a link that starts afresh, as far as its graph knows no better. \[control\]
    pub(crate) fn new(port: usize, link: LinkId, receiver: Receiver) -> Self {
        Self {
            port,
            link,
            stream: link,
            after: None,
            receiver,
            crossing: None,
            taken: false,
            ended: false,
            is_loop: false,
            leaving: false,
            cut: false,
            offered: 0,
            gap: false,
            source: None,
            shell: None,
        }
    }

    /// Notes that it was cut.
    pub(crate) const fn note_cut(&mut self) {
        self.cut = true;
        self.ended |= self.leaving;
    }

    /// Notes that it goes once it has ended.
    pub(crate) const fn leave(&mut self) {
        self.leaving = true;
        self.ended |= self.cut;
    }

    /// Whether it is done with.
    #[inline]
    pub(crate) const fn is_gone(&self) -> bool {
        self.leaving && self.ended && self.after.is_none()
    }

    /// Whether its node knows it as `stream`.
    pub(crate) fn is(&self, stream: LinkId) -> bool {
        self.stream == stream && self.after.is_none()
    }

    /// Takes the end that stands at its head.
    #[cold]
    pub(crate) fn take_end(&mut self) {
        self.offered -= 1;
        match self.pop() {
            Some(Item::Cut) => self.note_cut(),
            _ => self.ended = true,
        }
    }

    /// Looks at the next item without taking it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<&Item> {
        match &mut self.receiver {
            Receiver::Ring(ring) => ring.peek(),
            Receiver::Open { queue, head } => {
                if head.is_none() {
                    *head = queue.pop();
                }
                head.as_ref()
            }
        }
    }

    /// Takes the next item.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.taken = true;
        match &mut self.receiver {
            Receiver::Ring(ring) => ring.pop(),
            Receiver::Open { queue, head } => head.take().or_else(|| queue.pop()),
        }
    }

    /// Items that wait for the node; none while it is held.
    #[inline]
    pub(crate) fn offer(&mut self) -> usize {
        if self.after.is_some() { 0 } else { self.len() }
    }

    /// Items that wait.
    #[inline]
    pub(crate) fn len(&mut self) -> usize {
        match &mut self.receiver {
            Receiver::Ring(ring) => ring.len(),
            Receiver::Open { queue, head } => queue.len() + usize::from(head.is_some()),
        }
    }

    /// Tells a sender in another lane that there may be room: after each call.
    #[inline]
    pub(crate) fn tell_room(&mut self) {
        if let Some(crossing) = &self.crossing
            && std::mem::take(&mut self.taken)
        {
            crossing.made_room();
        }
    }
}

impl Outlet {
    /// Puts an item in; [`Outlet::tell`] tells the receiver.
    #[inline(always)]
    pub(crate) fn send(&mut self, item: Item) {
        self.untold = true;
        if let Sender::Ring(ring) = &mut self.sender
            && self.spill.is_empty()
            && matches!(item, Item::Frame(_))
        {
            match ring.push_within(self.room, item) {
                Ok(()) => {
                    self.ledger.frames.add(1);
                    let waiting = ring.len_at_most();
                    self.note_high_water(waiting);
                }
                Err(item) => self.send_aside(item),
            }
        } else {
            self.send_aside(item);
        }
    }

    /// The same for what a ring does not take at once: a frame for which it has no
    /// room, or behind others that spilled, and what is no frame; and for queues that
    /// are no rings.
    #[cold]
    fn send_aside(&mut self, item: Item) {
        let is_frame = matches!(item, Item::Frame(_));
        let mut dropped = 0;
        let waiting = match &mut self.sender {
            Sender::Ring(ring) => {
                if self.overflow == Overflow::DropNewest && is_frame {
                    dropped = 1;
                } else if is_frame || !self.spill.is_empty() {
                    self.spill.push_back(item);
                } else if let Err(item) = ring.push(item) {
                    self.spill.push_back(item);
                }
                ring.len_at_most()
            }
            Sender::Open(queue) => {
                while is_frame && queue.len() >= self.capacity && queue.pop().is_some() {
                    dropped += 1;
                }
                dropped += u64::from(queue.force_push(item).is_some());
                queue.len()
            }
        };
        if is_frame {
            self.ledger.frames.add(1);
        }
        if dropped > 0 {
            self.ledger.dropped.add(dropped);
        }
        self.note_high_water(waiting + self.spill.len());
    }

    /// Notes how many wait. What a ring says without asking the other end may be
    /// too many, so a new height is looked at again.
    #[inline]
    fn note_high_water(&mut self, waiting: usize) {
        if waiting as u64 > self.ledger.high_water.get() {
            self.raise_high_water(waiting);
        }
    }

    #[cold]
    fn raise_high_water(&mut self, waiting: usize) {
        let waiting = match &mut self.sender {
            Sender::Ring(ring) => ring.len() + self.spill.len(),
            _ => waiting,
        };
        self.ledger.high_water.raise(waiting as u64);
    }

    /// Moves what was spilled into the ring, as far as there is room.
    fn flush(&mut self) {
        let Sender::Ring(ring) = &mut self.sender else { return };
        while let Some(item) = self.spill.pop_front() {
            let may = !matches!(item, Item::Frame(_)) || ring.has_room(self.room);
            match if may { ring.push(item) } else { Err(item) } {
                Ok(()) => self.untold = true,
                Err(item) => {
                    self.spill.push_front(item);
                    break;
                }
            }
        }
    }

    /// Tells the receiver if anything was put in since: wakes it in another lane,
    /// or gives its place in the same lane to `own`.
    #[inline]
    pub(crate) fn tell(&mut self, own: impl FnOnce(usize)) {
        if std::mem::take(&mut self.untold) {
            match &self.taker {
                Taker::Cell { cell, .. } => own(*cell),
                Taker::Lane(crossing) => crossing.receiver.wake(),
            }
        }
    }

    /// Whether a `Wait` link has no room, what was spilled included; if so, a
    /// receiver in another lane wakes the sender when it has made some.
    #[inline]
    pub(crate) fn must_wait(&mut self) -> bool {
        match &mut self.sender {
            Sender::Ring(ring) if self.overflow == Overflow::Wait => {
                !(self.spill.is_empty() && ring.has_room(self.capacity)) && self.must_wait_for_room()
            }
            _ => false,
        }
    }

    fn must_wait_for_room(&mut self) -> bool {
        loop {
            self.flush();
            let Sender::Ring(ring) = &mut self.sender else { return false };
            if self.spill.is_empty() && ring.has_room(self.capacity) {
                return false;
            }
            match &self.taker {
                Taker::Lane(crossing) if !crossing.must_wait(ring, self.capacity) => {}
                _ => return true,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::frame::{Format, Header};
    use crate::media_type::Codec;

    fn waking() -> Waking {
        Waking { lane: Arc::default(), place: Place::default() }
    }

    fn ends(capacity: usize, overflow: Overflow) -> (Outlet, Inlet) {
        let (sender, receiver) = path(capacity, overflow);
        let crossing = Arc::new(Crossing::new(waking(), waking()));
        let link = LinkId(0);
        let outlet = Outlet {
            port: 0,
            key: None,
            link,
            sender,
            taker: Taker::Lane(Arc::clone(&crossing)),
            capacity,
            room: capacity,
            overflow,
            spill: VecDeque::new(),
            closing: false,
            untold: false,
            ledger: Arc::default(),
            shell: None,
        };
        (outlet, Inlet { crossing: Some(crossing), ..Inlet::new(0, link, receiver) })
    }

    fn frame(sequence: u64) -> Item {
        let header = Header { sequence, ..Header::default() };
        Item::Frame(Frame::unpooled(header, Format::Packet { codec: Codec::Opus, len: 1 }))
    }

    fn drain(outlet: &mut Outlet, inlet: &mut Inlet) -> Vec<Option<u64>> {
        let mut seen = Vec::new();
        while let Some(item) = inlet.pop() {
            seen.push(match item {
                Item::Frame(frame) => Some(frame.header.sequence),
                Item::End | Item::Cut => None,
            });
            outlet.must_wait();
        }
        seen
    }

    #[test]
    fn each_policy_loses_what_it_says_and_the_end_always_comes() {
        let cases: [(Overflow, &[u64], u64); 3] = [
            (Overflow::Wait, &[0, 1, 2, 3, 4], 0),
            (Overflow::DropOldest, &[3, 4], 3),
            (Overflow::DropNewest, &[0, 1], 3),
        ];
        for (overflow, kept, dropped) in cases {
            let (mut outlet, mut inlet) = ends(2, overflow);
            (0..5).for_each(|sequence| outlet.send(frame(sequence)));
            outlet.send(Item::End);
            let expected: Vec<_> = kept.iter().copied().map(Some).chain([None]).collect();
            assert_eq!(drain(&mut outlet, &mut inlet), expected, "{overflow:?}");
            assert_eq!((outlet.ledger.frames.get(), outlet.ledger.dropped.get()), (5, dropped));
        }
    }

    #[test]
    fn a_waiting_sender_is_called_when_there_is_room() {
        let (mut outlet, mut inlet) = ends(1, Overflow::Wait);
        outlet.send(frame(0));
        assert!(outlet.must_wait());
        let Taker::Lane(crossing) = &outlet.taker else { panic!() };
        let waker = Arc::clone(&crossing.sender.lane);
        assert!(!waker.is_called());
        inlet.pop();
        inlet.tell_room();
        assert!(waker.is_called());
        assert!(!outlet.must_wait(), "there is room now");
    }

    #[test]
    fn a_peeked_item_is_still_there_to_take() {
        let (mut outlet, mut inlet) = ends(4, Overflow::Wait);
        outlet.send(frame(7));
        assert!(matches!(inlet.peek(), Some(Item::Frame(f)) if f.header.sequence == 7));
        assert_eq!(inlet.len(), 1);
        assert!(inlet.pop().is_some() && inlet.pop().is_none());
    }
}
