//! `Ledger`: where each frame's time went, stage by stage.
//!
//! A frame carries a `Trail`: the instant it last left a node, the instant the
//! present node took it, and one step for every node behind it. A step's three
//! shares telescope, so that the shares of a trail add up to capture-to-render
//! exactly:
//!
//! - waiting: from leaving the node before to being taken by this one;
//! - buffering: from being taken to the start of the call that let it go;
//! - working: from the start of that call to its end.
//!
//! Every counter here has one writer, the lane that runs the node, and may be
//! read by any thread at any time.

use serde::Serialize;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::Timestamp;
use crate::frame::Header;
use crate::histogram::{Blocks, Histogram, Summary};
use crate::link::LinkId;
use crate::media_type::Medium;
use crate::pool::{Pool, Pooled};
use crate::timestamp::duration_nanos;

/// A node of a running graph. Ids are not used again while the engine lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct NodeId(pub u32);

/// The most nodes a trail remembers; later ones are added to the last.
pub const TRAIL_STEPS: usize = 24;

/// One node's share of a frame's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Which node.
    pub node: NodeId,
    /// In a queue before it.
    pub wait: Duration,
    /// Inside it, held.
    pub buffer: Duration,
    /// Inside it, being worked on.
    pub work: Duration,
}

/// Where a frame's time went so far.
pub struct TrailRecord {
    left: Timestamp,
    taken: Timestamp,
    /// Tells the frame from all others since its birth.
    flow: u64,
    len: u32,
    steps: [Shares; TRAIL_STEPS],
}

/// A `Step` as a trail keeps it, in nanoseconds: small, since every frame has
/// dozens.
#[derive(Clone, Copy, Default)]
struct Shares {
    node: NodeId,
    wait: u64,
    buffer: u64,
    work: u64,
}

/// A frame's own record; cloning copies it, since copies part ways.
pub(crate) struct Trail(Pooled<TrailRecord>);

impl TrailRecord {
    const EMPTY: Self = Self {
        left: Timestamp::ZERO,
        taken: Timestamp::ZERO,
        flow: 0,
        len: 0,
        steps: [Shares { node: NodeId(0), wait: 0, buffer: 0, work: 0 }; TRAIL_STEPS],
    };
}

/// A pool of trails for at most `limit` frames under way in one engine, `ahead`
/// of which are made now. \[control\]
#[must_use]
pub fn trail_pool(limit: usize, ahead: usize) -> Pool<TrailRecord> {
    let pool = Pool::new(limit, || TrailRecord::EMPTY);
    pool.fill(ahead);
    pool
}

impl Trail {
    /// A trail that begins at `captured`; `flow` tells the frame from all others. \[real-time\]
    pub(crate) fn begin(pool: &Pool<TrailRecord>, captured: Timestamp, flow: u64) -> Self {
        let mut record = pool.get();
        if let Some(record) = record.get_mut() {
            record.left = captured;
            record.taken = captured;
            record.flow = flow;
            record.len = 0;
        }
        Self(record)
    }

    /// What tells the frame from all others since its birth. \[any\]
    pub(crate) fn flow(&self) -> u64 {
        self.0.flow
    }

    /// Notes that a node took the frame at `now`. \[real-time\]
    pub(crate) fn take(&mut self, now: Timestamp) {
        if let Some(record) = self.0.get_mut() {
            // A lane reads its clock once a call at most, so its idea of now may be a
            // little older than the sender's when the frame left.
            record.taken = now.max(record.left);
        }
    }

    /// Notes that `node`, called at `start`, let the frame go at `end`; gives
    /// the step, or `None` where it took no time that a clock was read for, unless
    /// a step there is wanted `always`. \[real-time\]
    pub(crate) fn leave(
        &mut self,
        node: NodeId,
        start: Timestamp,
        end: Timestamp,
        always: bool,
    ) -> Option<Step> {
        let record = self.0.get_mut()?;
        if record.left == end && record.taken == end && !always {
            return None;
        }
        let began = start.max(record.taken);
        let shares = Shares {
            node,
            wait: record.taken.nanos().saturating_sub(record.left.nanos()),
            buffer: began.nanos() - record.taken.nanos(),
            work: end.nanos().saturating_sub(began.nanos()),
        };
        if let Some(place) = record.steps.get_mut(record.len as usize) {
            *place = shares;
            record.len += 1;
        } else {
            let last = &mut record.steps[TRAIL_STEPS - 1];
            last.wait += shares.wait;
            last.buffer += shares.buffer;
            last.work += shares.work;
        }
        record.left = end.max(began);
        Some(shares.step())
    }

    /// Moves the trail's beginning `by` later, as where a frame is made of the
    /// later part of another: the source held that part for so much less. \[real-time\]
    pub(crate) fn advance(&mut self, by: Duration) {
        let Some(record) = self.0.get_mut() else { return };
        let mut rest = duration_nanos(by);
        for step in &mut record.steps[..record.len as usize] {
            for share in [&mut step.buffer, &mut step.wait, &mut step.work] {
                let taken = rest.min(*share);
                *share -= taken;
                rest -= taken;
            }
        }
    }

    /// When the frame last left a node. \[any\]
    pub(crate) fn left(&self) -> Timestamp {
        self.0.left
    }

    /// The steps so far. \[any\]
    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        self.0.steps[..self.0.len as usize].iter().map(Shares::step)
    }
}

impl Shares {
    const fn step(&self) -> Step {
        Step {
            node: self.node,
            wait: Duration::from_nanos(self.wait),
            buffer: Duration::from_nanos(self.buffer),
            work: Duration::from_nanos(self.work),
        }
    }
}

impl Clone for Trail {
    fn clone(&self) -> Self {
        let mut copy = self.0.sibling().unwrap_or_else(|| Pooled::unpooled(TrailRecord::EMPTY));
        if let Some(to) = copy.get_mut() {
            to.left = self.0.left;
            to.taken = self.0.taken;
            to.flow = self.0.flow;
            to.len = self.0.len;
            let len = self.0.len as usize;
            to.steps[..len].copy_from_slice(&self.0.steps[..len]);
        }
        Self(copy)
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x} ", self.flow())?;
        f.debug_list().entries(self.steps()).finish()
    }
}

/// Why a frame went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// A link was full and its policy let the frame go.
    Overflow,
    /// It came after its time.
    Late,
    /// Its contents were damaged.
    Corrupt,
    /// It had come before.
    Duplicate,
    /// The simulated network lost it.
    Impaired,
    /// Nobody was linked to take it.
    Unlinked,
    /// The node it was for had stopped.
    Stopped,
    /// There was no buffer for it.
    PoolDry,
    /// The effect that it came to let it go.
    Declined,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Overflow,
        Self::Late,
        Self::Corrupt,
        Self::Duplicate,
        Self::Impaired,
        Self::Unlinked,
        Self::Stopped,
        Self::PoolDry,
        Self::Declined,
    ];

    /// Its name in reports. \[any\]
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Late => "late",
            Self::Corrupt => "corrupt",
            Self::Duplicate => "duplicate",
            Self::Impaired => "impaired",
            Self::Unlinked => "unlinked",
            Self::Stopped => "stopped",
            Self::PoolDry => "pool_dry",
            Self::Declined => "declined",
        }
    }
}

/// What one node has done.
pub struct NodeLedger {
    /// Frames taken from links.
    pub taken: Counter,
    /// Frames put out (or rendered, by a sink).
    pub frames: Counter,
    /// Frames that it let go, by reason.
    pub dropped: [Counter; DropReason::ALL.len()],
    /// Frames for which its pools had no buffer.
    pub pool_dry: Counter,
    /// Calls of somebody else's code that came back after their deadline.
    pub late_calls: Counter,
    /// Calls of the node.
    pub calls: Counter,
    /// Nanoseconds inside its calls. Where calls are too short to be timed one by
    /// one, those that were stand for the rest.
    pub busy: Counter,
    /// Frames put out (or rendered) whose time is followed.
    pub followed: Counter,
    /// Waiting, of those frames that waited at all.
    wait: Histogram,
    /// Working, of those frames for which a clock was read.
    work: Histogram,
    /// Buffering, of those frames that were held.
    buffer: Histogram,
    /// What was rendered here, for a sink.
    pub rendered: PathLedger,
    /// The link whose want of room keeps it from being called, plus one.
    blocked: AtomicU32,
}

impl Default for NodeLedger {
    fn default() -> Self {
        Self::sharing(&Arc::default())
    }
}

impl Drop for NodeLedger {
    fn drop(&mut self) {
        self.wait.blocks().release(BLOCKS_PER_NODE);
    }
}

/// Blocks of histograms that the nodes of an engine share, and that each brings. A
/// node uses ten or so; where there are hundreds, some find none left.
pub(crate) const BLOCKS_TO_SHARE: usize = 1_024;
const BLOCKS_PER_NODE: usize = 2;
/// Blocks that the ledger of one path may be expected to need.
const BLOCKS_PER_PATH: usize = 8;

impl NodeLedger {
    /// One whose histograms take their blocks from `blocks`. \[control\]
    pub(crate) fn sharing(blocks: &Arc<Blocks>) -> Self {
        blocks.promise(BLOCKS_PER_NODE);
        Self {
            taken: Counter::default(),
            frames: Counter::default(),
            dropped: Default::default(),
            pool_dry: Counter::default(),
            late_calls: Counter::default(),
            calls: Counter::default(),
            busy: Counter::default(),
            followed: Counter::default(),
            wait: Histogram::sharing(blocks),
            work: Histogram::sharing(blocks),
            buffer: Histogram::sharing(blocks),
            rendered: PathLedger::sharing(blocks),
            blocked: AtomicU32::new(0),
        }
    }

    /// Counts one frame with its step. \[real-time\]
    pub(crate) fn step(&self, step: Option<&Step>) {
        self.followed.add(1);
        let Some(step) = step else { return };
        let shares = [(&self.wait, step.wait), (&self.work, step.work), (&self.buffer, step.buffer)];
        for (histogram, share) in shares {
            if !share.is_zero() {
                histogram.record(share);
            }
        }
    }

    /// Waiting, per frame put out. \[any\]
    #[must_use]
    pub fn wait(&self) -> Summary {
        self.wait.summary_of(self.followed.get())
    }

    /// Working, per frame put out. \[any\]
    #[must_use]
    pub fn work(&self) -> Summary {
        self.work.summary_of(self.followed.get())
    }

    /// Buffering, per frame put out. \[any\]
    #[must_use]
    pub fn buffer(&self) -> Summary {
        self.buffer.summary_of(self.followed.get())
    }

    /// Waiting, working and buffering, without the frames that had none of it. \[any\]
    pub(crate) const fn shares(&self) -> [&Histogram; 3] {
        [&self.wait, &self.work, &self.buffer]
    }

    /// Notes which link keeps the node from being called. \[real-time\]
    pub(crate) fn note_blocked(&self, link: Option<LinkId>) {
        self.blocked.store(link.map_or(0, |link| link.0 + 1), Ordering::Relaxed);
    }

    /// The link whose want of room keeps the node from being called. \[any\]
    #[must_use]
    pub fn blocked(&self) -> Option<LinkId> {
        self.blocked.load(Ordering::Relaxed).checked_sub(1).map(LinkId)
    }

    /// All drops together. \[any\]
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.dropped.iter().map(Counter::get).sum()
    }
}

/// The nodes that a rendered path can tell apart: so many for a start, as many
/// more when they are needed, and so on, so many times.
const PATH_NODES: usize = 12;
const MORE_NODES: usize = 5;
/// Stands for all those beyond.
const OTHER_NODES: NodeId = NodeId(u32::MAX - 1);

/// What came to one sink, and how its time was shared along the way.
pub struct PathLedger {
    medium: AtomicU32,
    /// Made ahead for sinks, for others when the first frame is rendered: most
    /// render none.
    rendered: OnceLock<Box<Rendered>>,
    blocks: Arc<Blocks>,
}

/// Capture to render, and the shares of the nodes along the way.
struct Rendered {
    end_to_end: Histogram,
    shares: PathShares,
}

/// The shares of the first few nodes of a path, and those of the others.
#[derive(Default)]
struct PathShares {
    first: [PathShare; PATH_NODES],
    more: OnceLock<Box<Self>>,
}

impl PathShares {
    /// Adds one node's share of a frame's time. \[real-time\]
    fn add(&self, step: &Step) {
        let mut shares = self;
        let mut left = MORE_NODES;
        // Linear, because a path has a dozen nodes; the last place is for all
        // that find none of their own.
        let (share, node) = loop {
            let own = &shares.first[..if left > 0 { PATH_NODES } else { PATH_NODES - 1 }];
            let place = own.iter().find(|share| {
                let node = share.node.load(Ordering::Relaxed);
                node == step.node.0 || node == u32::MAX
            });
            match place {
                Some(share) => break (share, step.node),
                None if left == 0 => break (&shares.first[PATH_NODES - 1], OTHER_NODES),
                None => shares = shares.more.get_or_init(Box::default),
            }
            left -= 1;
        };
        share.node.store(node.0, Ordering::Relaxed);
        share.wait.add(duration_nanos(step.wait));
        share.buffer.add(duration_nanos(step.buffer));
        share.work.add(duration_nanos(step.work));
    }
}

/// The sums of one node's shares over all frames rendered at one sink.
struct PathShare {
    node: AtomicU32,
    wait: Counter,
    buffer: Counter,
    work: Counter,
}

impl Default for PathShare {
    fn default() -> Self {
        Self {
            node: AtomicU32::new(u32::MAX),
            wait: Counter::default(),
            buffer: Counter::default(),
            work: Counter::default(),
        }
    }
}

impl Default for PathLedger {
    fn default() -> Self {
        Self::sharing(&Blocks::of(BLOCKS_PER_PATH))
    }
}

impl PathLedger {
    fn sharing(blocks: &Arc<Blocks>) -> Self {
        Self { medium: AtomicU32::new(0), rendered: OnceLock::new(), blocks: Arc::clone(blocks) }
    }

    /// Counts a frame rendered at `at`. \[real-time\]
    pub(crate) fn record(&self, header: &Header, medium: Medium, at: Timestamp) {
        let Some(trail) = &header.trail else { return };
        let rendered = self.rendered();
        rendered.end_to_end.record(at.since(header.captured));
        self.medium.store(medium as u32 + 1, Ordering::Relaxed);
        trail.steps().for_each(|step| rendered.shares.add(&step));
    }

    /// One that allocates nothing when it counts. \[control\]
    pub(crate) fn prepared() -> Self {
        let ledger = Self::default();
        let mut shares = &ledger.rendered().shares;
        for _ in 0..MORE_NODES {
            shares = shares.more.get_or_init(Box::default);
        }
        ledger
    }

    /// Makes all of it, so that counting the first frame allocates nothing. \[control\]
    pub(crate) fn prepare(&self) {
        self.rendered();
    }

    /// Counts a frame by the later part of its trail, `steps`, from where the
    /// first of them took it. \[real-time\]
    pub(crate) fn record_part(&self, steps: impl Iterator<Item = Step>) {
        let rendered = self.rendered();
        let mut whole = Duration::ZERO;
        for (index, mut step) in steps.enumerate() {
            if index == 0 {
                step.wait = Duration::ZERO;
            }
            whole += step.wait + step.buffer + step.work;
            rendered.shares.add(&step);
        }
        rendered.end_to_end.record(whole);
    }

    fn rendered(&self) -> &Rendered {
        self.rendered.get_or_init(|| {
            let end_to_end = Histogram::sharing(&self.blocks);
            Box::new(Rendered { end_to_end, shares: PathShares::default() })
        })
    }

    /// Capture to render; `None` before the first. \[any\]
    #[must_use]
    pub fn end_to_end(&self) -> Option<&Histogram> {
        self.rendered.get().map(|rendered| &rendered.end_to_end)
    }

    /// Whether sound or pictures came here; `None` before the first. \[any\]
    #[must_use]
    pub fn medium(&self) -> Option<Medium> {
        match self.medium.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Medium::Audio),
            _ => Some(Medium::Video),
        }
    }

    /// What came here, and how late; `None` before the first. \[any\]
    pub(crate) fn of_medium(&self) -> Option<(Medium, &Histogram)> {
        Some((self.medium()?, self.end_to_end()?))
    }

    /// The summed shares of each node along the way, in path order. \[any\]
    #[must_use]
    pub fn sums(&self) -> Vec<Step> {
        let first = self.rendered.get().map(|rendered| &rendered.shares);
        std::iter::successors(first, |shares| shares.more.get().map(|more| &**more))
            .flat_map(|shares| &shares.first)
            .filter(|share| share.node.load(Ordering::Relaxed) != u32::MAX)
            .map(|share| Step {
                node: NodeId(share.node.load(Ordering::Relaxed)),
                wait: Duration::from_nanos(share.wait.get()),
                buffer: Duration::from_nanos(share.buffer.get()),
                work: Duration::from_nanos(share.work.get()),
            })
            .collect()
    }
}

/// What one link has carried.
#[derive(Default)]
pub struct LinkLedger {
    /// Frames put in.
    pub frames: Counter,
    /// Frames its overflow policy let go.
    pub dropped: Counter,
    /// The most frames that ever waited in it.
    pub high_water: Counter,
}

/// A count with a single writer.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; one thread at a time. \[real-time\]
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// Raises to `value` if that is more; one thread at a time. \[real-time\]
    pub fn raise(&self, value: u64) {
        if value > self.get() {
            self.0.store(value, Ordering::Relaxed);
        }
    }

    /// The count. \[any\]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Shared by the lane that writes and whoever reads.
pub type SharedNodeLedger = Arc<NodeLedger>;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn shares_telescope_to_the_whole() {
        let pool = trail_pool(4, 4);
        let mut header = Header::new(at(100), Duration::ZERO);
        let mut trail = Trail::begin(&pool, at(100), 0);
        trail.leave(NodeId(0), at(110), at(111), false);
        trail.take(at(115));
        trail.leave(NodeId(1), at(115), at(119), false);
        trail.take(at(120));
        trail.leave(NodeId(2), at(150), at(151), false);
        header.trail = Some(trail);

        let path = PathLedger::default();
        path.record(&header, Medium::Audio, at(151));
        let whole: Duration = path.sums().iter().map(|s| s.wait + s.buffer + s.work).sum();
        assert_eq!(whole, Duration::from_millis(51));
        assert_eq!(path.sums()[2].buffer, Duration::from_millis(30));
        assert_eq!(path.sums()[0].buffer, Duration::from_millis(10));
    }

    #[test]
    fn a_trail_longer_than_its_steps_loses_no_time() {
        let pool = trail_pool(1, 1);
        let mut trail = Trail::begin(&pool, at(0), 0);
        for n in 0..100 {
            trail.take(at(u64::from(n)));
            trail.leave(NodeId(n), at(u64::from(n)), at(u64::from(n) + 1), false);
        }
        let whole: Duration = trail.steps().map(|s| s.wait + s.buffer + s.work).sum();
        assert_eq!(whole, Duration::from_millis(100));
    }

    #[test]
    fn a_path_tells_as_many_nodes_apart_as_it_can_and_loses_no_time() {
        let path = PathLedger::default();
        for _ in 0..2 {
            let step = |n| Step { node: NodeId(n), work: Duration::from_millis(1), ..Step::default() };
            path.record_part((0..100).map(step));
        }
        let sums = path.sums();
        let nodes: Vec<_> = sums.iter().map(|step| step.node.0).collect();
        let apart = u32::try_from(PATH_NODES * (MORE_NODES + 1) - 1).unwrap();
        assert_eq!(nodes, (0..apart).chain([OTHER_NODES.0]).collect::<Vec<_>>());
        assert_eq!(sums.iter().map(|step| step.work).sum::<Duration>(), Duration::from_millis(200));
    }

    #[test]
    fn a_copied_trail_goes_its_own_way() {
        let pool = trail_pool(4, 4);
        let mut a = Trail::begin(&pool, at(0), 0);
        let b = a.clone();
        a.leave(NodeId(1), at(1), at(1), false);
        assert_eq!((a.steps().count(), b.steps().count()), (1, 0));
    }
}
