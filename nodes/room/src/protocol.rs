//! The room protocol: what participants and a room server say to each other, as JSON
//! text over WebSocket, one object a message. docs/protocol.md tells it for clients in
//! other languages; the schemas beside it are made from these types.
//!
//! No I/O here and no clock: server and clients of any kind read and write with it.

mod code;
mod message;
mod names;

pub use code::{Code, Retry};
pub use message::{
    Ask, Candidate, Client, Join, Joined, Kind, Layer, Left, Limits, Mute, News, Offer, Person, Play,
    PlayState, Quality, QualityOf, Receive, Removed, Request, Resume, Send, Slot, SlotOf, Source, StreamInfo,
    Told, Volume, Wish,
};
pub use names::{RoomName, StreamId, UserName, WrongName};

/// The version of the protocol: of `v` in messages.
pub const VERSION: u32 = 1;

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "sidetone.room.1";

/// The longest message, in bytes.
pub const MOST_BYTES: usize = 64 << 10;
