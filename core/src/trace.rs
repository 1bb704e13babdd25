//! What lanes do, call by call, for whoever draws it on a time line.
//!
//! Each lane writes into a ring of its own that was made before it started: one
//! record a call, and one for every frame that the call let go. Nothing of that
//! locks or allocates; a record for which there is no room is counted and lost.
//! A [`TraceReader`] empties the rings on a thread that may take its time.
//!
//! A frame is followed by its flow, which it keeps from birth through encoders,
//! packets and decoders. The instant of a flow's record is the last nanosecond
//! of the call that let the frame go: that is after the call before it in any
//! lane, since a lane reads its clock after it took the frame, and still inside
//! the call that it belongs to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::context::Outbox;
use crate::frame::Header;
use crate::ledger::{Counter, NodeId};
use crate::link::Item;
use crate::ring::{Consumer, Producer, ring};
use crate::timestamp::Timestamp;

/// Records that a lane's ring holds: half a megabyte, and some tenths of a
/// second of a lane that does nothing but calls of a few microseconds.
const RECORDS: usize = 1 << 14;
/// Flows of one call that are told apart.
const FLOWS: usize = 8;

/// Has an engine tell of every call; see `Options::trace`. \[any\]
#[derive(Clone, Debug)]
pub struct Tracer {
    news: Sender<News>,
}

/// Reads what the lanes of one engine tell. \[control\]
pub struct TraceReader {
    news: Receiver<News>,
    lanes: Vec<LaneRing>,
    named: BTreeSet<NodeId>,
    lost: u64,
}

/// What a [`TraceReader`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traced {
    /// The engine is there; told first.
    Began {
        /// Instants are counted from here.
        at: Timestamp,
        /// The graph's name.
        graph: String,
    },
    /// A lane is there; told before its calls.
    Lane {
        /// Its number.
        lane: usize,
        /// Its name.
        name: Arc<str>,
    },
    /// A node is there; told before its calls.
    Node {
        /// Its number.
        node: NodeId,
        /// Its name.
        name: Arc<str>,
        /// Its kind.
        kind: &'static str,
    },
    /// A node was called.
    Call {
        /// On which lane.
        lane: usize,
        /// Which node.
        node: NodeId,
        /// When.
        start: Timestamp,
        /// For how long.
        length: Duration,
    },
    /// The call told of last let a frame go.
    Flow {
        /// On which lane.
        lane: usize,
        /// Which frame: the same number for all that was made of one.
        flow: u64,
        /// How far it has come.
        phase: Phase,
        /// When: within the call.
        at: Timestamp,
    },
}

/// How far a frame has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its first node let it go.
    Born,
    /// A node let it go.
    Passed,
    /// It was heard or seen.
    Rendered,
}

#[derive(Debug)]
enum News {
    Began { at: Timestamp, graph: String },
    Lane { lane: usize, name: Arc<str>, ring: LaneRing },
    Node { node: NodeId, name: Arc<str>, kind: &'static str },
}

/// One lane's end of its ring.
pub(crate) struct LaneTrace {
    ring: Producer<Record>,
    lost: Arc<Counter>,
}

/// The reader's end.
struct LaneRing {
    lane: usize,
    ring: Consumer<Record>,
    /// Shared with the lane alone, so that it tells whether the lane is there.
    lost: Arc<Counter>,
}

impl std::fmt::Debug for LaneRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneRing").field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// 24 bytes, in nanoseconds.
#[derive(Clone, Copy)]
enum Record {
    Call { node: NodeId, start: u64, end: u64 },
    Flow { phase: Phase, flow: u64, at: u64 },
}

/// Both ends of a trace: one for the engine, one for who reads. \[control\]
#[must_use]
pub fn trace() -> (Tracer, TraceReader) {
    let (sender, news) = crossbeam_channel::unbounded();
    (Tracer { news: sender }, TraceReader { news, lanes: Vec::new(), named: BTreeSet::new(), lost: 0 })
}

impl Tracer {
    /// Says when the engine's time begins. \[control\]
    pub(crate) fn begin(&self, at: Timestamp, graph: &str) {
        self.tell(News::Began { at, graph: graph.to_owned() });
    }

    /// A ring for a new lane. \[control\]
    pub(crate) fn lane(&self, lane: usize, name: &Arc<str>) -> LaneTrace {
        let (producer, consumer) = ring(RECORDS);
        let lost = Arc::<Counter>::default();
        let ring = LaneRing { lane, ring: consumer, lost: Arc::clone(&lost) };
        self.tell(News::Lane { lane, name: Arc::clone(name), ring });
        LaneTrace { ring: producer, lost }
    }

    /// Names a node before it is called. \[control\]
    pub(crate) fn node(&self, node: NodeId, name: &Arc<str>, kind: &'static str) {
        self.tell(News::Node { node, name: Arc::clone(name), kind });
    }

    fn tell(&self, news: News) {
        // Whoever read may have gone; then nobody misses it.
        let _ = self.news.send(news);
    }
}

impl LaneTrace {
    /// Notes one call and the frames that it leaves behind. \[real-time\]
    pub(crate) fn call(&mut self, node: NodeId, start: Timestamp, end: Timestamp, out: &Outbox) {
        let (start, end) = (start.nanos(), end.nanos());
        self.put(Record::Call { node, start, end });
        if out.staged.is_empty() && out.rendered.is_empty() {
            return;
        }
        let at = end.saturating_sub(1).max(start);
        let mut seen = [0; FLOWS];
        let mut next = 0;
        let mut follow = |header: &Header, last: Phase| {
            let Some(flow) = header.trail.as_ref().map(crate::ledger::Trail::flow) else { return };
            // One picture leaves as many packets; one arrow is enough.
            if seen.contains(&flow) {
                return;
            }
            seen[next % FLOWS] = flow;
            next += 1;
            let phase =
                if last == Phase::Passed && flow >> 40 == u64::from(node.0) { Phase::Born } else { last };
            self.put(Record::Flow { phase, flow, at });
        };
        for staged in &out.staged {
            if let Item::Frame(frame) = &staged.item {
                follow(&frame.header, Phase::Passed);
            }
        }
        for (header, _) in &out.rendered {
            follow(header, Phase::Rendered);
        }
    }

    fn put(&mut self, record: Record) {
        if self.ring.push(record).is_err() {
            self.lost.add(1);
        }
    }
}

impl TraceReader {
    /// Tells `sink` all that was noted since the last reading; gives how many
    /// records there were. \[control\]
    pub fn read(&mut self, mut sink: impl FnMut(Traced)) -> usize {
        // Names are told before what they are names of, so those that are there
        // when the records are counted suffice.
        let waiting: Vec<usize> = self.lanes.iter_mut().map(|lane| lane.ring.len()).collect();
        let gone: Vec<bool> = self.lanes.iter().map(|lane| Arc::strong_count(&lane.lost) == 1).collect();
        for news in self.news.try_iter() {
            match news {
                News::Began { at, graph } => sink(Traced::Began { at, graph }),
                News::Lane { lane, name, ring } => {
                    sink(Traced::Lane { lane, name });
                    self.lanes.push(ring);
                }
                // A node that comes back has its number again.
                News::Node { node, name, kind } if self.named.insert(node) => {
                    sink(Traced::Node { node, name, kind });
                }
                News::Node { .. } => {}
            }
        }
        let mut all = 0;
        for (lane, count) in self.lanes.iter_mut().zip(waiting) {
            for record in std::iter::from_fn(|| lane.ring.pop()).take(count) {
                all += 1;
                sink(record.traced(lane.lane));
            }
        }
        let mut gone = gone.into_iter();
        self.lanes.retain_mut(|lane| {
            let left = lane.ring.len();
            let done = gone.next() == Some(true) && left == 0;
            self.lost += if done { lane.lost.get() } else { 0 };
            !done
        });
        all
    }

    /// Records for which there was no room. \[control\]
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost + self.lanes.iter().map(|lane| lane.lost.get()).sum::<u64>()
    }
}

impl Record {
    const fn traced(self, lane: usize) -> Traced {
        match self {
            Self::Call { node, start, end } => Traced::Call {
                lane,
                node,
                start: Timestamp::from_nanos(start),
                length: Duration::from_nanos(end - start),
            },
            Self::Flow { phase, flow, at } => {
                Traced::Flow { lane, flow, phase, at: Timestamp::from_nanos(at) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_what_they_name_and_each_once() {
        let (tracer, mut reader) = trace();
        tracer.begin(Timestamp::from_nanos(5), "call");
        let mut lane = tracer.lane(3, &"mic".into());
        tracer.node(NodeId(7), &"mic".into(), "test.tone");
        let out = Outbox::default();
        lane.call(NodeId(7), Timestamp::from_nanos(10), Timestamp::from_nanos(30), &out);
        tracer.node(NodeId(7), &"mic".into(), "test.tone");
        let mut told = Vec::new();
        while reader.read(|traced| told.push(traced)) == 0 {}
        let call = Traced::Call {
            lane: 3,
            node: NodeId(7),
            start: Timestamp::from_nanos(10),
            length: Duration::from_nanos(20),
        };
        assert!(matches!(told[0], Traced::Began { .. }) && matches!(told[1], Traced::Lane { lane: 3, .. }));
        assert!(matches!(told[2], Traced::Node { node: NodeId(7), .. }));
        assert_eq!(told[3..], [call]);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_a_lane_that_is_gone_is_read_to_its_end() {
        let (tracer, mut reader) = trace();
        let mut lane = tracer.lane(0, &"mic".into());
        for nanos in 0..RECORDS as u64 + 10 {
            let at = Timestamp::from_nanos(nanos);
            lane.call(NodeId(0), at, at, &Outbox::default());
        }
        drop(lane);
        let mut calls = 0;
        for _ in 0..3 {
            reader.read(|traced| calls += usize::from(matches!(traced, Traced::Call { .. })));
        }
        assert_eq!((calls, reader.lost(), reader.lanes.len()), (RECORDS, 10, 0));
    }
}
