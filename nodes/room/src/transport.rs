//! `Transport`: what leads from the room node to the other participants. Each
//! scheme of the room's URL has one.

use sidetone_core::{Context, Control, Fault, Frame, Key, Timestamp};

use crate::client::session::Command;
use crate::peers::Peers;
use crate::protocol::Source;

/// What leads to the other participants, made when the room is entered. Called
/// on the node's lane.
pub(crate) trait Transport: Send {
    /// Takes what has come from others, and does what is due.
    ///
    /// # Errors
    /// The room is not to be had.
    fn poll(&mut self, cx: &mut Context<'_>, peers: &mut Peers) -> Result<(), Fault>;

    /// Sends a packet to everyone.
    fn publish(&mut self, cx: &mut Context<'_>, source: Source, frame: Frame);

    /// Says that no more is published of `source` for now.
    fn cease(&mut self, source: Source, now: Timestamp);

    /// Sends a message upstream to participant `key`, about what it publishes.
    fn ask(&mut self, key: Key, source: Source, control: &Control);

    /// Does what the program asks of its participant, where that can be asked.
    fn command(&mut self, _: Command) {}

    /// Says that we leave by choice. Packets of others are still taken.
    fn say_goodbye(&mut self, now: Timestamp);

    /// Whether nothing more can come from anyone who is here now.
    fn is_alone(&self) -> bool;

    /// Leaves for good.
    fn leave(&mut self);

    /// When it wants to be polled next.
    fn next_call(&self) -> Option<Timestamp>;
}
