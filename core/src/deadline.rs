//! `Deadline`: how long one call of somebody else's code may take, and how many
//! of its last calls took longer.
//!
//! It is what the graph's author says, else the node's share of its tightest
//! budget: what declared latencies leave of that along the slowest path through
//! the node, divided among the path's nodes. Where there is no budget a call may
//! take as long as a frame lasts: beyond that, the node falls behind.
//!
//! One late call is no fault: the system may have had something else to do. Late
//! calls are found at no cost where calls are long enough to be timed one by one
//! (`Pace`), as those of a node that is late are; of one whose calls take next to
//! nothing, the first late one is noticed by the lane's next reading of the
//! clock, upon which the next calls are timed.

use std::time::Duration;

use crate::media_type::MediaType;
use crate::net::{Net, NetNode};
use crate::registry::Foreign;
use crate::timestamp::Timestamp;

/// Of so many calls, the last ones that were timed, ...
const LAST: u32 = 50;
/// ... so many that were late are a fault.
pub(crate) const MOST_LATE: u32 = 5;
/// The least a call may take, however tight the budget: below this, what is
/// measured is the system's scheduler.
const LEAST: Duration = Duration::from_millis(1);
/// What a call may take where neither a budget nor the length of a frame is known.
const USUAL: Duration = Duration::from_millis(20);

/// How long one call may take, and how the last ones did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) limit: Duration,
    /// The last calls, the latest in the lowest bit; set are those that were late.
    last: u64,
}

impl Deadline {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self { limit, last: 0 }
    }

    /// Whether a call that took so long was late. \[real-time\]
    pub(crate) fn is_late(&self, took: Duration) -> bool {
        took > self.limit
    }

    /// Counts a call; tells whether too many of the last ones were late, and then
    /// begins anew. \[real-time\]
    pub(crate) const fn note(&mut self, is_late: bool) -> bool {
        self.last = (self.last << 1 | is_late as u64) & ((1 << LAST) - 1);
        let too_many = self.last.count_ones() >= MOST_LATE;
        if too_many {
            self.last = 0;
        }
        too_many
    }
}

impl Net {
    /// Says how long the calls of nodes that run somebody else's code may take,
    /// where these do not say so themselves.
    pub(crate) fn set_deadlines(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            self.nodes[index].deadline = match (node.foreign, node.deadline) {
                (Foreign::No, _) => None,
                (_, Some(given)) => Some(given),
                (_, None) => Some(self.share_of_budget(index).unwrap_or_else(|| frame_of(node))),
            };
        }
    }

    /// The node's share of its tightest budget, if it has one.
    fn share_of_budget(&self, node: usize) -> Option<Duration> {
        let share = |path: Vec<usize>, limit: Duration| {
            let declared = path.iter().map(|node| self.nodes[*node].latency).sum();
            let nodes = u32::try_from(path.len()).unwrap_or(u32::MAX).max(1);
            (limit.saturating_sub(declared) / nodes).max(LEAST)
        };
        let budgets = self.budgets.iter();
        budgets.filter_map(|budget| Some(share(self.path_through(node, budget)?, budget.limit))).min()
    }
}

/// How long a frame lasts of what comes to a node first (or of what it gives).
fn frame_of(node: &NetNode) -> Duration {
    let media = node.inputs.first().copied().flatten().or_else(|| node.outputs.first().copied());
    match media {
        Some(MediaType::Video { fps: Some(fps), .. }) => Duration::from_nanos(fps.offset_nanos(1)),
        Some(MediaType::Audio { rate: Some(rate), samples: Some(samples), .. }) => {
            Timestamp::ZERO.after_units(u64::from(samples), rate).since(Timestamp::ZERO)
        }
        _ => USUAL,
    }
}
