//! The side of WHIP and WHEP that asks (RFC 9725, draft-ietf-wish-whep): what the nodes
//! `room.whip` and `room.whep` share. `http` is the requests, `wire` the thread with the
//! media.

pub(crate) mod http;
pub(crate) mod wire;
