//! The room server: lets participants meet, and forwards what they send to those who
//! play it; it never decodes.
//!
//! `room`, `replay` and `media` are pure: they are told what happened and when, and say
//! what is to be told and done, so that simulated time and networks try them. `hall`
//! puts WebRTC to that, as purely; `hall/run.rs` is the thread with its sockets,
//! `http.rs` what comes by HTTP and WebSocket.

pub mod budget;
pub mod claims;
pub mod config;
pub mod hall;
pub mod http;
pub mod log;
pub mod media;
pub mod replay;
pub mod room;
pub mod token;
