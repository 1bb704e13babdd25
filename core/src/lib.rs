//! The Sidetone engine: graph files, checker, schedule, engine, links, frames,
//! pools, clock, ledger.
//!
//! Public functions say where they may be called: \[control\] on any thread
//! that may block and allocate, \[real-time\] also on a lane, \[any\] anywhere
//! at all.

pub mod budget;
mod budget_decl;
mod cell;
mod check;
pub mod clock;
pub mod context;
pub mod control;
pub mod data_shape;
mod deadline;
pub mod diagnostic;
pub mod draw;
mod duties;
pub mod edit;
mod ends;
pub mod engine;
#[cfg(test)]
mod engine_tests;
pub mod event;
mod expand;
pub mod family;
#[cfg(test)]
mod family_tests;
pub mod fault;
#[cfg(test)]
mod foreign_tests;
pub mod frame;
mod frame_pool;
pub mod graph;
pub mod graph_file;
#[cfg(test)]
mod graph_tests;
pub mod harness;
pub mod histogram;
mod item;
mod lane;
mod lane_edit;
pub mod lane_thread;
mod lanes;
mod layout;
pub mod ledger;
pub mod link;
#[cfg(all(test, loom))]
mod loom_tests;
pub mod loudness;
pub mod media_type;
#[cfg(test)]
mod mock_kinds;
mod negotiate;
mod net;
pub mod node;
pub mod own;
pub mod param;
mod placement;
pub mod pool;
pub mod pool_plan;
pub mod port;
pub mod read_error;
mod ready;
pub mod recording;
pub mod registry;
#[cfg(test)]
mod renewal_tests;
pub mod report;
mod ring;
pub mod rtp;
pub mod schedule;
#[cfg(test)]
mod schedule_tests;
mod scope;
pub mod scratch;
pub mod setting;
pub mod shared_memory;
mod splice;
pub mod suggest;
mod supervisor;
mod sync;
mod takes;
mod timers;
pub mod timestamp;
pub mod trace;
pub mod transaction;
#[cfg(test)]
mod transaction_tests;
pub mod waker;
pub mod watch;

pub use budget::{Budget, BudgetPath, Remedy};
pub use cell::OnFault;
pub use clock::{Clock, VIRTUAL_START};
pub use context::Context;
pub use control::{Control, Through};
pub use diagnostic::{Diagnostic, Diagnostics, Label, Place, Severity, Sources};
pub use edit::Change;
pub use engine::{Engine, Handle, Options, Progress, Update};
pub use event::{Event, EventKind, Figure, Key, LeaveReason, Renewal};
pub use family::Family;
pub use fault::{Fault, FaultKind, NodeError};
pub use frame::{AudioFormat, Flags, Format, Frame, Header, Plane, PlaneMut, VideoFormat, WhenDry};
pub use graph::{
    Checked, End, Graph, GraphLane, GraphLink, GraphNode, GraphParam, LinkPlace, LoadOptions, Template,
    TemplateLink,
};
pub use graph_file::GraphFile;
pub use lane_thread::{LaneSettings, Priority};
pub use ledger::{DropReason, NodeId};
pub use link::{LinkId, Overflow};
pub use media_type::{Codec, FrameRate, MediaType, Medium, PixelFormat, Size};
pub use node::{Finish, Node, Setup, Shared};
pub use own::Own;
pub use param::{ParamDefault, ParamKind, ParamSpec, Params, Value};
pub use port::PortSpec;
pub use read_error::ReadError;
pub use registry::{Foreign, Mismatch, Negotiated, NodeSpec, Offer, Placement, Registry};
pub use report::Report;
pub use schedule::Schedule;
pub use setting::{NoSetting, Setting};
pub use shared_memory::{Access, SharedMemory, SharedPlace};
pub use timestamp::Timestamp;
pub use trace::{TraceReader, Traced, Tracer, trace};
pub use transaction::{Operation, Transaction};
pub use waker::NodeWaker;
pub use watch::{Snapshot, Watch};
