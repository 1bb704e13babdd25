//! `Cell`: a node with its ends of links, as a lane runs it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::context::{Context, Outbox, Wiring};
use crate::control::{Control, Through};
use crate::deadline::Deadline;
use crate::duties::Duties;
use crate::event::{EventKind, Renewal};
use crate::fault::{Fault, FaultKind};
use crate::frame::{Frame, Header};
use crate::ledger::{DropReason, NodeId};
use crate::link::Item;
use crate::media_type::MediaType;
use crate::node::{Finish, Node};
use crate::registry::NodeSpec;
use crate::timestamp::{Timestamp, duration_nanos};
use crate::waker::NodeWaker;

/// What the graph wants done when a node fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFault {
    /// The node ends; the rest of the graph goes on.
    #[default]
    Stop,
    /// What comes in through the first input goes out unchanged.
    Bypass,
    /// For each frame that comes in through the first input a black picture, or
    /// silence, goes out: for effects without which nothing may be seen or heard.
    Black,
    /// The node is made anew, at most once a second.
    Restart,
}

impl OnFault {
    /// The words of the graph file.
    pub const WORDS: [(&'static str, Self); 4] =
        [("stop", Self::Stop), ("bypass", Self::Bypass), ("black", Self::Black), ("restart", Self::Restart)];

    /// Why nodes with the ports of `spec` cannot do this when they fail, as a
    /// phrase after the kind. \[any\]
    pub(crate) fn refused(self, spec: &NodeSpec) -> Option<&'static str> {
        let gives = spec.outputs.first().map(|port| port.media);
        let is_raw = matches!(gives, Some(MediaType::Audio { .. } | MediaType::Video { .. }));
        match self {
            Self::Bypass if !spec.passes() => Some("cannot be bypassed: what comes in is not what goes out"),
            Self::Black if !(is_raw && spec.passes()) => Some(
                "cannot go on black or silent: it does not make raw pictures of pictures, or sound of sound",
            ),
            _ => None,
        }
    }
}

/// Where a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its node is called.
    Running,
    /// Its node failed and is passed by, or its frames are blanked.
    Bypassed,
    /// Its node failed and a new one is on its way.
    AwaitingNode,
    /// Nothing more comes from it; what still arrives is let go.
    Ended,
}

/// A node with its ends of links.
pub(crate) struct Cell {
    pub(crate) id: NodeId,
    pub(crate) spec: &'static NodeSpec,
    pub(crate) node: Box<dyn Node>,
    pub(crate) wiring: Wiring,
    pub(crate) waker: NodeWaker,
    pub(crate) on_fault: OnFault,
    pub(crate) state: State,
    /// Messages for the node, with the output that each came up through.
    pub(crate) controls: VecDeque<(Control, Option<Through>)>,
    /// Links that templates may yet add to its inputs.
    pub(crate) expected: usize,
    /// Its place among the nodes of its lane: upstream before downstream.
    pub(crate) rank: u64,
    /// What it does for budgets, if anything.
    pub(crate) duties: Option<Box<Duties>>,
    /// Whether the graph was told to stop.
    pub(crate) stopping: bool,
    /// Whether an edit takes it away: what it feeds may go on otherwise.
    pub(crate) leaving: bool,
    /// Whether anything ever fed it, or may.
    pub(crate) fed: bool,
    started: bool,
    /// Whether `process` or `finish` is due, and not just a message.
    due: bool,
    /// Whether `finish` was called.
    finishing: bool,
    /// Whether its end is yet to be told: that waits until all it put out is in
    /// its links.
    pub(crate) untold_end: bool,
    /// What waited when the last call took nothing; calling again without news
    /// would spin.
    stalled: usize,
    /// What waits, as last looked at.
    left: usize,
    pub(crate) pace: Pace,
    /// Where it stands among the nodes of its lane, and whether a link that has no
    /// room keeps it from being called; the lane's to use.
    pub(crate) position: usize,
    pub(crate) blocked: bool,
    /// How long its calls may take, if they run somebody else's code.
    pub(crate) deadline: Option<Deadline>,
}

/// How long a node's calls take: whether reading the clock before and after each
/// would cost more than it tells.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Whether each call is to be timed: where calls may take long, and where
    /// frames come to their end, whose instant is worth a reading.
    always: bool,
    /// Mean nanoseconds a call, of those that were timed, the latest weighing most.
    mean: u64,
    /// Calls to time whatever the mean says.
    watched: u32,
    /// Calls yet to come before one is timed.
    rest: u64,
    /// Calls since the last one that was timed.
    untimed: u64,
}

/// Nodes whose calls take less than so many nanoseconds have one call in so many
/// timed, the quickest first.
const QUICK: [(u64, u64); 2] = [(250, 128), (2_000, 16)];
/// A node suspected of taking long has so many calls timed.
const WATCHED: u32 = 2_048;

impl Pace {
    /// Of a node whose calls may take any time; with `always` they are all timed.
    const fn new(always: bool) -> Self {
        Self { always, mean: 16_000, watched: 0, rest: 0, untimed: 0 }
    }

    /// Whether the next call is to be timed.
    pub(crate) const fn is_timed(self) -> bool {
        self.rest == 0
    }

    /// Counts a call that was not timed; gives the nanoseconds that it is
    /// expected to have taken.
    pub(crate) const fn skip(&mut self) -> u64 {
        self.rest -= 1;
        self.untimed += 1;
        self.mean
    }

    /// Counts a call that took `nanos`; gives what stands for it and the calls
    /// before it that were not timed.
    pub(crate) fn timed(&mut self, nanos: u64) -> u64 {
        self.mean = (self.mean * 7 + nanos) / 8;
        let one_in = QUICK.iter().find(|(below, _)| self.mean < *below).map_or(1, |(_, calls)| *calls);
        self.rest = if self.always || self.watched > 0 { 0 } else { one_in - 1 };
        self.watched = self.watched.saturating_sub(1);
        let calls = self.untimed + 1;
        self.untimed = 0;
        nanos.saturating_mul(calls)
    }

    /// Has the next calls timed: one of a few nodes took long and nobody knows
    /// which.
    pub(crate) const fn suspect(&mut self) {
        self.watched = WATCHED;
        self.rest = 0;
    }
}

impl Cell {
    pub(crate) fn new(
        id: NodeId,
        spec: &'static NodeSpec,
        node: Box<dyn Node>,
        wiring: Wiring,
        waker: NodeWaker,
        on_fault: OnFault,
    ) -> Self {
        Self {
            id,
            spec,
            node,
            wiring,
            waker,
            on_fault,
            state: State::Running,
            controls: VecDeque::with_capacity(4),
            expected: 0,
            rank: 0,
            duties: None,
            stopping: false,
            leaving: false,
            fed: false,
            started: false,
            due: false,
            finishing: false,
            untold_end: false,
            stalled: 0,
            left: 0,
            pace: Pace::new(!spec.real_time || spec.outputs.is_empty()),
            position: 0,
            blocked: false,
            deadline: None,
        }
    }

    /// A new node in place of one that failed; gives the old one back, to be
    /// dropped off the lane.
    pub(crate) fn replace(&mut self, node: Box<dyn Node>) -> Box<dyn Node> {
        self.state = State::Running;
        self.started = false;
        self.finishing = false;
        self.wiring.wake_at = None;
        self.deadline = self.deadline.map(|deadline| Deadline::new(deadline.limit));
        std::mem::replace(&mut self.node, node)
    }

    /// A new node in place of one that runs or has failed, between two calls: it goes
    /// on with the state of one that runs, with its links, and with what waits in
    /// them. Gives back the node that is not wanted, to be dropped off the lane, and
    /// what came of it; nothing comes of one that has ended.
    pub(crate) fn renew(&mut self, mut with: Box<dyn Node>) -> (Box<dyn Node>, Option<Renewal>) {
        let renewal = match self.state {
            State::Ended => return (with, None),
            State::Running => hand_over(&mut *self.node, &mut *with),
            _ => Renewal::Fresh,
        };
        // What the old one waited for, the new one may, too.
        let wake_at = self.wiring.wake_at;
        let old = self.replace(with);
        self.wiring.wake_at = wake_at;
        (old, Some(renewal))
    }

    /// Whether the node should be called at `now`: at once then.
    #[inline]
    pub(crate) fn is_due(&mut self, now: Timestamp, out: &mut Outbox) -> bool {
        self.left = self.look(out);
        match self.state {
            State::AwaitingNode => return false,
            State::Ended => return self.left > 0,
            State::Bypassed => return self.left > 0 || self.is_over(),
            State::Running => {}
        }
        let called = self.waker.take_call();
        self.due = called || !self.started || self.has_news(now);
        self.due || !self.controls.is_empty()
    }

    /// Whether it should be called once more, as things stand after a call.
    #[inline]
    pub(crate) fn is_due_again(&self, now: Timestamp) -> bool {
        match self.state {
            State::AwaitingNode => false,
            State::Ended => self.left > 0,
            State::Bypassed => self.left > 0 || self.is_over(),
            State::Running => self.has_news(now) || !self.controls.is_empty(),
        }
    }

    /// Whether `process` or `finish` is due.
    #[inline]
    fn has_news(&self, now: Timestamp) -> bool {
        (self.left > 0 && self.left != self.stalled)
            || self.wiring.wake_at.is_some_and(|at| at <= now)
            || self.may_finish()
    }

    /// Whether `finish` is due: at once for a source that is told to stop, else
    /// when the node does not wait for its timer.
    #[inline]
    fn may_finish(&self) -> bool {
        let is_source = self.wiring.inlets.is_empty();
        self.is_over() && (self.wiring.wake_at.is_none() || (is_source && !self.finishing))
    }

    /// Whether every input is over and nothing more can come. What a loop brings
    /// back does not count: it ends when this node has.
    #[inline]
    fn is_over(&self) -> bool {
        // A node with a group of outputs (a room) stays for its members' sake
        // until it is told to stop, even when it has nothing more to send.
        let is_hub = || self.spec.outputs.iter().any(|port| port.each.is_some());
        self.wiring.inlets.iter().all(|inlet| inlet.ended || inlet.is_loop)
            && self.expected == 0
            && (self.stopping || (self.fed && !is_hub()))
    }

    /// Calls the node once: its messages first, then its frames or its end.
    /// `start` is the time now. With `at_once` frames leave at that very instant;
    /// else what it leaves in `out` is to be entered in the ledger with
    /// [`Cell::enter`], and then to be handed out.
    #[inline]
    pub(crate) fn call(&mut self, start: Timestamp, at_once: bool, out: &mut Outbox) {
        if let Some(duties) = self.duties.as_mut().filter(|_| self.state == State::Running) {
            duties.prune(start, &mut self.wiring, out);
            self.look(out);
        }
        self.wiring.taken = 0;
        match self.state {
            State::Running => {
                let due = self.due;
                self.wiring.ledger.calls.add(1);
                if let Err(fault) = self.call_node(start, at_once, out) {
                    self.fail(fault, self.on_fault, out);
                }
                self.left = self.look_again(out);
                if due {
                    self.stalled = if self.wiring.taken == 0 { self.left } else { 0 };
                }
            }
            State::Bypassed => self.pass_by(start, out),
            State::Ended => self.let_go(out),
            State::AwaitingNode => {}
        }
    }

    fn call_node(&mut self, start: Timestamp, at_once: bool, out: &mut Outbox) -> Result<(), Fault> {
        let due = std::mem::take(&mut self.due);
        self.started |= due;
        if due && self.wiring.wake_at.is_some_and(|at| at <= start) {
            self.wiring.wake_at = None;
        }
        let over = self.is_over();
        self.finishing |= over && due;
        let Self { node, wiring, controls, .. } = self;
        let mut cx = Context { now: start, wiring, out, at_once };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while let Some((control, from)) = controls.pop_front() {
                node.control(&control, from, &mut cx)?;
            }
            if !due {
                return Ok(None);
            }
            if !over {
                node.process(&mut cx)?;
                return Ok(None);
            }
            node.finish(&mut cx).map(Some)
        }));
        let finish = outcome.unwrap_or_else(|_| {
            Err(Fault::new(FaultKind::Panic, "the node panicked; this is a defect in it"))
        })?;
        // `Later` without an instant to wait for would never come.
        let done = finish == Some(Finish::Done) || (finish.is_some() && self.wiring.wake_at.is_none());
        if done || self.wiring.ended {
            self.end();
        }
        Ok(())
    }

    /// Nothing more comes from this cell.
    pub(crate) fn end(&mut self) {
        self.state = State::Ended;
        self.wiring.ended = true;
        self.wiring.wake_at = None;
        self.untold_end = true;
    }

    /// Notes how long the last call took. Somebody else's code that is late again
    /// and again has failed; `out` then says so.
    #[inline]
    pub(crate) fn took(&mut self, took: Duration, out: &mut Outbox) {
        let stands_for = self.pace.timed(duration_nanos(took));
        self.wiring.ledger.busy.add(stands_for);
        if self.deadline.is_some() && self.state == State::Running {
            self.judge(took, out);
        }
    }

    fn judge(&mut self, took: Duration, out: &mut Outbox) {
        let Some(deadline) = &mut self.deadline else { return };
        let is_late = deadline.is_late(took);
        let too_often = deadline.note(is_late);
        if is_late {
            self.wiring.ledger.late_calls.add(1);
            self.pace.suspect();
        }
        if too_often {
            let why = "5 of its last 50 calls came back after their deadline";
            let fault = Fault::new(FaultKind::Late, why).deadline(deadline.limit);
            // Made anew it would be as late.
            let policy = match self.on_fault {
                OnFault::Black => OnFault::Black,
                _ if self.spec.passes() => OnFault::Bypass,
                _ => OnFault::Stop,
            };
            self.fail(fault, policy, out);
        }
    }

    fn fail(&mut self, fault: Fault, policy: OnFault, out: &mut Outbox) {
        self.wiring.wake_at = None;
        self.wiring.ended = false;
        let action = match policy {
            // A node that fails in its last call has nothing to be made anew for.
            OnFault::Restart if !self.is_over() => {
                self.state = State::AwaitingNode;
                "the node is made anew"
            }
            OnFault::Bypass => {
                self.state = State::Bypassed;
                "the node is bypassed"
            }
            OnFault::Black => {
                self.state = State::Bypassed;
                "the node's frames go out black or silent"
            }
            OnFault::Stop | OnFault::Restart => {
                self.end();
                "the node stops"
            }
        };
        out.events.push(EventKind::Fault { fault, action });
    }

    /// Looks at the inputs after a call: tells senders of the room there is, and
    /// gives how much waits of what the call was offered. What came meanwhile, from
    /// other lanes, calls the node anew.
    #[inline]
    fn look_again(&mut self, out: &mut Outbox) -> usize {
        let mut waiting = 0;
        let mut gone = false;
        for inlet in &mut self.wiring.inlets {
            inlet.tell_room();
            waiting += inlet.offered;
            gone |= inlet.is_gone();
        }
        if gone {
            return self.part_and_look(out);
        }
        waiting
    }

    /// Looks at the inputs before a call: takes the ends that stand at the head of
    /// links, and offers the call what waits. Gives how much that is, ends included.
    #[inline]
    fn look(&mut self, out: &mut Outbox) -> usize {
        let (mut waiting, mut ends) = (0, 0);
        let mut gone = false;
        for inlet in &mut self.wiring.inlets {
            inlet.offered = inlet.offer();
            if inlet.offered > 0 && matches!(inlet.peek(), Some(Item::End | Item::Cut)) {
                inlet.take_end();
                ends += 1;
            }
            waiting += inlet.offered;
            gone |= inlet.is_gone();
        }
        if gone {
            waiting = self.part_and_look(out);
        }
        waiting + ends
    }

    #[cold]
    fn part_and_look(&mut self, out: &mut Outbox) -> usize {
        self.wiring.part(&mut out.parted);
        // That may have opened others.
        self.look(out)
    }

    /// The next frame that waits, and the input that it came through.
    fn take_next(&mut self, start: Timestamp, out: &mut Outbox) -> Option<(usize, Frame)> {
        let mut cx = Context { now: start, wiring: &mut self.wiring, out, at_once: false };
        (0..self.spec.inputs.len()).find_map(|port| Some((port, cx.pop(port)?)))
    }

    /// Hands frames on from the first input to the first output, or others of
    /// their format that show and sound nothing.
    fn pass_by(&mut self, start: Timestamp, out: &mut Outbox) {
        while let Some((port, frame)) = self.take_next(start, out) {
            if port > 0 {
                // What went with the frames of the first input: no use without the node.
                self.wiring.ledger.dropped[DropReason::Stopped as usize].add(1);
                continue;
            }
            let frame = if self.on_fault == OnFault::Black { self.blank(frame) } else { frame };
            Context { now: start, wiring: &mut self.wiring, out, at_once: false }.push(0, frame);
        }
        self.look_again(out);
        self.left = self.look(out);
        if self.is_over() {
            self.end();
        }
    }

    /// A black picture or silence in place of `frame`, in a buffer of the first
    /// output's pool.
    fn blank(&mut self, frame: Frame) -> Frame {
        let format = *frame.format();
        let mut blank = self.wiring.pools[0].frame(frame.into_header(), format, 0);
        blank.blank();
        blank
    }

    /// Lets frames go that come after the end.
    fn let_go(&mut self, out: &mut Outbox) {
        while self.take_next(Timestamp::ZERO, out).is_some() {
            self.wiring.ledger.dropped[DropReason::Stopped as usize].add(1);
        }
        self.look_again(out);
        self.left = self.look(out);
    }

    /// Enters what the call from `start` to `end` put out and rendered in the
    /// ledger.
    pub(crate) fn enter(&self, start: Timestamp, end: Timestamp, out: &mut Outbox) {
        let begins = self.duties.as_ref().is_some_and(|duties| duties.begins);
        let leave = |header: &mut Header| {
            self.wiring.leave(header, start, end, begins);
            if let (Some(duties), Some(trail)) = (&self.duties, &header.trail) {
                duties.measure(trail);
            }
        };
        for staged in &mut out.staged {
            if let Item::Frame(frame) = &mut staged.item {
                leave(&mut frame.header);
            }
        }
        for (mut header, medium) in out.rendered.drain(..) {
            leave(&mut header);
            self.wiring.ledger.rendered.record(&header, medium, end);
        }
    }
}

/// Has one node go on with the state of another.
fn hand_over(from: &mut dyn Node, to: &mut dyn Node) -> Renewal {
    let hand_over = || match from.save_state() {
        Some(state) => to.load_state(&state).map(|()| Renewal::Continued),
        None => Ok(Renewal::Fresh),
    };
    let panicked = || Fault::new(FaultKind::Panic, "it panicked over its state; this is a defect in it");
    let outcome = catch_unwind(AssertUnwindSafe(hand_over)).unwrap_or_else(|_| Err(panicked()));
    outcome.unwrap_or_else(Renewal::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Format, VideoFormat};
    use crate::harness::Harness;
    use crate::media_type::{PixelFormat, Size};
    use crate::node::Setup;
    use crate::port::PortSpec;
    use crate::registry::{Placement, same};

    struct Failing;

    impl Node for Failing {
        fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
            cx.pop(0);
            Err(Fault::new(FaultKind::Library, "it always fails"))
        }
    }

    const fn failing(inputs: &'static [PortSpec], outputs: &'static [PortSpec]) -> NodeSpec {
        NodeSpec {
            kind: "mock.failing",
            summary: "",
            sheet: "",
            inputs,
            outputs,
            params: &[],
            placement: Placement::Shared,
            real_time: true,
            negotiate: &same,
            build: &|_: Setup<'_>| Ok(Box::new(Failing) as Box<dyn Node>),
        }
    }

    const VIDEO: PortSpec = PortSpec::new("video", MediaType::VIDEO, "");
    const AUDIO: PortSpec = PortSpec::new("audio", MediaType::AUDIO, "");
    const PACKETS: PortSpec = PortSpec::new("packets", MediaType::PACKETS, "");
    const ANY: PortSpec = PortSpec::new("any", MediaType::Any, "");

    static PICTURE: NodeSpec = failing(&[VIDEO, AUDIO], &[VIDEO]);
    static SOUND: NodeSpec = failing(&[AUDIO], &[AUDIO]);

    /// A node that has failed at a first frame.
    fn failed(spec: &'static NodeSpec, policy: OnFault, first: impl Fn(&Harness) -> Frame) -> Harness {
        let mut node = Harness::new(spec, &[]).on_fault(policy);
        let frame = first(&node);
        node.push(0, frame);
        node.run();
        assert!(node.take(0).is_empty() && !node.has_ended());
        node
    }

    #[test]
    fn pictures_of_a_failed_node_go_out_black_at_their_times() {
        let bright = |node: &Harness| node.picture(33, 17, |_, _, _| 200);
        let mut node = failed(&PICTURE, OnFault::Black, bright);
        assert!(matches!(
            node.events().as_slice(),
            [EventKind::Fault { action: "the node's frames go out black or silent", .. }]
        ));
        for number in 0..3 {
            let mut picture = bright(&node);
            picture.header.sequence = number;
            node.push(0, picture);
        }
        node.run();
        let out = node.take(0);
        assert_eq!(out.iter().map(|frame| frame.header.sequence).collect::<Vec<_>>(), [0, 1, 2]);
        for frame in &out {
            let size = Size::new(33, 17);
            assert_eq!(*frame.format(), Format::Video(VideoFormat { pixel: PixelFormat::I420, size }));
            for (index, black) in [16, 128, 128].into_iter().enumerate() {
                assert!(frame.plane(index).data.iter().all(|&sample| sample == black), "plane {index}");
            }
        }
    }

    #[test]
    fn the_frame_that_is_blanked_stays_as_it_is_for_who_shares_it() {
        let bright = |node: &Harness| node.picture(16, 16, |_, _, _| 200);
        let mut node = failed(&PICTURE, OnFault::Black, bright);
        let picture = bright(&node);
        node.push(0, picture.clone());
        node.run();
        assert_eq!((node.take(0)[0].plane(0).row(5)[5], picture.plane(0).row(5)[5]), (16, 200));
    }

    #[test]
    fn sound_of_a_failed_node_goes_out_silent() {
        let loud = |node: &Harness| node.audio(48_000, &[&[0.5; 480], &[-0.5; 480]]);
        let mut node = failed(&SOUND, OnFault::Black, loud);
        node.push(0, loud(&node));
        node.run();
        let out = node.take(0);
        assert_eq!(out[0].audio().unwrap().channels, 2);
        assert!((0..2).all(|index| out[0].channel(index).iter().all(|&sample| sample == 0.0)));
    }

    #[test]
    fn what_comes_through_other_inputs_is_not_passed_on_but_counted() {
        for policy in [OnFault::Bypass, OnFault::Black] {
            let mut node = failed(&PICTURE, policy, |node| node.picture(16, 16, |_, _, _| 200));
            node.push(1, node.audio(48_000, &[&[0.5; 480]]));
            node.push(0, node.picture(16, 16, |_, _, _| 200));
            node.run();
            let out = node.take(0);
            assert_eq!((out.len(), out[0].video().is_some()), (1, true), "{policy:?}");
            assert_eq!(node.ledger().dropped[DropReason::Stopped as usize].get(), 1);
        }
    }

    #[test]
    fn only_raw_sound_and_pictures_can_be_blanked() {
        for (inputs, outputs, black, bypass) in [
            (&[VIDEO][..], &[VIDEO][..], true, true),
            (&[AUDIO], &[AUDIO], true, true),
            (&[ANY], &[VIDEO], true, true),
            (&[PACKETS], &[PACKETS], false, true),
            (&[VIDEO], &[ANY], false, true),
            (&[VIDEO], &[PACKETS], false, false),
            (&[], &[VIDEO], false, false),
            (&[VIDEO], &[], false, false),
        ] {
            let spec = NodeSpec { inputs, outputs, ..failing(&[], &[]) };
            assert_eq!(OnFault::Black.refused(&spec).is_none(), black, "{inputs:?} {outputs:?}");
            assert_eq!(OnFault::Bypass.refused(&spec).is_none(), bypass, "{inputs:?} {outputs:?}");
        }
    }
}
