//! The participant's side of a room, as pure logic: it is told what happened and when,
//! and says what is to be done, so that simulated time and networks try it. `run` and
//! `link` are the loop around it, with its sockets and its clock.

pub mod backoff;
pub mod link;
pub mod peer_connection;
pub mod roster;
pub mod run;
pub mod session;
