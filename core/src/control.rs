//! `Control`: a message to a node; and what travels upstream, against the
//! media's direction.

use crate::event::Key;
use crate::own::Own;
use crate::param::Value;

/// The output through which a message came up from downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Through {
    /// The output's place in its kind's `outputs`.
    pub port: usize,
    /// Which member of a port declared `each`.
    pub key: Option<Key>,
}

/// A message to a node, delivered between two of its calls, on its lane.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// A live parameter's new value, checked against its range already.
    Set {
        /// The parameter's declared name.
        param: &'static str,
        /// Its value.
        value: Value,
    },
    /// Whoever encodes this stream: make the next picture a key frame. Travels
    /// upstream.
    KeyFrame,
    /// Whoever encodes this stream: the path now carries this much. Travels
    /// upstream.
    Bitrate {
        /// Bits per second, payload only.
        bps: u32,
    },
    /// In words of the kind's own; what a node does not know it lets be.
    Own(Own),
}
