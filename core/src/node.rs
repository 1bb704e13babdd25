//! `Node`: a unit of work; `Setup`: what it is made from.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::context::Context;
use crate::control::{Control, Through};
use crate::fault::{Fault, FaultKind};
use crate::media_type::MediaType;
use crate::param::Params;
use crate::waker::NodeWaker;

/// A unit of work in a graph.
///
/// All methods are called on the node's lane, one at a time. A node of a kind
/// marked real-time allocates, locks, reads clocks and calls the system in
/// none of them.
pub trait Node: Send {
    /// Takes what has come and puts out what is ready. Called once when the
    /// graph starts, then when a frame arrives, when the instant given to
    /// `Context::wake_at` is reached, when its `NodeWaker` is used, and when an
    /// output is linked anew; so a call may find nothing to do. At most
    /// one frame's worth of heavy work a call: it is called again at once while
    /// frames wait and it takes some.
    ///
    /// # Errors
    /// A `Fault`, upon which the graph's policy for the node applies.
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault>;

    /// Puts out what is held back, once every input has ended and is empty.
    /// After `Done` the outputs end and the node is not called again. After
    /// `Later` it is called again when the instant it asked for is reached.
    /// A node without inputs gets this call when the graph is told to stop.
    ///
    /// # Errors
    /// A `Fault`, as for `process`.
    fn finish(&mut self, cx: &mut Context<'_>) -> Result<Finish, Fault> {
        let _ = cx;
        Ok(Finish::Done)
    }

    /// Takes a message; `from` names the output it came up through, if it
    /// travelled upstream. The default passes upstream messages on to every
    /// input.
    ///
    /// # Errors
    /// A `Fault`, as for `process`.
    fn control(
        &mut self,
        control: &Control,
        from: Option<Through>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        if from.is_some() {
            cx.forward(control);
        }
        Ok(())
    }

    /// What it has come to know while it ran, for one of its kind that takes its
    /// place (a newer build of the same plugin, say): a count, a filter's past,
    /// what it has learnt of a face. `None` is nothing, the default. Frames that
    /// it holds back cannot be part of it. Called between two calls of
    /// `process`; it may allocate, on whatever lane.
    fn save_state(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// Goes on where the one before left off, before its first call. `state` is
    /// what another's `save_state` gave, which may have been of another version:
    /// it is to be checked like anything that comes from outside. One that
    /// refuses stays as it was made.
    ///
    /// # Errors
    /// A `Fault` that says why it cannot go on from there; it then runs from its
    /// beginning, and the run tells of it.
    fn load_state(&mut self, state: &[u8]) -> Result<(), Fault> {
        let _ = state;
        Err(Fault::new(FaultKind::BadMedia, "this kind takes no state"))
    }

    /// What its outputs carry, where opening a file or device told more than
    /// the graph could: one entry an output port, `None` where nothing new is
    /// known. Called once, after it is made. \[control\]
    fn output_types(&self) -> Vec<Option<MediaType>> {
        Vec::new()
    }
}

/// Whether a node has put out all it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// All is out.
    Done,
    /// More comes at the instant asked for with `wake_at`.
    Later,
}

/// What a node is made from. \[control\]
pub struct Setup<'a> {
    /// Its name in the graph.
    pub name: &'a str,
    /// Its checked parameters.
    pub params: &'a Params,
    /// What comes to each input port, as far as the checker knows; `None` for a
    /// port that is not linked.
    pub inputs: &'a [Option<MediaType>],
    /// Its own seed: the same graph, seed and name give the same one. The only
    /// randomness a node may use.
    pub seed: u64,
    /// The seed of the whole run: what a recording says of itself, so that the
    /// run can be had again. Not for randomness.
    pub run_seed: u64,
    /// Wakes the node from other threads and other nodes.
    pub waker: NodeWaker,
    /// Whether time is virtual: a node that needs the world outside (sockets,
    /// devices) refuses to be made then.
    pub virtual_time: bool,
    /// How long one call may take, where the node runs somebody else's code.
    pub deadline: Option<Duration>,
    /// What the nodes of one engine share beside links.
    pub shared: &'a Shared,
}

/// What the nodes of one engine share beside links: one value of each type,
/// such as the table of in-process rooms. \[control\]
#[derive(Default)]
pub struct Shared {
    values: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Shared {
    /// The engine's one `T`, made on first use. \[control\]
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        // The entry's key is the type, so the downcast holds.
        Arc::clone(value).downcast().unwrap_or_default()
    }
}
