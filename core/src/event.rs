//! `Event`: a message from a node to whoever runs the engine.

use serde::Serialize;
use std::fmt;
use std::sync::Arc;

use crate::Timestamp;
use crate::budget::Remedy;
use crate::fault::Fault;
use crate::ledger::NodeId;
use crate::own::Own;

/// Tells apart what appears and vanishes at one node's group of ports: one
/// participant, say. Never used again by that node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Key(pub u32);

/// Why a participant left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// By choice.
    Left,
    /// Nothing came from them for too long.
    TimedOut,
    /// The room or the transport went away.
    Closed,
    /// Somebody who may do so put them out.
    Kicked,
    /// They stay, unseen.
    Hidden,
    /// They joined again elsewhere, which ended this login.
    Replaced,
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left by choice",
            Self::TimedOut => "timed out",
            Self::Closed => "the room closed",
            Self::Kicked => "was put out",
            Self::Hidden => "stays unseen",
            Self::Replaced => "joined again elsewhere",
        })
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Something a template may stand for appeared: its parts are made now.
    Appeared {
        /// The group of ports: "participant".
        group: &'static str,
        /// Which one; frames for it are pushed with this key.
        key: Key,
        /// Its name: the user.
        name: Arc<str>,
    },
    /// It vanished: its ports end, and its parts go once they have drained.
    Vanished {
        /// The group of ports.
        group: &'static str,
        /// Which one.
        key: Key,
        /// Its name.
        name: Arc<str>,
        /// Why.
        reason: LeaveReason,
    },
    /// A participant began to send a stream.
    StreamAdded {
        /// Whose.
        key: Key,
        /// The user.
        name: Arc<str>,
        /// The output of the group through which it comes: "audio".
        port: &'static str,
    },
    /// A participant ceased to send a stream.
    StreamRemoved {
        /// Whose.
        key: Key,
        /// The user.
        name: Arc<str>,
        /// The output of the group through which it comes: "audio".
        port: &'static str,
    },
    /// How loud a stream is: 0 silence, 100 full scale.
    Level {
        /// 0 to 100.
        level: u8,
    },
    /// What a node has measured of the media so far.
    Figure(Figure),
    /// A key frame was asked for, by this node or through it.
    KeyFrameRequested,
    /// The node failed; what the graph's policy made of it follows.
    Fault {
        /// Why.
        fault: Fault,
        /// What the engine does about it.
        action: &'static str,
    },
    /// Over the last second, what this node rendered (or let go, where it ends
    /// the path of a budget) came later than the budget allows.
    OverBudget {
        /// Where the path begins; `None` is where frames are captured.
        from: Option<Arc<str>>,
        /// 95 % came within this many milliseconds.
        p95_ms: f64,
        /// As many are allowed.
        budget_ms: f64,
        /// The guilty node: the one that took most beyond what it declares, or
        /// that it had to wait for.
        stage: Arc<str>,
        /// Its mean share, in milliseconds.
        stage_ms: f64,
        /// What is done about it.
        remedy: Remedy,
    },
    /// What this node renders, or lets go, keeps the budget again.
    WithinBudget {
        /// Where the path begins, as before.
        from: Option<Arc<str>>,
    },
    /// For a budget's sake the node drops what is too old when it comes to it.
    DropsLate {
        /// Older than this many milliseconds since capture, or since the
        /// beginning of the budget's path; `None`: it does so no more.
        older_than_ms: Option<f64>,
    },
    /// For a budget's sake the node does less than usual.
    Degraded {
        /// How much less: 0 (all again) to 3.
        level: i64,
    },
    /// Pictures are made for what the network carries: they are of this size and rate
    /// from now on.
    Adapted {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// How many a second, at most.
        fps: f64,
    },
    /// The node was to be made anew while it runs; what came of it follows.
    Renewed(Renewal),
    /// The node has put out its last frame.
    Ended,
    /// In the node's own words.
    Own(Own),
    /// Anything else worth telling a person.
    Notice(Arc<str>),
}

/// What came of making a node anew while it runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewal {
    /// The new one goes on with the state of the one before.
    Continued,
    /// The new one begins afresh: the one before had no state, or had failed.
    Fresh,
    /// The new one begins afresh, since the state of the one before would not do.
    Refused(Fault),
    /// There is no new one, for this reason; the one before goes on.
    Kept(Arc<str>),
}

impl fmt::Display for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continued => f.write_str("made anew; it goes on with its state"),
            Self::Fresh => f.write_str("made anew; it begins afresh"),
            Self::Refused(why) => write!(f, "made anew; it begins afresh, without its state: {why}"),
            Self::Kept(why) => write!(f, "not made anew: {why}; the one before goes on"),
        }
    }
}

/// Something that a node measures of the media that passes it. Each figure is
/// over all that has passed so far, so the last one told of a name stands in the
/// report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What it is called in reports: "psnr".
    pub name: &'static str,
    /// Its unit as people write it: "dB"; empty where it has none.
    pub unit: &'static str,
    /// How much it is.
    pub value: f64,
}

/// A message from a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// From which node.
    pub node: NodeId,
    /// What happened.
    pub kind: EventKind,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appeared { group, name, .. } => write!(f, "{group} {name} joined"),
            Self::Vanished { group, name, reason, .. } => write!(f, "{group} {name} left: {reason}"),
            Self::StreamAdded { name, port, .. } => write!(f, "{name} sends {port}"),
            Self::StreamRemoved { name, port, .. } => write!(f, "{name} sends no more {port}"),
            Self::Level { level } => write!(f, "level {level}"),
            Self::Figure(Figure { name, unit, value }) => write!(f, "{name} {value:.2} {unit}"),
            Self::KeyFrameRequested => f.write_str("key frame requested"),
            Self::Fault { fault, action } => write!(f, "fault: {fault}; {action}"),
            Self::OverBudget { from, p95_ms, budget_ms, stage, stage_ms, .. } => write!(
                f,
                "over budget{}: 95 % came within {p95_ms:.0} ms, {budget_ms:.0} are allowed; the guilty stage is \
                 {stage}, {stage_ms:.0} ms",
                since(from)
            ),
            Self::WithinBudget { from } => write!(f, "within budget again{}", since(from)),
            Self::DropsLate { older_than_ms: Some(most) } => {
                write!(f, "drops what is older than {most:.0} ms when it comes here")
            }
            Self::DropsLate { older_than_ms: None } => f.write_str("drops nothing for being late any more"),
            Self::Degraded { level: 0 } => f.write_str("does all again"),
            Self::Degraded { level } => write!(f, "does less: level {level} of 3"),
            Self::Adapted { width, height, fps } => {
                write!(f, "pictures of {width}x{height}, {fps:.0} a second")
            }
            Self::Renewed(renewal) => renewal.fmt(f),
            Self::Ended => f.write_str("ended"),
            Self::Own(own) => own.fmt(f),
            Self::Notice(text) => f.write_str(text),
        }
    }
}

/// " from mic", where a budget's path begins at a node.
fn since(from: &Option<Arc<str>>) -> String {
    from.as_ref().map_or_else(String::new, |from| format!(" from {from}"))
}
