//! The targets, by the crate whose parsers they try.

pub(crate) mod codec;
pub(crate) mod file;
pub(crate) mod graph;
pub(crate) mod net;
pub(crate) mod plugin;
pub(crate) mod recording;
pub(crate) mod room;
pub(crate) mod rtp;
pub(crate) mod server;
