//! The participant's side of the protocol, as pure logic: it is told what happened and
//! when, and says what is to be done, so that simulated time and networks try it.

pub mod backoff;
pub mod quality;
pub mod roster;
pub mod session;
