//! Participants who are in a room by HTTP (WHIP, WHEP): they ask once, and then there
//! are their media alone.

use sidetone_core::Timestamp;

use super::{Asked, Plays, Room, Way};
use crate::protocol::{Client, Join, Left, StreamInfo, Told, VERSION};
use crate::server::claims::Claims;
use crate::server::replay::PersonId;
use crate::server::room::LinkId;

impl Room {
    /// As [`Room::join`], by HTTP: to publish, or to play what `plays` says, unseen.
    /// `link` is nobody's but theirs; what is told over it is to be let be, but for what
    /// answers.
    pub fn join_by_http(
        &mut self,
        now: Timestamp,
        link: LinkId,
        way: Way,
        plays: Plays,
        mut claims: Claims,
        secrets: [String; 2],
    ) {
        claims.grants.hidden |= way == Way::Whep;
        let client = Client { name: "http".into(), version: String::new() };
        let join = Join { v: VERSION, token: String::new(), auto_play: false, client, resume: None };
        self.come(Asked { now, link, re: 0, way }, claims, &join, secrets);
        let Some(at) = self.at(link) else { return };
        let member = &mut self.people[at];
        member.by_itself = plays;
        let id = member.id;
        for no in self.numbers() {
            self.play_by_itself(id, no);
        }
    }

    /// The streams that are among `plays`.
    pub fn streams<'a>(&'a self, plays: &'a Plays) -> impl Iterator<Item = &'a StreamInfo> {
        self.people.iter().flat_map(|member| &member.streams).filter(|stream| plays.has(stream))
    }

    /// A participant's media came to an end, those of the offer `g`: whoever has a
    /// connection may offer anew, whoever has but media left.
    pub fn media_ended(&mut self, now: Timestamp, person: PersonId, g: u32) {
        match self.place(person) {
            Some(at) if self.people[at].way != Way::Link => self.remove(now, at, Left::Left, None),
            _ => self.tell(person, Told::MediaFailed { g }),
        }
    }

    /// How many are in the room by each way.
    #[must_use]
    pub fn ways(&self) -> [(Way, usize); 3] {
        [Way::Link, Way::Whip, Way::Whep]
            .map(|way| (way, self.people.iter().filter(|member| member.way == way).count()))
    }
}
