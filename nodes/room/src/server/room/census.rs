//! What tests see of a room.

use super::*;

/// A participant, as its room knows it.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) id: PersonId,
    pub(crate) user: UserName,
    pub(crate) session: String,
    pub(crate) link: Option<LinkId>,
    pub(crate) until: Timestamp,
    pub(crate) grants: Grants,
    pub(crate) streams: Vec<StreamInfo>,
    pub(crate) plays: BTreeMap<u32, Wish>,
    pub(crate) is_offering: bool,
}

impl Room {
    /// Everyone who is in it.
    pub(crate) fn census(&self) -> Vec<Sight> {
        let sight = |member: &Member| Sight {
            id: member.id,
            user: member.user.clone(),
            session: member.session.clone(),
            link: member.link,
            until: member.until,
            grants: member.grants.clone(),
            streams: member.streams.clone(),
            plays: member.plays.clone(),
            is_offering: member.pending.is_some(),
        };
        self.people.iter().map(sight).collect()
    }

    /// How much it keeps: people, events, sessions that ended.
    pub(crate) fn kept(&self) -> [usize; 3] {
        [self.people.len(), self.replay.kept(), self.ended.len()]
    }
}
