//! The Sidetone room node and its transports.

mod address;
pub mod client;
pub mod events;
mod join;
pub mod load;
pub mod login;
mod mem;
mod munge;
mod outward;
mod packets;
mod peers;
pub mod protocol;
pub mod quality;
pub mod reception;
pub mod rtc;
pub mod rtcp;
pub mod rtp_header;
pub mod server;
#[cfg(test)]
mod sim;
pub mod statistics;
mod stun;
mod transport;
mod udp;
mod udp_reader;
pub mod url;
pub mod usage;
mod whep;
mod whip;
mod ws;

use sidetone_core::NodeSpec;

/// The kinds of this crate.
pub const KINDS: &[&NodeSpec] = &[&join::SPEC, &whep::SPEC, &whip::SPEC];
