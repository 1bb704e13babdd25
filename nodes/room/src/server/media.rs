//! Forwarding: which stream goes to whom, in which size, and under which numbers.
//!
//! Pure, as [`super::room`] is: told what came and when, it says what is to be written,
//! asked and told. It never looks into a payload.

mod allocate;
mod forwarder;
mod key_frame;
mod level;
mod loudest;
mod simulcast;
mod slot;
mod speaker;
mod stream;

pub use forwarder::{Counts, Forwarder, Output, Packet, Settings, Write};
