//! The side of WHIP and WHEP that asks (RFC 9725, draft-ietf-wish-whep): what the nodes
//! `room.whip` and `room.whep` share. `http` is the requests, `wire` the thread with the
//! media, `packets` how frames of RTP become what a media connection sends, and back.

pub(crate) mod http;
pub(crate) mod packets;
pub(crate) mod wire;
