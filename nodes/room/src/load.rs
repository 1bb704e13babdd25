//! Load on a server: participants who send and receive without encoding or decoding
//! anything, so that one machine can be many of them. `sidetone load` is the command;
//! benches use [`Crowd`] with the connections of other servers, too.
//!
//! Every packet says whose it is and when it was sent, so that what is lost, comes
//! twice or comes late is known exactly (`stamp.rs`); its size and its instant are those
//! of a recording, or are made up by a rule (`pattern.rs`).

use std::io;

use crate::rtc::NoCertificate;

mod connection;
mod crowd;
mod door;
mod pattern;
mod plan;
mod recorded;
mod report;
mod stamp;
mod tally;

pub use connection::{Common, Connection, Sends};
pub use crowd::{Crowd, Progress};
pub use pattern::Media;
pub use plan::{Plan, run};
pub use recorded::{BadRecording, Recording};
pub use report::{Report, ServerUse};

/// Why there is no load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server cannot be spoken to.
    #[error("the server cannot be spoken to: {0}")]
    Server(String),
    /// The server does not let somebody in.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// Nothing gets through by UDP.
    #[error("no media came through within {0} s: is UDP open between here and the server?")]
    NoMedia(u64),
    /// A connection broke.
    #[error("a participant's media broke: {0}")]
    Media(String),
    /// There is no certificate for DTLS.
    #[error(transparent)]
    NoCertificate(#[from] NoCertificate),
    /// The system has no more of something.
    #[error("this machine has no more to give: {0}; `ulimit -n` says how many files and sockets it allows")]
    System(#[from] io::Error),
}
