//! `Link`: the bounded path between two ports.
//!
//! Inside a lane it is a queue that belongs to the receiving node. Between
//! lanes it is a single-producer single-consumer ring (`ringbuf`), or, where
//! the sender may discard what the receiver has not taken yet, a bounded queue
//! that both ends may pop (`crossbeam-queue`), since the consumer's end of a
//! single-consumer ring is not the producer's to touch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::ArrayQueue;
use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use crate::control::Through;
use crate::event::Key;
use crate::frame::Frame;
use crate::lane::Mailbox;
use crate::ledger::{LinkLedger, NodeId};
use crate::waker::LaneWaker;

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
}

/// Where a link's frames are put.
pub(crate) enum Sender {
    /// Of `node`, which is in place `cell` of the same lane.
    Local {
        node: NodeId,
        cell: usize,
    },
    Ring {
        ring: HeapProd<Item>,
        shared: Arc<Crossing>,
    },
    Open {
        queue: Arc<ArrayQueue<Item>>,
        shared: Arc<Crossing>,
    },
}

/// What both ends of a link between lanes share beside the ring.
pub(crate) struct Crossing {
    /// Set by a sender that found the ring full and is about to wait.
    pub(crate) blocked: AtomicBool,
    pub(crate) receiver: Arc<LaneWaker>,
    pub(crate) sender: Arc<LaneWaker>,
}

/// Where a link's frames are taken.
pub(crate) enum Receiver {
    Local(VecDeque<Item>),
    Ring { ring: HeapCons<Item>, shared: Arc<Crossing> },
    Open { queue: Arc<ArrayQueue<Item>> },
}

/// The sending end.
pub(crate) struct Outlet {
    pub(crate) port: usize,
    pub(crate) key: Option<Key>,
    pub(crate) link: LinkId,
    pub(crate) sender: Sender,
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    /// What one call put out beyond the ring's room, under `Wait`. The node is
    /// not called again before it is empty, so one call's output bounds it.
    pub(crate) spill: VecDeque<Item>,
    /// It has been sent its end, and goes once nothing is spilled.
    pub(crate) closing: bool,
    pub(crate) ledger: Arc<LinkLedger>,
}

/// The receiving end.
pub(crate) struct Inlet {
    pub(crate) port: usize,
    pub(crate) link: LinkId,
    pub(crate) receiver: Receiver,
    pub(crate) head: Option<Item>,
    pub(crate) ended: bool,
    /// Whether it closes a loop.
    pub(crate) is_loop: bool,
    /// Whether it goes once it has ended.
    pub(crate) leaving: bool,
    /// How many items the present call may still take: those that waited when
    /// it began. More may come meanwhile, but a call must come to an end.
    pub(crate) offered: usize,
    /// Who feeds it; `None` in a harness.
    pub(crate) source: Option<Source>,
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

/// Both ends of a link between two lanes.
pub(crate) fn crossing(
    capacity: usize,
    overflow: Overflow,
    sender: Arc<LaneWaker>,
    receiver: Arc<LaneWaker>,
) -> (Sender, Receiver) {
    let shared = Arc::new(Crossing { blocked: AtomicBool::new(false), receiver, sender });
    // One more than asked for, so that `End` always has a place.
    if overflow == Overflow::DropOldest {
        let queue = Arc::new(ArrayQueue::new(capacity + 1));
        (Sender::Open { queue: Arc::clone(&queue), shared }, Receiver::Open { queue })
    } else {
        let (producer, consumer) = HeapRb::new(capacity + 1).split();
        (
            Sender::Ring { ring: producer, shared: Arc::clone(&shared) },
            Receiver::Ring { ring: consumer, shared },
        )
    }
}

impl Sender {
    /// Frames that wait in a link between lanes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ring { ring, .. } => ring.occupied_len(),
            Self::Open { queue, .. } => queue.len(),
            Self::Local { .. } => 0,
        }
    }

    /// Says that the sender waits for room, and whether it must: the receiver
    /// may have made room meanwhile.
    pub(crate) fn block(&self, capacity: usize) -> bool {
        let Self::Ring { ring, shared } = self else { return false };
        shared.blocked.store(true, Ordering::Relaxed);
        // Pairs with the fence in `Inlet::freed`: of the two sides, at least one
        // sees the other's write, so either we see the room or they see us wait.
        fence(Ordering::SeqCst);
        ring.occupied_len() >= capacity
    }
}

impl Inlet {
    /// Brings the next item to the head, if there is one, without taking it.
    pub(crate) fn peek(&mut self) -> Option<&Item> {
        if self.head.is_none() {
            self.head = match &mut self.receiver {
                Receiver::Local(queue) => queue.pop_front(),
                Receiver::Ring { ring, .. } => ring.try_pop(),
                Receiver::Open { queue } => queue.pop(),
            };
            self.freed();
        }
        self.head.as_ref()
    }

    /// Takes the next item.
    pub(crate) fn pop(&mut self) -> Option<Item> {
        if let Some(item) = self.head.take() {
            return Some(item);
        }
        let item = match &mut self.receiver {
            Receiver::Local(queue) => queue.pop_front(),
            Receiver::Ring { ring, .. } => ring.try_pop(),
            Receiver::Open { queue } => queue.pop(),
        };
        if item.is_some() {
            self.freed();
        }
        item
    }

    /// Items that wait, the head included.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.head.is_some())
            + match &self.receiver {
                Receiver::Local(queue) => queue.len(),
                Receiver::Ring { ring, .. } => ring.occupied_len(),
                Receiver::Open { queue } => queue.len(),
            }
    }

    fn freed(&self) {
        let Receiver::Ring { shared, .. } = &self.receiver else { return };
        fence(Ordering::SeqCst);
        if shared.blocked.load(Ordering::Relaxed) && shared.blocked.swap(false, Ordering::Relaxed) {
            shared.sender.wake();
        }
    }
}

impl Outlet {
    /// Puts an item into a link between lanes and wakes the receiver; a local
    /// link is the lane's to fill.
    pub(crate) fn send(&mut self, item: Item) {
        let is_frame = matches!(item, Item::Frame(_));
        let mut dropped = 0;
        match &mut self.sender {
            Sender::Local { .. } => return,
            Sender::Ring { ring, shared } => {
                let full = ring.occupied_len() >= self.capacity;
                if self.overflow == Overflow::DropNewest {
                    if full && is_frame {
                        dropped = 1;
                    } else if ring.try_push(item).is_err() {
                        // `End` has a place of its own, and comes once.
                        dropped = 1;
                    }
                } else if !self.spill.is_empty() || (full && is_frame) {
                    self.spill.push_back(item);
                } else if let Err(item) = ring.try_push(item) {
                    self.spill.push_back(item);
                }
                shared.receiver.wake();
            }
            Sender::Open { queue, shared } => {
                while is_frame && queue.len() >= self.capacity && queue.pop().is_some() {
                    dropped += 1;
                }
                dropped += u64::from(queue.force_push(item).is_some());
                shared.receiver.wake();
            }
        }
        if is_frame {
            self.ledger.frames.add(1);
        }
        self.ledger.dropped.add(dropped);
        self.ledger.high_water.raise((self.sender.len() + self.spill.len()) as u64);
    }

    /// Moves what was spilled into the ring, as far as there is room.
    pub(crate) fn flush(&mut self) {
        let Sender::Ring { ring, shared } = &mut self.sender else { return };
        let mut moved = false;
        while let Some(item) = self.spill.pop_front() {
            let full = ring.occupied_len() >= self.capacity && matches!(item, Item::Frame(_));
            if full {
                self.spill.push_front(item);
                break;
            }
            if let Err(item) = ring.try_push(item) {
                self.spill.push_front(item);
                break;
            }
            moved = true;
        }
        if moved {
            shared.receiver.wake();
        }
    }

    /// Whether a `Wait` link between lanes has no room.
    pub(crate) fn is_full(&self) -> bool {
        self.overflow == Overflow::Wait
            && matches!(self.sender, Sender::Ring { .. })
            && (!self.spill.is_empty() || self.sender.len() >= self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Format, Header};
    use crate::media_type::Codec;

    fn ends(capacity: usize, overflow: Overflow) -> (Outlet, Inlet) {
        let (sender, receiver) = crossing(capacity, overflow, Arc::default(), Arc::default());
        let link = LinkId(0);
        let outlet = Outlet {
            port: 0,
            key: None,
            link,
            sender,
            capacity,
            overflow,
            spill: VecDeque::new(),
            closing: false,
            ledger: Arc::default(),
        };
        (
            outlet,
            Inlet {
                port: 0,
                link,
                receiver,
                head: None,
                ended: false,
                is_loop: false,
                leaving: false,
                offered: 0,
                source: None,
            },
        )
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
                Item::End => None,
            });
            outlet.flush();
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
        assert!(outlet.is_full() && outlet.sender.block(1));
        let Sender::Ring { shared, .. } = &outlet.sender else { panic!() };
        let waker = Arc::clone(&shared.sender);
        assert!(!waker.take_call());
        inlet.pop();
        assert!(waker.take_call());
        assert!(!outlet.sender.block(1), "there is room now");
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
