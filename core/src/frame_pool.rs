//! `FramePool`: where the frames of an output get their buffers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::frame::{ALIGN, Buffer, Format, Frame, FrameBody, Header};
use crate::ledger::NodeLedger;
use crate::pool::{Places, Pool, Pooled, places};
use crate::pool_plan::{self, PoolPlan};
use crate::shared_memory::SharedMemory;

/// Bytes of buffers made ahead where nobody planned for the output.
const FIRST_FILL: usize = 1 << 18;

/// What becomes of a frame for which an output has no free buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDry {
    /// A buffer is made for it, and freed after it.
    #[default]
    Allocate,
    /// It goes nowhere.
    Drop,
}

impl WhenDry {
    /// The words of the graph file.
    pub const WORDS: [(&'static str, Self); 2] = [("allocate", Self::Allocate), ("drop", Self::Drop)];

    /// The word for it in graph files. \[any\]
    #[must_use]
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize].0
    }
}

/// The pools of one output port: one pool, remade when a larger buffer is asked
/// for, and a few buffers for frames that are to be dropped.
pub struct FramePool {
    plan: PoolPlan,
    bodies: Arc<Places<FrameBody>>,
    pool: Option<Arc<Pool<Buffer>>>,
    bytes: usize,
    /// What is written when the pool is dry and its frames are to be dropped. It
    /// comes back as soon as the node puts it out.
    spare: Option<Pool<Buffer>>,
    dry_before: u64,
    /// Where frames that found no buffer are counted.
    ledger: Option<Arc<NodeLedger>>,
}

/// Frames to be dropped that one node may hold at once without allocating.
const SPARE: usize = 2;

impl FramePool {
    /// Pools of `slots` buffers each, for whatever is asked for. \[control\]
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self::in_bodies(slots, Arc::new(places(slots)))
    }

    /// The same, whose frames stand in `bodies`. \[control\]
    #[must_use]
    pub(crate) const fn in_bodies(slots: usize, bodies: Arc<Places<FrameBody>>) -> Self {
        let plan = PoolPlan {
            bytes: None,
            slots,
            prefill: slots,
            at_start: false,
            shared: None,
            when_dry: WhenDry::Allocate,
            mapped: None,
        };
        Self::of(plan, bodies)
    }

    const fn of(plan: PoolPlan, bodies: Arc<Places<FrameBody>>) -> Self {
        Self { plan, bodies, pool: None, bytes: 0, spare: None, dry_before: 0, ledger: None }
    }

    /// The pools of an output, as the schedule planned them, whose frames stand in
    /// `bodies`, with a pool that it has in common with others, if there is one;
    /// frames that find no buffer are counted in `ledger`. \[control\]
    #[must_use]
    pub(crate) fn planned(
        plan: PoolPlan,
        bodies: &Arc<Places<FrameBody>>,
        shared: Option<Arc<Pool<Buffer>>>,
        ledger: &Arc<NodeLedger>,
    ) -> Self {
        let mut pool = Self { ledger: Some(Arc::clone(ledger)), ..Self::of(plan, Arc::clone(bodies)) };
        if let Some(bytes) = plan.bytes.filter(|_| plan.at_start) {
            if shared.is_some() {
                (pool.pool, pool.bytes) = (shared, bytes);
            } else {
                pool.prepare(bytes);
            }
        }
        pool
    }

    /// Makes the pool, with the buffers that are made ahead.
    fn prepare(&mut self, bytes: usize) -> &Pool<Buffer> {
        self.dry_before += self.pool.as_deref().map_or(0, Pool::dry);
        self.bytes = bytes;
        let pool = buffers(&self.plan, bytes);
        // Enough that the steady state that follows allocates nothing, and, where
        // the size was not planned for, not so many that the first frame is late.
        let most = if self.plan.bytes == Some(bytes) { usize::MAX } else { (FIRST_FILL / bytes).max(1) };
        pool.fill(self.plan.prefill.min(most));
        if self.plan.when_dry == WhenDry::Drop {
            let spare = Pool::new(SPARE, move || Buffer::spare(bytes));
            spare.fill(SPARE);
            self.spare = Some(spare);
        }
        self.pool.insert(Arc::new(pool))
    }

    /// A frame of `format` with room for at least `capacity` bytes. Allocates
    /// when it meets a size larger than any before, while there are fewer buffers
    /// than planned, and, where the plan says so, when it is dry. \[real-time\]
    pub fn frame(&mut self, header: Header, format: Format, capacity: usize) -> Frame {
        let bytes = format.bytes().max(capacity).max(1);
        if self.pool.is_none() || self.bytes < bytes {
            self.prepare(bytes.max(self.plan.bytes.unwrap_or_default()));
        }
        let free = self.pool.as_deref().and_then(Pool::try_get);
        let buffer = free.unwrap_or_else(|| self.dry_buffer(bytes));
        Frame::in_buffer(&self.bodies, header, format, buffer)
    }

    #[cold]
    fn dry_buffer(&self, bytes: usize) -> Pooled<Buffer> {
        self.ledger.iter().for_each(|ledger| ledger.pool_dry.add(1));
        match (&self.spare, &self.pool) {
            (Some(spare), _) => spare.get(),
            (None, Some(pool)) => pool.get(),
            (None, None) => Pooled::unpooled(Buffer::new(bytes)),
        }
    }

    /// Whether no buffer is out that others would free. \[any\]
    #[must_use]
    pub fn is_home(&self) -> bool {
        self.pool.as_ref().is_none_or(|pool| Arc::strong_count(pool) > 1 || pool.is_home())
    }

    /// How often a buffer was asked for and none was free, by whoever has the pool
    /// in common. \[any\]
    #[must_use]
    pub fn dry(&self) -> u64 {
        self.dry_before + self.pool.as_deref().map_or(0, Pool::dry)
    }
}

/// A pool as planned, of buffers of `bytes`.
fn buffers(plan: &PoolPlan, bytes: usize) -> Pool<Buffer> {
    // Where the system gives no shared memory, frames are copied to where the other
    // process finds them.
    let memory = plan.mapped.and_then(|access| SharedMemory::of_places(plan.slots, bytes, access).ok());
    Pool::new(plan.slots, move || {
        let place = memory.as_ref().and_then(|memory| memory.place(bytes.next_multiple_of(ALIGN)));
        place.map_or_else(|| Buffer::new(bytes), Buffer::shared)
    })
}

/// The pools that outputs have in common, by number. \[control\]
pub(crate) fn shared_pools<'a>(
    plans: impl Iterator<Item = &'a PoolPlan>,
) -> BTreeMap<usize, Arc<Pool<Buffer>>> {
    let made = pool_plan::shared(plans).into_iter().map(|(number, plan)| {
        let bytes = plan.bytes.unwrap_or_default();
        let pool = buffers(&plan, bytes);
        pool.fill(plan.prefill);
        (number, Arc::new(pool))
    });
    made.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::VideoFormat;
    use crate::media_type::{Codec, Size};
    use crate::shared_memory::Access;

    #[test]
    fn a_dry_pool_does_what_its_plan_says_and_counts_it() {
        let format = Format::Packet { codec: Codec::Opus, len: 100 };
        for when_dry in [WhenDry::Allocate, WhenDry::Drop] {
            let ledger = Arc::default();
            let plan = PoolPlan {
                bytes: Some(128),
                slots: 2,
                prefill: 2,
                at_start: true,
                shared: None,
                when_dry,
                mapped: None,
            };
            let mut pool = FramePool::planned(plan, &Arc::new(places(4)), None, &ledger);
            let mut frames: Vec<_> = (0..4).map(|_| pool.frame(Header::default(), format, 0)).collect();
            let spare: Vec<_> = frames.iter().map(Frame::is_spare).collect();
            let dropped = when_dry == WhenDry::Drop;
            assert_eq!(spare, [false, false, dropped, dropped], "{when_dry:?}");
            assert_eq!(ledger.pool_dry.get(), 2);
            frames.clear();
            assert!(!pool.frame(Header::default(), format, 0).is_spare(), "what came back is used again");
            assert_eq!(ledger.pool_dry.get(), 2);
        }
    }

    #[test]
    fn what_another_process_maps_is_shared_memory_as_long_as_the_pool_is_not_dry() {
        let format = Format::Video(VideoFormat::i420(Size::new(65, 3)));
        let plan = PoolPlan {
            bytes: None,
            slots: 3,
            prefill: 1,
            at_start: false,
            shared: None,
            when_dry: WhenDry::Allocate,
            mapped: Some(Access::Read),
        };
        let mut pool = FramePool::planned(plan, &Arc::new(places(8)), None, &Arc::default());
        let mut first = pool.frame(Header::default(), format, 0);
        first.bytes_mut().fill(7);
        let mut copied = first.clone();
        copied.planes_mut()[0].row_mut(1)[64] = 9;
        let third = pool.frame(Header::default(), format, 0);
        let dry = pool.frame(Header::default(), format, 0);
        let found = [&first, &copied, &third, &dry].map(|frame| frame.shared_place());
        let [Some(a), Some(b), Some(c), None] = found else { panic!("{found:?}") };
        assert!([b, c].iter().all(|place| place.memory.id() == a.memory.id()));
        assert!(a.offset != b.offset && b.offset != c.offset && a.offset != c.offset);
        assert_eq!((first.plane(0).row(1)[64], copied.plane(0).row(1)[64], copied.bytes()[0]), (7, 9, 7));
        // A larger picture has the pool made anew, in memory of its own.
        let larger = pool.frame(Header::default(), Format::Video(VideoFormat::i420(Size::new(300, 300))), 0);
        assert_ne!(larger.shared_place().unwrap().memory.id(), a.memory.id());
        assert_eq!(first.bytes()[0], 7, "what is out stays");
    }

    #[test]
    fn outputs_that_share_a_pool_have_together_what_each_may_have() {
        let format = Format::Packet { codec: Codec::Opus, len: 100 };
        let plan = PoolPlan {
            bytes: Some(128),
            slots: 3,
            prefill: 2,
            at_start: true,
            shared: Some(7),
            when_dry: WhenDry::Allocate,
            mapped: None,
        };
        let (pools, bodies) = (shared_pools([plan, plan].iter()), Arc::new(places(8)));
        let (a, b) = (Arc::default(), Arc::default());
        let mut first = FramePool::planned(plan, &bodies, pools.get(&7).cloned(), &a);
        let mut second = FramePool::planned(plan, &bodies, pools.get(&7).cloned(), &b);
        let frames: Vec<_> = (0..5).map(|_| first.frame(Header::default(), format, 0)).collect();
        let more: Vec<_> = (0..2).map(|_| second.frame(Header::default(), format, 0)).collect();
        assert_eq!((a.pool_dry.get(), b.pool_dry.get()), (0, 1));
        drop((pools, frames));
        assert!(first.is_home(), "what is out, the other will free");
        drop(first);
        assert!(!second.is_home());
        drop(more);
        assert!(second.is_home());
    }
}
