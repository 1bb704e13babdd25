//! What those who look after a server see of a room.

use serde::Serialize;

use crate::protocol::{Code, Left, StreamInfo, UserName};
use crate::server::room::Room;

/// Something that happened in a room, for its server's figures and log.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Somebody is in.
    Joined {
        /// Who.
        user: UserName,
        /// They were in a session before that is over.
        again: bool,
        /// The others do not see them.
        hidden: bool,
    },
    /// Somebody who was away is back in their session.
    Resumed {
        /// Who.
        user: UserName,
    },
    /// Somebody is out.
    Left {
        /// Who.
        user: UserName,
        /// Why.
        reason: Left,
        /// What they were told, if they did not ask for it.
        code: Option<Code>,
    },
    /// A stream is there.
    Published {
        /// Whose.
        user: UserName,
        /// Which.
        stream: StreamInfo,
    },
}

/// A participant, as administrators see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// Who.
    pub user: UserName,
    /// The others do not see them.
    pub hidden: bool,
    /// Their connection is broken, and the grace is not over.
    pub away: bool,
    /// What they publish.
    pub streams: Vec<StreamInfo>,
}

impl Room {
    /// Everyone who is in it, hidden or not.
    #[must_use]
    pub fn overview(&self) -> Vec<Overview> {
        let people = self.people.iter().map(|member| Overview {
            user: member.user.clone(),
            hidden: member.grants.hidden,
            away: member.link.is_none(),
            streams: member.streams.clone(),
        });
        people.collect()
    }

    /// How many are in it, and all their streams.
    pub(crate) fn contents(&self) -> (usize, impl Iterator<Item = &StreamInfo>) {
        (self.people.len(), self.people.iter().flat_map(|member| &member.streams))
    }
}
