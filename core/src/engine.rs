//! `Engine`: runs a schedule.
//!
//! The thread that calls [`Engine::run`] supervises: it makes and removes the
//! parts of templates, watches for stalls, and tells the caller what happens.
//! Under the real clock each lane is a thread of its own; under a virtual clock
//! the supervisor drives all lanes in turn, in a fixed order, and moves time on
//! when none has anything left to do, so that two runs take the same steps.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::clock::Clock;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::edit::Change;
use crate::event::EventKind;
use crate::graph::Graph;
use crate::lane::{Lane, Message, Notice};
use crate::media_type::Medium;
use crate::own::Own;
use crate::param::Value;
use crate::report::{EndToEnd, Report};
use crate::schedule::{self, Schedule};
use crate::supervisor::{LaneDriver, Supervisor};
use crate::timestamp::Timestamp;
use crate::trace::Tracer;
use crate::transaction::Transaction;
use crate::watch::Watch;

/// Notices that may at least be under way from lanes to the supervisor; where
/// there are more nodes than half as many, twice as many as these.
const NOTICES: usize = 4_096;
/// Rounds through all lanes at one instant of virtual time, at most.
const MOST_ROUNDS: usize = 10_000;
/// How often the caller hears of progress, and stalls are looked for.
const TICK: Duration = Duration::from_millis(250);
/// How often an edit that waits for an effect to fade looks whether it has.
const FADE_LOOK: Duration = Duration::from_millis(2);
/// How long lanes may take to end after the graph has drained.
const JOIN: Duration = Duration::from_secs(2);

thread_local! {
    static ON_LANE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs the turn of a lane just now whose nodes all keep the
/// real-time rules. In virtual time, of which alone it tells, one thread runs
/// all lanes and everything else. For allocators that count. \[any\]
#[must_use]
pub fn on_real_time_lane() -> bool {
    ON_LANE.try_with(Cell::get).unwrap_or(false)
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Real or virtual.
    pub clock: Clock,
    /// The seed of every random choice.
    pub seed: u64,
    /// Stop (sources end, what is under way drains) after this long.
    pub limit: Option<Duration>,
    /// How long draining may take before what remains is cut off.
    pub drain: Duration,
    /// Tell of every call, as from [`crate::trace()`]. Lanes then read the clock
    /// after each.
    pub trace: Option<Tracer>,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Clock::real(), seed: 1, limit: None, drain: Duration::from_secs(5), trace: None }
    }
}

/// What the caller of `run` is told.
#[derive(Debug)]
pub enum Update<'a> {
    /// A node had something to say, or the system would not run a lane as asked.
    Event {
        /// Seconds since the start.
        at: f64,
        /// Which node, or "lane NAME".
        node: &'a str,
        /// What.
        kind: &'a EventKind,
    },
    /// An edit was made, or refused.
    Edited {
        /// Seconds since the start.
        at: f64,
        /// What it changed, or why it was refused; nothing has changed then.
        outcome: &'a Result<Change, Diagnostics>,
    },
    /// A quarter of a second has passed.
    Progress(&'a Progress),
}

/// How far a run has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Time since the start.
    pub elapsed: Duration,
    /// Frames rendered: sound, pictures.
    pub rendered: [u64; 2],
    /// Frames let go anywhere.
    pub dropped: u64,
    /// Capture to render so far.
    pub end_to_end_ms: EndToEnd,
    /// Members of templates present.
    pub members: usize,
}

/// Stops a run or changes it, from another thread. \[control\]
#[derive(Clone)]
pub struct Handle {
    stop: Arc<AtomicBool>,
    sayings: Sender<Saying>,
    asks: Sender<Notice>,
    requests: Sender<Request>,
}

/// What is said to a node.
pub(crate) struct Saying {
    /// Its name in the graph.
    pub(crate) node: String,
    pub(crate) what: What,
}

pub(crate) enum What {
    Set { param: String, value: Value },
    Own(Own),
}

/// What somebody asked for.
enum Request {
    Edit { transaction: Transaction, answer: Sender<Result<Change, Diagnostics>> },
    Renew { kinds: Vec<String> },
}

/// What becomes of an edit. \[control\]
pub struct Pending(Receiver<Result<Change, Diagnostics>>);

impl Pending {
    /// Waits for the edit to be refused, or to be made. Not on the thread that
    /// runs the engine, which would wait for itself. \[control\]
    ///
    /// # Errors
    /// What kept the edit from being made; nothing has changed then.
    pub fn wait(self) -> Result<Change, Diagnostics> {
        self.0.recv().unwrap_or_else(|_| {
            let over = Diagnostic::error("the run is over: nothing can be changed any more");
            Err(Diagnostics::new(vec![over], Arc::default()))
        })
    }

    /// What became of it, if that is known by now; told once. \[any\]
    #[must_use]
    pub fn outcome(&self) -> Option<Result<Change, Diagnostics>> {
        self.0.try_recv().ok()
    }
}

impl Handle {
    /// Ends the sources; `run` returns when what is under way has drained. \[any\]
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Gives a live parameter of a node a new value. A name or value that does
    /// not fit is told as a `Notice` of the run. \[control\]
    pub fn set(&self, node: &str, param: &str, value: Value) {
        self.say(node, What::Set { param: param.to_owned(), value });
    }

    /// Tells a node something in words of its kind's own: its crate says which there
    /// are. A name that does not fit is told as a `Notice` of the run. \[control\]
    pub fn tell(&self, node: &str, words: Own) {
        self.say(node, What::Own(words));
    }

    fn say(&self, node: &str, what: What) {
        // The run may be over, in which case there is nobody to tell.
        let _ = self.sayings.send(Saying { node: node.to_owned(), what });
    }

    /// For reading the ledger while the engine runs. \[any\]
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::new(self.asks.clone())
    }

    /// Changes the running graph in one step between two frames: by a
    /// [`Transaction`], or to another checked [`Graph`], such as [`Graph::load`]
    /// makes of an edited file. What comes of a transaction is checked as graph
    /// files are.
    ///
    /// Nodes of the same name and kind (the very [`NodeSpec`](crate::NodeSpec), not
    /// another of its name) that differ in live parameters alone go on,
    /// with these set; links between them that read the same lose nothing. What is
    /// new is made first, off the lanes; if any of it cannot be made, nothing
    /// changes. What goes drains. What becomes of the edit, `run` tells its
    /// observer as well. \[control\]
    pub fn edit(&self, transaction: impl Into<Transaction>) -> Pending {
        let (answer, outcome) = crossbeam_channel::bounded(1);
        // If the run is over, dropping the request tells whoever waits.
        let _ = self.requests.send(Request::Edit { transaction: transaction.into(), answer });
        Pending(outcome)
    }

    /// Makes every node of these kinds anew while it runs, such as when what their
    /// `build` loads has changed: with its present parameters, links and what waits
    /// in them, and the state that it gives ([`Node::save_state`]). The new one is
    /// made off the lanes and takes its place between two calls, so that no frame is
    /// lost; where none can be made, the one before goes on. One that has failed and
    /// was passed by runs again. For each node an [`EventKind::Renewed`] tells what
    /// came of it. For kinds whose ports or parameters have changed, see
    /// [`Handle::edit`]. \[control\]
    ///
    /// [`Node::save_state`]: crate::Node::save_state
    pub fn renew(&self, kinds: &[&str]) {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        // The run may be over, in which case there is nothing to renew.
        let _ = self.requests.send(Request::Renew { kinds });
    }
}

/// A graph ready to run: its nodes are made, its files open.
pub struct Engine {
    supervisor: Supervisor,
    lanes: LaneDriver,
    notices: Receiver<Notice>,
    sayings: Receiver<Saying>,
    requests: Receiver<Request>,
    handle: Handle,
    options: Options,
}

impl Engine {
    /// Makes the nodes of a checked graph. \[control\]
    ///
    /// # Errors
    /// Nodes that could not be made (a file that cannot be opened), and links
    /// whose ends no longer agree now that files are open; each with its place
    /// in the graph file.
    pub fn new(graph: Graph, options: Options) -> Result<Self, Diagnostics> {
        let (sender, notices) = crossbeam_channel::bounded(NOTICES.max(2 * graph.nodes.len()));
        let (say, sayings) = crossbeam_channel::unbounded();
        let (request, requests) = crossbeam_channel::unbounded();
        let mut lanes = if options.clock.is_virtual() {
            LaneDriver::InTurn(Vec::new())
        } else {
            LaneDriver::Threads(Vec::new())
        };
        let schedule = Schedule::compile(&graph, schedule::cores(&options.clock));
        let asks = sender.clone();
        let supervisor = Supervisor::new(graph, schedule, &options, sender, &mut lanes)?;
        let handle = Handle { stop: Arc::default(), sayings: say, requests: request, asks };
        Ok(Self { supervisor, lanes, notices, sayings, requests, handle, options })
    }

    /// For stopping and changing the run from elsewhere. \[any\]
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until every node has ended, the time limit is reached or `stop` is
    /// called, and what was under way has drained. Tells `observe` of every
    /// event and, under the real clock, of progress. \[control\]
    pub fn run(mut self, mut observe: impl FnMut(Update<'_>)) -> Report {
        self.supervisor.start(self.options.clock.now(), &mut observe);
        if self.options.clock.is_virtual() {
            self.run_in_turn(&mut observe);
        } else {
            self.run_threads(&mut observe);
        }
        self.supervisor.report()
    }

    fn stop_at(&self) -> Option<Timestamp> {
        self.options.limit.map(|limit| self.supervisor.started() + limit)
    }

    fn run_in_turn(&mut self, observe: &mut dyn FnMut(Update<'_>)) {
        let stop_at = self.stop_at();
        loop {
            self.settle(observe);
            let now = self.options.clock.now();
            let asked = self.handle.stop.load(Ordering::Acquire);
            if !self.supervisor.is_stopping() && (asked || stop_at.is_some_and(|at| at <= now)) {
                self.supervisor.stop(now);
                continue;
            }
            if self.supervisor.is_done() || self.supervisor.is_overdue(now, self.options.drain) {
                break;
            }
            let LaneDriver::InTurn(lanes) = &self.lanes else { break };
            let timers = lanes.iter().filter_map(Lane::next_timer).chain(self.supervisor.next_timer());
            let next = timers.chain(stop_at.filter(|_| !self.supervisor.is_stopping())).min();
            match next.or_else(|| self.supervisor.drain_end(self.options.drain)) {
                Some(at) => {
                    let look = self.supervisor.next_look().unwrap_or(at);
                    self.options.clock.advance_to(at.min(look));
                    self.supervisor.look_at_budgets(self.options.clock.now(), observe);
                }
                // Nothing will ever happen again: end what can end.
                None => self.supervisor.stop(now),
            }
        }
    }

    /// Drives all lanes until none has anything to do at the present time.
    fn settle(&mut self, observe: &mut dyn FnMut(Update<'_>)) {
        for _ in 0..MOST_ROUNDS {
            let LaneDriver::InTurn(lanes) = &mut self.lanes else { return };
            let mut any = false;
            for lane in lanes.iter_mut() {
                ON_LANE.set(lane.is_real_time());
                any |= lane.turn();
                ON_LANE.set(false);
            }
            lanes.retain(|lane| !lane.has_quit());
            any |= self.attend(observe);
            if !any {
                return;
            }
        }
        // Some node is always due: time would stand still for ever.
        self.supervisor.give_up(self.options.clock.now(), observe);
    }

    /// Deals with all that lanes and the caller have said; tells whether there
    /// was anything.
    fn attend(&mut self, observe: &mut dyn FnMut(Update<'_>)) -> bool {
        let mut any = false;
        while let Ok(saying) = self.sayings.try_recv() {
            any = true;
            self.supervisor.say(saying, observe);
        }
        while let Ok(notice) = self.notices.try_recv() {
            any = true;
            self.supervisor.heed(notice, &mut self.lanes, observe);
        }
        while !self.supervisor.is_fading()
            && let Ok(request) = self.requests.try_recv()
        {
            any = true;
            let (transaction, answer) = match request {
                Request::Edit { transaction, answer } => (transaction, answer),
                Request::Renew { kinds } => {
                    self.supervisor.renew(&kinds, observe);
                    continue;
                }
            };
            let outcome = self.supervisor.edit(transaction, &mut self.lanes);
            observe(Update::Edited {
                at: self.supervisor.seconds(self.options.clock.now()),
                outcome: &outcome,
            });
            // Nobody need wait for it.
            let _ = answer.send(outcome);
        }
        any | self.supervisor.tend(self.options.clock.now(), &mut self.lanes, observe)
    }

    /// Waits for something to attend to, or for the first of these instants.
    fn wait(&self, now: Timestamp, until: [Option<Timestamp>; 2]) {
        let fading = self.supervisor.is_fading();
        // How far a fade has come is looked at, not told.
        let look = fading.then(|| now + FADE_LOOK);
        let instants = until.into_iter().chain([self.supervisor.next_timer(), look]).flatten();
        let limit = instants.min().map_or(TICK, |at| at.since(now).min(TICK));
        let mut select = crossbeam_channel::Select::new();
        select.recv(&self.notices);
        select.recv(&self.sayings);
        if !fading {
            select.recv(&self.requests);
        }
        // Whatever is ready, `attend` finds.
        let _ = select.ready_timeout(limit);
    }

    fn run_threads(&mut self, observe: &mut dyn FnMut(Update<'_>)) {
        let stop_at = self.stop_at();
        let mut tick = self.options.clock.now() + TICK;
        loop {
            let now = self.options.clock.now();
            let asked = self.handle.stop.load(Ordering::Acquire);
            if !self.supervisor.is_stopping() && (asked || stop_at.is_some_and(|at| at <= now)) {
                self.supervisor.stop(now);
            }
            if self.supervisor.is_done() || self.supervisor.is_overdue(now, self.options.drain) {
                break;
            }
            if now >= tick {
                tick = now + TICK;
                self.supervisor.watch(now, observe);
                self.supervisor.look_at_budgets(now, observe);
                observe(Update::Progress(&self.supervisor.progress(now)));
            }
            self.attend(observe);
            self.wait(now, [stop_at.filter(|_| !self.supervisor.is_stopping()), Some(tick)]);
        }
        self.supervisor.post_all(|| Message::Quit);
        self.lanes.join(&self.options.clock, JOIN);
        // What the lanes said last, such as a node's end, still counts.
        self.supervisor.close();
        self.attend(observe);
    }
}

impl Progress {
    /// Frames rendered of one medium. \[any\]
    #[must_use]
    pub const fn of(&self, medium: Medium) -> u64 {
        self.rendered[medium as usize]
    }
}
