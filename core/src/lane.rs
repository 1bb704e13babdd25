//! `Lane`: one thread and the nodes that run on it, to completion, in
//! topological order.
//!
//! A lane knows which of its nodes may have something to do: those into whose
//! links something was put, whose instant has come, or who were called by
//! another lane. A turn goes through these, upstream first, again and again
//! until there are none. A call's frames go into the rings of its links; a node of
//! the same lane is then put on the list, a node of another lane is told by one
//! wake a call, which costs a system call only if that lane sleeps. Everything
//! that changes the lane comes by message and is applied between two calls.
//!
//! Reading the clock costs more than many a node's call. A node whose calls take
//! next to nothing is timed once in a while, and its frames leave it at the
//! instant the lane last read; the time shows with the next reading, which comes
//! when the calls since should have taken `UNREAD`, and at most `UNTIMED` of them.
//! If it finds more than `SUSPECT` gone, the nodes called meanwhile are timed call
//! by call for a while. A lane told to be exact reads the clock after every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::cell::{Cell, State};
use crate::clock::Clock;
use crate::context::{Outbox, Staged};
use crate::control::{Control, Through};
use crate::deadline::Deadline;
use crate::event::{Event, EventKind};
pub(crate) use crate::lane_edit::{CELLS, Edit, Notice, Room, Tuning};
use crate::ledger::{Counter, NodeId};
use crate::link::{Inlet, Item, LinkId, Outlet, Shell, Taker};
use crate::node::Node;
use crate::ready::Ready;
use crate::timers::Timers;
use crate::timestamp::{Timestamp, duration_nanos};
use crate::trace::LaneTrace;
use crate::waker::{LaneWaker, PLACES, Place};

/// Rounds through a lane's nodes at one go, at most: a node that is always due
/// must not keep virtual time from passing.
const MOST_ROUNDS: usize = 10_000;
/// Looks for a call between two readings of the clock, while a lane spins.
const LOOKS: usize = 32;
/// Messages that may wait for a lane before senders are refused.
const MAILBOX: usize = 1_024;
/// Calls in a row for which no clock is read, at most.
const UNTIMED: usize = 64;
/// Nanoseconds that calls for which no clock is read are to take together, about.
const UNREAD: u64 = 10_000;
/// More than so many quick calls can take.
const SUSPECT: Duration = Duration::from_micros(100);
/// Ends a chain of cells.
const NONE: usize = usize::MAX;

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
        self.waker.wake_for_mail();
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
    /// A new node for one that runs, or has failed.
    Renew { node: NodeId, with: Box<dyn Node> },
    /// No new node can be made for a cell that awaits one.
    GiveUp { node: NodeId },
    /// Nodes are called from now on.
    Start,
    /// Sources end; rooms are left; what is under way drains.
    Stop,
    /// The thread ends, whatever is under way.
    Quit,
}

/// What a lane has done, for its watcher.
pub(crate) struct LaneLedger {
    /// The node being called, plus one; 0 between calls.
    pub(crate) current: AtomicU32,
    pub(crate) turns: Counter,
    /// Nanoseconds awake, up to the end of the last round through its nodes.
    pub(crate) busy: Counter,
    /// Notices that found no room.
    pub(crate) lost_notices: Counter,
}

/// One thread's nodes.
pub(crate) struct Lane {
    cells: Vec<Option<Box<Cell>>>,
    /// Cells, upstream first.
    order: Vec<usize>,
    /// Which of them, by their place in `order`, may have something to do.
    ready: Ready,
    /// By `Place`: the first cell that has it; and the next one, by cell.
    first_at: Vec<usize>,
    next_at: Vec<usize>,
    timers: Timers,
    /// Cells that a full link keeps from being called.
    blocked: Vec<usize>,
    /// Cells called since the clock was last read.
    untimed: Vec<usize>,
    /// Nanoseconds that these should have taken.
    unread: u64,
    out: Outbox,
    /// The time, as last read.
    now: Timestamp,
    exact: bool,
    trace: Option<LaneTrace>,
    inbox: Receiver<Message>,
    mailbox: Mailbox,
    notices: Sender<Notice>,
    clock: Clock,
    ledger: Arc<LaneLedger>,
    started: bool,
    stopping: bool,
    quit: bool,
}

impl Lane {
    /// With a trace the clock is read after every call. \[control\]
    pub(crate) fn new(clock: Clock, notices: Sender<Notice>, trace: Option<LaneTrace>) -> Self {
        let (mailbox, inbox) = Mailbox::new(Arc::default());
        let ledger = LaneLedger {
            current: AtomicU32::new(0),
            turns: Counter::default(),
            busy: Counter::default(),
            lost_notices: Counter::default(),
        };
        let Room { cells, order, next_at, blocked, timers, ready } = Room::new(CELLS);
        Self {
            cells,
            order,
            ready,
            first_at: vec![NONE; PLACES],
            next_at,
            timers,
            blocked,
            untimed: Vec::with_capacity(UNTIMED),
            unread: 0,
            out: Outbox::default(),
            now: clock.now(),
            exact: trace.is_some(),
            trace,
            inbox,
            mailbox,
            notices,
            clock,
            ledger: Arc::new(ledger),
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

    /// The body of the lane's thread, which looks for work for `spin` before it
    /// sleeps.
    pub(crate) fn run(mut self, spin: Duration) {
        while !self.quit {
            self.turn();
            if !self.quit && self.ready.is_empty() {
                let limit = self.next_timer().map(|at| at.since(self.clock.now()));
                if limit.is_none_or(|limit| !limit.is_zero()) && !self.spin(spin, limit) {
                    self.mailbox.waker().sleep(limit);
                }
            }
        }
    }

    /// Looks whether somebody calls for up to `spin`; tells whether somebody did,
    /// or `limit` is over.
    fn spin(&self, spin: Duration, limit: Option<Duration>) -> bool {
        if spin.is_zero() {
            return false;
        }
        let begun = self.clock.now();
        loop {
            // Reading the clock costs as much as a few dozen looks.
            for _ in 0..LOOKS {
                if self.mailbox.waker().is_called() {
                    return true;
                }
                std::hint::spin_loop();
            }
            let passed = self.clock.now().since(begun);
            if limit.is_some_and(|limit| passed >= limit) {
                return true;
            }
            if passed >= spin {
                return false;
            }
        }
    }

    /// Calls whatever is due until nothing is; tells whether anything was.
    pub(crate) fn turn(&mut self) -> bool {
        self.ledger.turns.add(1);
        self.untimed.clear();
        self.unread = 0;
        self.now = self.clock.now().max(self.now);
        let mut began = self.now;
        let mut any = false;
        for _ in 0..MOST_ROUNDS {
            let mail = self.listen();
            if !self.started || self.quit {
                return mail && !self.quit;
            }
            while let Some(cell) = self.timers.expire(self.now) {
                self.make_ready(cell);
            }
            let mut progress = mail;
            let mut from = 0;
            while let Some(position) = self.ready.take(from) {
                progress |= self.visit(self.order[position]);
                from = position + 1;
            }
            self.read_clock();
            self.ledger.busy.add(duration_nanos(self.now.since(began)));
            began = self.now;
            if !progress {
                break;
            }
            any = true;
        }
        any
    }

    /// Whether it has nodes, and all of them keep the real-time rules.
    pub(crate) fn is_real_time(&self) -> bool {
        !self.order.is_empty() && self.cells.iter().flatten().all(|cell| cell.spec.real_time)
    }

    /// Whether it was told to quit.
    pub(crate) const fn has_quit(&self) -> bool {
        self.quit
    }

    /// The earliest instant that a node asked for.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first()
    }

    /// Reads what others have called for; tells whether there was mail.
    fn listen(&mut self) -> bool {
        let Self { cells, ready, first_at, next_at, mailbox, .. } = self;
        let mail = mailbox.waker().look(|place| {
            let mut at = first_at[place.index()];
            while at != NONE {
                if let Some(cell) = &cells[at] {
                    ready.set(cell.position);
                }
                at = next_at[at];
            }
        });
        mail && self.read_mail()
    }

    fn make_ready(&mut self, at: usize) {
        if let Some(cell) = &mut self.cells[at] {
            self.ready.set(cell.position);
        }
    }

    fn read_clock(&mut self) {
        let now = self.clock.now().max(self.now);
        if now.since(self.now) > SUSPECT {
            for &at in &self.untimed {
                if let Some(cell) = &mut self.cells[at] {
                    cell.pace.suspect();
                }
            }
        }
        self.untimed.clear();
        self.unread = 0;
        self.now = now;
    }

    /// Calls a cell if it is due; tells whether it did anything.
    fn visit(&mut self, at: usize) -> bool {
        let Some(mut cell) = self.cells[at].take() else { return false };
        let due = !self.is_blocked(&mut cell, at) && cell.is_due(self.now, &mut self.out);
        if due {
            self.call(&mut cell, at);
        }
        let told = cell.untold_end && cell.wiring.outlets.iter().all(|outlet| outlet.spill.is_empty());
        if told {
            cell.untold_end = false;
            self.notify(Notice::Event(Event { at: self.now, node: cell.id, kind: EventKind::Ended }));
        }
        self.cells[at] = Some(cell);
        due || told
    }

    fn call(&mut self, cell: &mut Cell, at: usize) {
        let timed = self.exact || cell.pace.is_timed();
        if timed && !self.untimed.is_empty() {
            self.read_clock();
        }
        let start = self.now;
        self.ledger.current.store(cell.id.0 + 1, Ordering::Relaxed);
        let at_once = !timed && cell.duties.is_none();
        cell.call(start, at_once, &mut self.out);
        self.ledger.current.store(0, Ordering::Relaxed);
        if timed {
            self.now = self.clock.now().max(start);
            cell.took(self.now.since(start), &mut self.out);
        } else {
            self.unread += cell.pace.skip();
            self.untimed.push(at);
            if self.unread >= UNREAD || self.untimed.len() == UNTIMED {
                self.read_clock();
            }
        }
        if let Some(trace) = &mut self.trace {
            trace.call(cell.id, start, self.now, &self.out);
        }
        if self.out.holds_frames() {
            cell.enter(start, self.now, &mut self.out);
        }
        self.hand_out(cell);
        let again = cell.is_due_again(self.now);
        if again {
            self.ready.set(cell.position);
        }
        self.timers.set(at, cell.wiring.wake_at.filter(|_| !again));
        // It may have made room for others.
        while let Some(at) = self.blocked.pop() {
            self.make_ready(at);
        }
    }

    /// Whether a link that waits has no room; notes which, for the watcher.
    fn is_blocked(&mut self, cell: &mut Cell, at: usize) -> bool {
        let mut full = None;
        let mut closed = false;
        for outlet in &mut cell.wiring.outlets {
            let waits = outlet.must_wait();
            tell(&self.cells, &mut self.ready, outlet);
            closed |= outlet.closing && outlet.spill.is_empty();
            full = full.or(waits.then_some(outlet.link));
        }
        if closed {
            self.part_outlets(cell, |outlet| outlet.closing && outlet.spill.is_empty());
        }
        if full.is_some() || cell.blocked {
            cell.wiring.ledger.note_blocked(full);
            cell.blocked = full.is_some();
            if cell.blocked && !self.blocked.contains(&at) {
                self.blocked.push(at);
            }
        }
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
                        State::Running | State::AwaitingNode => {
                            cell.controls.push_back((control, through));
                            let position = cell.position;
                            self.ready.set(position);
                        }
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
                    self.ready.set_all(self.order.len());
                    self.notify(Notice::Left(Box::new(old)));
                }
                Message::Renew { node, with } => {
                    let (old, renewal) = match self.cell_mut(node) {
                        Some(cell) => cell.renew(with),
                        None => (with, None),
                    };
                    self.ready.set_all(self.order.len());
                    if let Some(renewal) = renewal {
                        let kind = EventKind::Renewed(renewal);
                        self.notify(Notice::Event(Event { at: self.now, node, kind }));
                    }
                    self.notify(Notice::Left(Box::new(old)));
                }
                Message::GiveUp { node } => {
                    if let Some(place) = self.place_of(node)
                        && let Some(mut cell) = self.cells[place].take()
                    {
                        cell.end();
                        self.hand_out(&mut cell);
                        self.ready.set(cell.position);
                        self.timers.set(place, None);
                        self.cells[place] = Some(cell);
                    }
                }
                Message::Start => {
                    self.started = true;
                    self.ready.set_all(self.order.len());
                }
                Message::Stop => {
                    self.stopping = true;
                    self.cells.iter_mut().flatten().for_each(|cell| cell.stopping = true);
                    self.ready.set_all(self.order.len());
                }
                Message::Quit => self.quit = true,
            }
        }
        any
    }

    /// Applies a change between two calls. What it needs it brings along, and
    /// what it replaces goes back with it: nothing is allocated or freed here.
    fn apply(&mut self, mut edit: Box<Edit>) {
        if let Some(room) = &mut edit.room {
            self.move_into(room);
        }
        for mut cell in edit.add.drain(..) {
            cell.stopping |= self.stopping;
            let free = self.cells.iter().position(Option::is_none);
            let at = free.unwrap_or(self.cells.len());
            if free.is_none() {
                self.cells.push(None);
                self.next_at.push(NONE);
            }
            let first = &mut self.first_at[Place::of(cell.id).index()];
            self.next_at[at] = std::mem::replace(first, at);
            self.cells[at] = Some(cell);
            self.order.push(at);
        }
        self.timers.reserve(self.cells.len());
        self.blocked.reserve(self.cells.len());
        for (node, inlets, outlets) in &mut edit.ends {
            if let Some(cell) = self.cell_mut(*node) {
                inlets.append(&mut cell.wiring.inlets);
                outlets.append(&mut cell.wiring.outlets);
                std::mem::swap(inlets, &mut cell.wiring.inlets);
                std::mem::swap(outlets, &mut cell.wiring.outlets);
            }
        }
        for (node, mut inlet) in edit.inlets.drain(..) {
            if let Some(cell) = self.cell_mut(node) {
                // The link before it may have ended and gone by now.
                let is_there = |before: &LinkId| cell.wiring.inlets.iter().any(|inlet| inlet.link == *before);
                inlet.after = inlet.after.filter(is_there);
                cell.fed = true;
                cell.wiring.inlets.push(inlet);
            }
        }
        for (node, mut outlet) in edit.outlets.drain(..) {
            if let Taker::Cell { node: to, cell: place } = &mut outlet.taker {
                let Some(found) = self.place_of(*to) else {
                    self.hand_back(Shell::of_outlet(outlet));
                    continue;
                };
                *place = found;
            }
            match self.cell_mut(node) {
                Some(cell) if cell.state != State::Ended => {
                    cell.wiring.outlets.push(outlet);
                    // It may hold frames back until somebody is there to take them.
                    cell.waker.wake();
                }
                // Nothing will come through it any more.
                _ => {
                    outlet.send(Item::End);
                    tell(&self.cells, &mut self.ready, &mut outlet);
                    self.hand_back(Shell::of_outlet(outlet));
                }
            }
        }
        for (node, duties) in &mut edit.duties {
            if let Some(cell) = self.cell_mut(*node) {
                if let (Some(new), Some(old)) = (&mut *duties, &cell.duties) {
                    new.succeed(old);
                }
                std::mem::swap(duties, &mut cell.duties);
            }
        }
        for &node in &edit.unexpect {
            if let Some(cell) = self.cell_mut(node) {
                cell.expected = cell.expected.saturating_sub(1);
            }
        }
        for &(node, link) in &edit.unlink {
            let Some(at) = self.place_of(node) else { continue };
            let Some(cell) = self.cells[at].as_deref_mut() else { continue };
            let inlet = cell.wiring.inlets.iter_mut().find(|inlet| inlet.link == link);
            inlet.into_iter().for_each(Inlet::leave);
            cell.wiring.part(&mut self.out.parted);
        }
        for &(node, link) in &edit.end {
            let Some(place) = self.place_of(node) else { continue };
            let Some(mut cell) = self.cells[place].take() else { continue };
            let ended = cell.state == State::Ended;
            let is_open = |outlet: &&mut Outlet| outlet.link == link && !outlet.closing && !ended;
            for outlet in cell.wiring.outlets.iter_mut().filter(is_open) {
                outlet.send(Item::Cut);
                tell(&self.cells, &mut self.ready, outlet);
                outlet.closing = true;
            }
            self.cells[place] = Some(cell);
        }
        for &node in &edit.stop {
            let Some(place) = self.place_of(node) else { continue };
            let Some(mut cell) = self.cells[place].take() else { continue };
            cell.stopping = true;
            cell.leaving = true;
            // Nobody will make it anew.
            if cell.state == State::AwaitingNode {
                cell.end();
                self.hand_out(&mut cell);
            }
            self.cells[place] = Some(cell);
        }
        for tuning in &edit.tune {
            if let Some(cell) = self.cell_mut(tuning.node) {
                cell.rank = tuning.rank;
                cell.fed = tuning.fed;
                cell.expected = tuning.expected;
                cell.on_fault = tuning.on_fault;
                if cell.deadline.map(|deadline| deadline.limit) != tuning.deadline {
                    cell.deadline = tuning.deadline.map(Deadline::new);
                }
            }
        }
        for &node in &edit.remove {
            let Some(place) = self.place_of(node) else { continue };
            self.order.retain(|&other| other != place);
            for at in 0..self.cells.len() {
                let Some(mut cell) = self.cells[at].take() else { continue };
                let leads_there =
                    |outlet: &Outlet| matches!(outlet.taker, Taker::Cell { cell, .. } if cell == place);
                self.part_outlets(&mut cell, leads_there);
                self.cells[at] = Some(cell);
            }
            if let Some(mut cell) = self.cells[place].take() {
                // One that is cut off: what it feeds is to hear of its end.
                if cell.state != State::Ended {
                    cell.end();
                    self.hand_out(&mut cell);
                    cell.wiring.outlets.iter_mut().for_each(|outlet| {
                        outlet.must_wait();
                        tell(&self.cells, &mut self.ready, outlet);
                    });
                }
                self.forget_place(cell.id, place);
                self.timers.set(place, None);
                self.blocked.retain(|&other| other != place);
                self.untimed.retain(|&other| other != place);
                self.notify(Notice::Gone(cell));
            }
        }
        let cells = &self.cells;
        self.order.sort_unstable_by_key(|&place| cells[place].as_ref().map(|cell| (cell.rank, cell.id)));
        for (position, &at) in self.order.iter().enumerate() {
            self.cells[at].iter_mut().for_each(|cell| cell.position = position);
        }
        // Whom the change gives something to do, each finds out for itself.
        self.ready.set_all(self.order.len());
        self.hand_back_parted();
        self.notify(Notice::Applied(edit));
    }

    /// Goes on with lists that have room for more cells, and leaves its own.
    fn move_into(&mut self, room: &mut Room) {
        room.cells.append(&mut self.cells);
        room.order.append(&mut self.order);
        room.next_at.append(&mut self.next_at);
        room.blocked.append(&mut self.blocked);
        room.timers.take_over(&mut self.timers);
        std::mem::swap(&mut room.cells, &mut self.cells);
        std::mem::swap(&mut room.order, &mut self.order);
        std::mem::swap(&mut room.next_at, &mut self.next_at);
        std::mem::swap(&mut room.blocked, &mut self.blocked);
        std::mem::swap(&mut room.timers, &mut self.timers);
        std::mem::swap(&mut room.ready, &mut self.ready);
    }

    /// Parts with the sending ends of a cell that `goes` names.
    fn part_outlets(&mut self, cell: &mut Cell, goes: impl Fn(&Outlet) -> bool) {
        while let Some(at) = cell.wiring.outlets.iter().position(&goes) {
            let outlet = cell.wiring.outlets.remove(at);
            self.hand_back(Shell::of_outlet(outlet));
        }
    }

    fn hand_back(&self, shell: Option<Box<Shell>>) {
        if let Some(shell) = shell {
            self.notify(Notice::Parted(shell));
        }
    }

    fn hand_back_parted(&mut self) {
        while let Some(shell) = self.out.parted.pop() {
            self.notify(Notice::Parted(shell));
        }
    }

    /// Takes a cell out of the chain of those that have its place.
    fn forget_place(&mut self, node: NodeId, at: usize) {
        let next = self.next_at[at];
        let mut before = self.first_at[Place::of(node).index()];
        if before == at {
            self.first_at[Place::of(node).index()] = next;
            return;
        }
        while before != NONE && self.next_at[before] != at {
            before = self.next_at[before];
        }
        if before != NONE {
            self.next_at[before] = next;
        }
    }

    fn place_of(&self, node: NodeId) -> Option<usize> {
        let mut at = self.first_at[Place::of(node).index()];
        while at != NONE {
            if self.cells[at].as_ref().is_some_and(|cell| cell.id == node) {
                return Some(at);
            }
            at = self.next_at[at];
        }
        None
    }

    fn cell_mut(&mut self, node: NodeId) -> Option<&mut Cell> {
        self.place_of(node).and_then(|at| self.cells[at].as_deref_mut())
    }

    /// Hands out what a call left behind: frames to links, messages upstream,
    /// events to the supervisor.
    #[inline]
    fn hand_out(&mut self, cell: &mut Cell) {
        if cell.wiring.ended || !self.out.is_empty() {
            self.empty_out(cell);
        }
        for outlet in &mut cell.wiring.outlets {
            tell(&self.cells, &mut self.ready, outlet);
            // A last call may have put out more than there is room for: what spilled is
            // seen to whether or not the node is called again.
            if !outlet.spill.is_empty() {
                self.ready.set(cell.position);
            }
        }
    }

    #[inline(never)]
    fn empty_out(&mut self, cell: &mut Cell) {
        let out = &mut self.out;
        out.staged.drain(..).for_each(|Staged { port, key, item }| cell.wiring.put(port, key, item));
        if cell.wiring.ended {
            cell.wiring.ended = false;
            for outlet in &mut cell.wiring.outlets {
                outlet.send(if cell.leaving { Item::Cut } else { Item::End });
            }
        }
        for (link, control) in out.upstream.drain(..) {
            let inlets = &cell.wiring.inlets;
            let own = inlets.iter().position(|inlet| inlet.link == link);
            if let Some(at) = own.or_else(|| inlets.iter().position(|inlet| inlet.stream == link)) {
                pass_upstream(&inlets[at..=at], &control);
            }
        }
        if !out.events.is_empty() {
            let mut events = std::mem::take(&mut out.events);
            for kind in events.drain(..) {
                self.notify(Notice::Event(Event { at: self.now, node: cell.id, kind }));
            }
            self.out.events = events;
        }
        self.hand_back_parted();
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

/// Tells whoever takes from a link of what was put in.
#[inline]
fn tell(cells: &[Option<Box<Cell>>], ready: &mut Ready, outlet: &mut Outlet) {
    outlet.tell(|cell| {
        if let Some(cell) = &cells[cell] {
            ready.set(cell.position);
        }
    });
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_spins_notices_calls_and_timers_and_gives_up_in_the_end() {
        let (notices, _) = crossbeam_channel::unbounded();
        let lane = Lane::new(Clock::real(), notices, None);
        let (short, long) = (Duration::from_micros(1), Duration::from_secs(3_600));
        assert!(!lane.spin(Duration::ZERO, None) && !lane.spin(short, None), "nobody called: it sleeps");
        assert!(lane.spin(long, Some(short)), "a timer is due");
        lane.mailbox().waker().wake_for_mail();
        assert!(lane.spin(long, None), "somebody called");
        assert_eq!(lane.mailbox().waker().wakes(), 0, "which cost no system call");
    }
}
