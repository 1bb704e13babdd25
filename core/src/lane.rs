//! `Lane`: one thread and the nodes that run on it, to completion, in
//! topological order.
//!
//! A turn calls every node that is due, upstream first, again and again until
//! none is. Frames between two nodes of the lane go straight into the receiver's
//! queue; frames for other lanes go into their rings, with one wake each that
//! costs a system call only if the other lane sleeps. Everything that changes
//! the lane comes by message and is applied between two calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::cell::{Cell, State};
use crate::clock::Clock;
use crate::context::Staged;
use crate::control::{Control, Through};
use crate::event::{Event, EventKind};
use crate::ledger::{Counter, DropReason, NodeId};
use crate::link::{self, Inlet, Item, LinkId, Outlet, Overflow};
use crate::node::Node;
use crate::timestamp::Timestamp;
use crate::waker::LaneWaker;

/// Turns through a lane's nodes at one go, at most: a node that is always due
/// must not keep the lane from its mail, nor virtual time from passing.
const MOST_ROUNDS: usize = 10_000;
/// Messages that may wait for a lane before senders are refused.
const MAILBOX: usize = 1_024;

/// Where messages for a lane are put. \[real-time\]
#[derive(Clone)]
pub(crate) struct Mailbox {
    sender: Sender<Message>,
    waker: Arc<LaneWaker>,
}

impl Mailbox {
    pub(crate) fn new(waker: Arc<LaneWaker>) -> (Self, Receiver<Message>) {
        let (sender, receiver) = crossbeam_channel::bounded(MAILBOX);
        (Self { sender, waker }, receiver)
    }

    /// Posts without waiting; gives the message back if the box is full or the
    /// lane is gone. \[real-time\]
    pub(crate) fn post(&self, message: Message) -> Result<(), Message> {
        // Half the box is kept for what changes the graph, which must not be lost.
        if matches!(message, Message::Control { .. }) && self.sender.len() > MAILBOX / 2 {
            return Err(message);
        }
        let outcome = self.sender.try_send(message).map_err(|refused| match refused {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        });
        self.waker.wake();
        outcome
    }

    pub(crate) fn waker(&self) -> &Arc<LaneWaker> {
        &self.waker
    }
}

/// What changes a lane.
pub(crate) enum Message {
    /// For one node, with the output that it came up through.
    Control { node: NodeId, control: Control, through: Option<Through> },
    /// Nodes and links come and go.
    Edit(Box<Edit>),
    /// A new node for a cell that awaits one.
    Replace { node: NodeId, with: Box<dyn Node> },
    /// No new node can be made for a cell that awaits one.
    GiveUp { node: NodeId },
    /// Nodes are called from now on.
    Start,
    /// Sources end; rooms are left; what is under way drains.
    Stop,
    /// The thread ends, whatever is under way.
    Quit,
}

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
    }
}

/// What a lane tells the supervisor.
pub(crate) enum Notice {
    Event(Event),
    /// What a change left over, to be dropped off the lane.
    Left(Box<dyn Send>),
    /// A cell that was removed.
    Gone(Box<Cell>),
}

/// What a lane has done, for its watcher.
pub(crate) struct LaneLedger {
    /// The node being called, plus one; 0 between calls.
    pub(crate) current: AtomicU32,
    pub(crate) turns: Counter,
    /// Notices that found no room.
    pub(crate) lost_notices: Counter,
}

/// One thread's nodes.
pub(crate) struct Lane {
    cells: Vec<Option<Box<Cell>>>,
    order: Vec<usize>,
    inbox: Receiver<Message>,
    mailbox: Mailbox,
    notices: Sender<Notice>,
    clock: Clock,
    ledger: Arc<LaneLedger>,
    staged: Vec<Staged>,
    started: bool,
    stopping: bool,
    quit: bool,
}

impl Lane {
    pub(crate) fn new(clock: Clock, notices: Sender<Notice>) -> Self {
        let (mailbox, inbox) = Mailbox::new(Arc::default());
        let ledger = LaneLedger {
            current: AtomicU32::new(0),
            turns: Counter::default(),
            lost_notices: Counter::default(),
        };
        Self {
            cells: Vec::new(),
            order: Vec::new(),
            inbox,
            mailbox,
            notices,
            clock,
            ledger: Arc::new(ledger),
            staged: Vec::with_capacity(64),
            started: false,
            stopping: false,
            quit: false,
        }
    }

    pub(crate) fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    pub(crate) fn ledger(&self) -> Arc<LaneLedger> {
        Arc::clone(&self.ledger)
    }

    /// The body of the lane's thread.
    pub(crate) fn run(mut self) {
        loop {
            self.turn();
            if self.quit {
                return;
            }
            if self.may_sleep() {
                let limit = self.next_timer().map(|at| at.since(self.clock.now()));
                if limit.is_none_or(|limit| !limit.is_zero()) {
                    self.mailbox.waker().sleep(limit);
                }
            }
        }
    }

    /// Calls whatever is due until nothing is; tells whether anything was.
    pub(crate) fn turn(&mut self) -> bool {
        self.mailbox.waker().take_call();
        self.ledger.turns.add(1);
        let mut any = false;
        let mut now = self.clock.now();
        for _ in 0..MOST_ROUNDS {
            let mut progress = self.read_mail();
            if !self.started || self.quit {
                return progress && !self.quit;
            }
            for at in 0..self.order.len() {
                let place = self.order[at];
                let Some(mut cell) = self.cells[place].take() else { continue };
                cell.wiring.outlets.retain_mut(|outlet| {
                    outlet.flush();
                    !(outlet.closing && outlet.spill.is_empty())
                });
                if !self.is_blocked(&cell) && cell.is_due(now) {
                    self.ledger.current.store(cell.id.0 + 1, Ordering::Relaxed);
                    now = cell.call(now, &self.clock);
                    self.ledger.current.store(0, Ordering::Relaxed);
                    self.hand_out(&mut cell, now);
                    progress = true;
                }
                if cell.untold_end && cell.wiring.outlets.iter().all(|outlet| outlet.spill.is_empty()) {
                    cell.untold_end = false;
                    self.notify(Notice::Event(Event { at: now, node: cell.id, kind: EventKind::Ended }));
                    progress = true;
                }
                self.cells[place] = Some(cell);
            }
            if !progress {
                return any;
            }
            any = true;
        }
        any
    }

    /// Whether it was told to quit.
    pub(crate) const fn has_quit(&self) -> bool {
        self.quit
    }

    /// The earliest instant that a node asked for.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.cells
            .iter()
            .flatten()
            .filter(|cell| cell.state == State::Running && !self.is_blocked(cell))
            .filter_map(|cell| cell.wiring.wake_at)
            .min()
    }

    /// Whether sleeping loses nothing: tells every full ring's receiver that we
    /// wait, and looks once more whether there is room by now.
    fn may_sleep(&self) -> bool {
        self.cells
            .iter()
            .flatten()
            .flat_map(|cell| &cell.wiring.outlets)
            .filter(|outlet| outlet.is_full())
            .all(|outlet| outlet.sender.block(outlet.capacity))
    }

    /// Whether a link that waits has no room; notes which, for the watcher.
    fn is_blocked(&self, cell: &Cell) -> bool {
        let full = cell.wiring.outlets.iter().find(|outlet| match outlet.sender {
            link::Sender::Local { cell: to, .. } => {
                outlet.overflow == Overflow::Wait
                    && self.cells[to]
                        .as_ref()
                        .and_then(|cell| cell.wiring.inlets.iter().find(|inlet| inlet.link == outlet.link))
                        .is_some_and(|inlet| inlet.len() >= outlet.capacity)
            }
            _ => outlet.is_full(),
        });
        cell.wiring.ledger.note_blocked(full.map(|outlet| outlet.link));
        full.is_some()
    }

    fn read_mail(&mut self) -> bool {
        let mut any = false;
        while let Ok(message) = self.inbox.try_recv() {
            any = true;
            match message {
                Message::Control { node, control, through } => {
                    let Some(cell) = self.cell_mut(node) else { continue };
                    match cell.state {
                        State::Running | State::AwaitingNode => cell.controls.push_back((control, through)),
                        State::Bypassed if through.is_some() => pass_upstream(&cell.wiring.inlets, &control),
                        State::Bypassed | State::Ended => {}
                    }
                }
                Message::Edit(edit) => self.apply(edit),
                Message::Replace { node, with } => {
                    let old = match self.cell_mut(node) {
                        Some(cell) if cell.state == State::AwaitingNode => cell.replace(with),
                        _ => with,
                    };
                    self.notify(Notice::Left(Box::new(old)));
                }
                Message::GiveUp { node } => {
                    if let Some(place) = self.place_of(node)
                        && let Some(mut cell) = self.cells[place].take()
                    {
                        cell.end();
                        let now = self.clock.now();
                        self.hand_out(&mut cell, now);
                        self.cells[place] = Some(cell);
                    }
                }
                Message::Start => self.started = true,
                Message::Stop => {
                    self.stopping = true;
                    self.cells.iter_mut().flatten().for_each(|cell| cell.stopping = true);
                }
                Message::Quit => self.quit = true,
            }
        }
        any
    }

    fn apply(&mut self, mut edit: Box<Edit>) {
        for mut cell in edit.add.drain(..) {
            cell.stopping |= self.stopping;
            let free = self.cells.iter().position(Option::is_none);
            let place = free.unwrap_or(self.cells.len());
            if free.is_none() {
                self.cells.push(None);
            }
            self.cells[place] = Some(cell);
            self.order.push(place);
        }
        for (node, inlet) in edit.inlets.drain(..) {
            if let Some(cell) = self.cell_mut(node) {
                cell.fed = true;
                cell.wiring.inlets.push(inlet);
            }
        }
        for (node, mut outlet) in edit.outlets.drain(..) {
            if let link::Sender::Local { node: to, cell: place } = &mut outlet.sender {
                let Some(found) = self.place_of(*to) else { continue };
                *place = found;
            }
            match self.cell_mut(node) {
                Some(cell) if cell.state != State::Ended => {
                    cell.wiring.outlets.push(outlet);
                    // It may hold frames back until somebody is there to take them.
                    cell.waker.wake();
                }
                // Nothing will come through it any more.
                _ => deliver(&mut self.cells, &mut outlet, Item::End),
            }
        }
        for &node in &edit.unexpect {
            if let Some(cell) = self.cell_mut(node) {
                cell.expected = cell.expected.saturating_sub(1);
            }
        }
        for &(node, link) in &edit.unlink {
            if let Some(cell) = self.cell_mut(node) {
                let inlet = cell.wiring.inlets.iter_mut().find(|inlet| inlet.link == link);
                inlet.into_iter().for_each(|inlet| inlet.leaving = true);
                cell.wiring.inlets.retain(|inlet| !(inlet.leaving && inlet.ended));
                cell.wiring.outlets.retain(|outlet| outlet.link != link);
            }
        }
        for &(node, link) in &edit.end {
            let Some(place) = self.place_of(node) else { continue };
            let Some(mut cell) = self.cells[place].take() else { continue };
            for outlet in
                cell.wiring.outlets.iter_mut().filter(|outlet| outlet.link == link && !outlet.closing)
            {
                deliver(&mut self.cells, outlet, Item::End);
                outlet.closing = true;
            }
            self.cells[place] = Some(cell);
        }
        for &node in &edit.stop {
            self.cell_mut(node).into_iter().for_each(|cell| cell.stopping = true);
        }
        for &node in &edit.remove {
            let Some(place) = self.place_of(node) else { continue };
            self.order.retain(|&other| other != place);
            for cell in self.cells.iter_mut().flatten() {
                cell.wiring.outlets.retain(
                    |outlet| !matches!(outlet.sender, link::Sender::Local { cell, .. } if cell == place),
                );
            }
            if let Some(cell) = self.cells[place].take() {
                self.notify(Notice::Gone(cell));
            }
        }
        let cells = &self.cells;
        self.order.sort_unstable_by_key(|&place| cells[place].as_ref().map(|cell| (cell.rank, cell.id)));
        self.notify(Notice::Left(edit));
    }

    fn place_of(&self, node: NodeId) -> Option<usize> {
        self.cells.iter().position(|cell| cell.as_ref().is_some_and(|cell| cell.id == node))
    }

    fn cell_mut(&mut self, node: NodeId) -> Option<&mut Cell> {
        self.cells.iter_mut().flatten().find(|cell| cell.id == node).map(|cell| &mut **cell)
    }

    /// Hands out what a call left behind: frames to links, messages upstream,
    /// events to the supervisor.
    fn hand_out(&mut self, cell: &mut Cell, now: Timestamp) {
        let mut staged = std::mem::replace(&mut cell.wiring.staged, std::mem::take(&mut self.staged));
        for Staged { port, key, item } in staged.drain(..) {
            self.send(cell, port, key, item);
        }
        self.staged = staged;
        if cell.wiring.ended {
            cell.wiring.ended = false;
            for outlet in &mut cell.wiring.outlets {
                deliver(&mut self.cells, outlet, Item::End);
            }
        }
        for (link, control) in cell.wiring.upstream.drain(..) {
            let inlet = cell.wiring.inlets.iter().position(|inlet| inlet.link == link);
            if let Some(at) = inlet {
                pass_upstream(&cell.wiring.inlets[at..=at], &control);
            }
        }
        for kind in cell.wiring.events.drain(..) {
            self.notify(Notice::Event(Event { at: now, node: cell.id, kind }));
        }
    }

    fn send(&mut self, cell: &mut Cell, port: usize, key: Option<crate::event::Key>, item: Item) {
        let fits = |outlet: &Outlet| outlet.port == port && outlet.key == key;
        let Some(last) = cell.wiring.outlets.iter().rposition(fits) else {
            if matches!(item, Item::Frame(_)) {
                cell.wiring.ledger.dropped[DropReason::Unlinked as usize].add(1);
            }
            return;
        };
        for outlet in cell.wiring.outlets[..last].iter_mut().filter(|outlet| fits(outlet)) {
            let copy = match &item {
                Item::Frame(frame) => Item::Frame(frame.clone()),
                Item::End => Item::End,
            };
            deliver(&mut self.cells, outlet, copy);
        }
        let is_end = matches!(item, Item::End);
        deliver(&mut self.cells, &mut cell.wiring.outlets[last], item);
        if is_end {
            cell.wiring
                .outlets
                .iter_mut()
                .filter(|outlet| fits(outlet))
                .for_each(|outlet| outlet.closing = true);
        }
    }

    fn notify(&self, notice: Notice) {
        if self.notices.try_send(notice).is_err() {
            self.ledger.lost_notices.add(1);
        }
    }
}

/// Sends a message to whoever feeds these links.
fn pass_upstream(inlets: &[Inlet], control: &Control) {
    // A message that went round a loop would never come to rest.
    for source in inlets.iter().filter(|inlet| !inlet.is_loop).filter_map(|inlet| inlet.source.as_ref()) {
        let message =
            Message::Control { node: source.node, control: control.clone(), through: Some(source.through) };
        // A full box means the lane is far behind; the asker asks again.
        let _ = source.lane.post(message);
    }
}

/// Puts an item into its link, of whichever sort.
fn deliver(cells: &mut [Option<Box<Cell>>], outlet: &mut Outlet, item: Item) {
    let link::Sender::Local { cell, .. } = outlet.sender else {
        outlet.send(item);
        return;
    };
    let Some(to) = cells[cell].as_mut() else { return };
    let Some(inlet) = to.wiring.inlets.iter_mut().find(|inlet| inlet.link == outlet.link) else { return };
    let is_frame = matches!(item, Item::Frame(_));
    let link::Receiver::Local(queue) = &mut inlet.receiver else { return };
    let mut dropped = 0;
    if is_frame {
        outlet.ledger.frames.add(1);
        if queue.len() >= outlet.capacity {
            match outlet.overflow {
                Overflow::Wait => {}
                Overflow::DropOldest => {
                    queue.pop_front();
                    dropped = 1;
                }
                Overflow::DropNewest => {
                    outlet.ledger.dropped.add(1);
                    return;
                }
            }
        }
    }
    queue.push_back(item);
    outlet.ledger.dropped.add(dropped);
    outlet.ledger.high_water.raise(queue.len() as u64);
}
