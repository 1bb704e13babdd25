//! `Edit`: a change to one lane, with all that the lane needs to apply it, so that
//! it allocates and frees nothing; and `Notice`, by which that comes back.

use std::time::Duration;

use crossbeam_channel::Sender;

use crate::cell::{Cell, OnFault};
use crate::duties::Duties;
use crate::event::Event;
use crate::ledger::NodeId;
use crate::link::{Inlet, LinkId, Outlet, Shell};
use crate::ready::Ready;
use crate::timers::Timers;
use crate::watch::Books;

/// A change to one lane, applied whole between two calls.
#[derive(Default)]
pub(crate) struct Edit {
    #[allow(clippy::vec_box)] // the lane moves cells about, which are large
    pub(crate) add: Vec<Box<Cell>>,
    pub(crate) outlets: Vec<(NodeId, Outlet)>,
    pub(crate) inlets: Vec<(NodeId, Inlet)>,
    pub(crate) remove: Vec<NodeId>,
    /// Ends of links that go: a sending end at once, a receiving end when it has
    /// ended and is empty.
    pub(crate) unlink: Vec<(NodeId, LinkId)>,
    /// Sending ends through which nothing more comes.
    pub(crate) end: Vec<(NodeId, LinkId)>,
    /// Nodes that are to end though the graph goes on.
    pub(crate) stop: Vec<NodeId>,
    /// Templates fewer that may link to a node.
    pub(crate) unexpect: Vec<NodeId>,
    /// What nodes do for budgets from now on; what they did before comes back.
    pub(crate) duties: Vec<(NodeId, Option<Box<Duties>>)>,
    /// How nodes that stay stand in the changed graph.
    pub(crate) tune: Vec<Tuning>,
    /// Room for the lane's own lists, where those are too small.
    pub(crate) room: Option<Room>,
    /// Room for the ends of a node's links.
    pub(crate) ends: Vec<(NodeId, Vec<Inlet>, Vec<Outlet>)>,
    /// Tells apart an edit whose coming back is waited for.
    pub(crate) number: u32,
}

/// How a node that stays stands in the changed graph.
pub(crate) struct Tuning {
    pub(crate) node: NodeId,
    pub(crate) rank: u64,
    pub(crate) fed: bool,
    pub(crate) expected: usize,
    pub(crate) on_fault: OnFault,
    pub(crate) deadline: Option<Duration>,
}

/// Lists of a lane that hold a number of cells without growing: a lane swaps
/// them for its own, which go back to be dropped.
pub(crate) struct Room {
    pub(crate) cells: Vec<Option<Box<Cell>>>,
    pub(crate) order: Vec<usize>,
    pub(crate) next_at: Vec<usize>,
    pub(crate) blocked: Vec<usize>,
    pub(crate) timers: Timers,
    pub(crate) ready: Ready,
}

/// Cells that a lane has room for from the start.
pub(crate) const CELLS: usize = 32;

impl Room {
    /// For `cells` cells. \[control\]
    pub(crate) fn new(cells: usize) -> Self {
        let mut timers = Timers::default();
        timers.reserve(cells);
        let mut ready = Ready::default();
        ready.set_all(cells);
        Self {
            cells: Vec::with_capacity(cells),
            order: Vec::with_capacity(cells),
            next_at: Vec::with_capacity(cells),
            blocked: Vec::with_capacity(cells),
            timers,
            ready,
        }
    }
}

impl Edit {
    pub(crate) const fn is_empty(&self) -> bool {
        self.add.is_empty()
            && self.outlets.is_empty()
            && self.inlets.is_empty()
            && self.remove.is_empty()
            && self.unlink.is_empty()
            && self.end.is_empty()
            && self.stop.is_empty()
            && self.unexpect.is_empty()
            && self.duties.is_empty()
            && self.tune.is_empty()
            && self.number == 0
    }
}

/// What a lane tells the supervisor.
pub(crate) enum Notice {
    Event(Event),
    /// What a change left over, to be dropped off the lane.
    Left(Box<dyn Send>),
    /// An edit that was applied, with what it replaced.
    Applied(Box<Edit>),
    /// An end of a link that is done with.
    Parted(Box<Shell>),
    /// A cell that was removed.
    Gone(Box<Cell>),
    /// From elsewhere: somebody would read the ledgers.
    Asked(Sender<Books>),
}
