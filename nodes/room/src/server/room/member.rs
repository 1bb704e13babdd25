//! `Member`: a participant's session, as its room keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sidetone_core::Timestamp;
use sidetone_core::timestamp::duration_nanos;

use crate::protocol::{Source, StreamId, StreamInfo, UserName, Wish};
use crate::server::budget::Budget;
use crate::server::claims::Grants;
use crate::server::replay::PersonId;
use crate::server::room::{LinkId, Settings};

/// How long before its end a participant is warned that its token expires.
const WARNINGS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(10)];
/// How long after its end a token may be renewed.
const RENEWAL: Duration = Duration::from_secs(5);
/// A participant whose media come, but whose link is gone, is waited for so many
/// graces.
const GRACES: u32 = 3;

/// How many secrets are held for one that may not have come.
const MOST_SECRETS: usize = 16;

/// In which way a participant is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// By a connection over which it talks all the time.
    Link,
    /// By HTTP, to publish (WHIP): nothing is told over its link, and it is there as
    /// long as its media come.
    Whip,
    /// The same, to play (WHEP): nobody sees it, and a user may be there several times.
    Whep,
}

/// Which of others' streams a participant plays without asking for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plays {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// A user's microphone and camera.
    User(UserName),
    /// One.
    Stream(StreamId),
}

impl Plays {
    /// Whether a stream is among them. \[any\]
    #[must_use]
    pub fn has(&self, stream: &StreamInfo) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::User(user) => {
                let is_face = matches!(stream.source, Source::Microphone | Source::Camera);
                is_face && stream.id.user() == user.as_str()
            }
            Self::Stream(id) => stream.id == *id,
        }
    }
}

/// A session of a participant.
pub(super) struct Member {
    pub(super) id: PersonId,
    pub(super) user: UserName,
    pub(super) way: Way,
    pub(super) grants: Grants,
    pub(super) until: Timestamp,
    pub(super) session: String,
    /// What says that the session is its own: what was told last, and before it, until
    /// something comes over the present link, all that may be the last that came, since
    /// answers are lost with their links.
    pub(super) secrets: Vec<String>,
    /// None while it is away.
    pub(super) link: Option<LinkId>,
    /// When something last came over the link.
    pub(super) spoke: Timestamp,
    /// When anything last came, media too.
    pub(super) heard: Timestamp,
    /// The last offer that was asked of the media, and what it is to publish.
    pub(super) pending: Option<Pending>,
    /// Its last offer.
    pub(super) g: u32,
    /// Those that it may yet make.
    pub(super) offers: Budget,
    pub(super) streams: Vec<StreamInfo>,
    pub(super) by_itself: Plays,
    /// What it asked to play, and how well; what it asked to play no more.
    pub(super) plays: BTreeMap<u32, Wish>,
    pub(super) stopped: BTreeSet<u32>,
    /// How many warnings that the token expires it was given.
    pub(super) warned: usize,
}

pub(super) struct Pending {
    pub(super) re: u32,
    pub(super) g: u32,
    /// What is published already, and what is new, without a codec.
    pub(super) streams: Vec<(String, StreamInfo)>,
}

/// What is due of a participant.
#[derive(Clone, Copy)]
pub(super) enum Due {
    /// Its link is to be given up.
    Cut,
    /// It has been away too long.
    Gone,
    Warning,
    Expired,
}

impl Member {
    /// Whether its session ends where `user` comes in by `way`: there is one of each
    /// user, but for those whom nobody sees.
    pub(super) fn yields_to(&self, way: Way, user: &UserName) -> bool {
        self.user == *user && self.way != Way::Whep && way != Way::Whep
    }

    /// Takes another secret, from who showed the one at `shown`.
    pub(super) fn change_secret(&mut self, shown: usize, secret: String) {
        self.secrets.drain(..shown);
        if self.secrets.len() == MOST_SECRETS {
            self.secrets.remove(1);
        }
        self.secrets.push(secret);
    }

    /// Something came over the present link: what was told last has come, too.
    pub(super) fn spoke(&mut self, now: Timestamp) {
        (self.spoke, self.heard) = (now, now);
        self.secrets.drain(..self.secrets.len() - 1);
    }

    /// What is due next, and when.
    pub(super) fn due(&self, settings: &Settings) -> (Timestamp, Due) {
        let Settings { grace, ping, .. } = *settings;
        let absence = match (self.way, self.link) {
            (Way::Link, Some(_)) => (self.spoke + ping * 3, Due::Cut),
            (Way::Whip | Way::Whep, _) => (self.heard + grace, Due::Gone),
            (Way::Link, None) => ((self.heard + grace).min(self.spoke + grace * GRACES), Due::Gone),
        };
        let expiry = match WARNINGS.get(self.warned) {
            Some(&before) => (
                Timestamp::from_nanos(self.until.nanos().saturating_sub(duration_nanos(before))),
                Due::Warning,
            ),
            None => (self.until + RENEWAL, Due::Expired),
        };
        if expiry.0 < absence.0 { expiry } else { absence }
    }
}
