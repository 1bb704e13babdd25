//! What administrators ask of rooms: who is there, to put somebody out, to hold streams
//! back, to close. Whose token it is decides which rooms those are: its application's,
//! and of those one or all.

use std::time::{Duration, Instant};

use serde::Serialize;
use tracing::info;

use super::{Hall, Place, Stage};
use crate::protocol::{Code, RoomName, StreamId, UserName};
use crate::server::media;
use crate::server::room::Overview;
use crate::server::token;

/// What an administrator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAsk {
    /// Which rooms there are.
    Rooms,
    /// Who is in a room, and what became of its packets.
    Room(RoomName),
    /// To put a user out; with `ban`, for so long, be they there or not.
    Kick {
        /// From where.
        room: RoomName,
        /// Whom.
        user: UserName,
        /// For how long, if they are not to come back at once.
        ban: Option<Duration>,
    },
    /// To hold streams back, or let them go on.
    Mute {
        /// Where.
        room: RoomName,
        /// Which.
        what: Mute,
        /// Whether they are to be held back.
        muted: bool,
    },
    /// To put everybody out.
    Close(RoomName),
}

/// Which streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mute {
    /// All that somebody publishes now.
    User(UserName),
    /// One.
    Stream(StreamId),
}

/// What an administrator is answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Admin {
    /// The rooms.
    Rooms {
        /// Each.
        rooms: Vec<RoomLine>,
    },
    /// A room.
    Room {
        /// Its name.
        room: RoomName,
        /// Everyone in it.
        people: Vec<Overview>,
        /// Participants with media.
        peers: usize,
        /// What became of packets.
        packets: media::Counts,
    },
    /// It is done.
    Done {},
}

/// A room among others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoomLine {
    /// Its name.
    pub room: RoomName,
    /// How many are in it.
    pub people: usize,
    /// Their streams.
    pub streams: usize,
}

/// What a token lets its holder administer.
struct Office {
    app: String,
    /// None where it is all of the application's rooms.
    room: Option<RoomName>,
    user: UserName,
}

impl Hall {
    /// Does what an administrator asks, who shows this token; what is no question is
    /// answered to administrators alone. `wall` is the time since 1970 (UTC).
    ///
    /// # Errors
    /// The token does not hold, or not for this: [`Code::NotPermittedAdmin`],
    /// [`Code::RoomInvalid`]; there is no such thing: [`Code::RoomUnknown`],
    /// [`Code::UserUnknown`], [`Code::StreamUnknown`].
    pub fn administer(
        &mut self,
        now: Instant,
        wall: Duration,
        token: &str,
        ask: Result<AdminAsk, Code>,
    ) -> Result<Admin, Code> {
        let done = self.office(now, wall, token).and_then(|office| self.serve(now, &office, ask?));
        if let Err(code) = done {
            self.shared.refused(now, None, code);
        }
        done
    }

    fn office(&self, now: Instant, wall: Duration, token: &str) -> Result<Office, Code> {
        let checked = token::check(&self.apps, token, self.shared.timestamp(now), wall)?;
        if !checked.claims.grants.admin {
            return Err(Code::NotPermittedAdmin);
        }
        Ok(Office { app: checked.app, room: checked.room, user: checked.claims.user })
    }

    fn serve(&mut self, now: Instant, office: &Office, ask: AdminAsk) -> Result<Admin, Code> {
        let by = &office.user;
        match ask {
            AdminAsk::Rooms => {
                let theirs = self.stages.values().filter(|stage| {
                    let (app, room) = &stage.place;
                    *app == office.app && office.room.as_ref().is_none_or(|only| only == room)
                });
                Ok(Admin::Rooms { rooms: theirs.map(line).collect() })
            }
            AdminAsk::Room(room) => {
                let (_, stage) = self.room(office, &room)?;
                let people = stage.room.overview();
                Ok(Admin::Room { room, people, peers: stage.peers(), packets: stage.forwarder.counts() })
            }
            AdminAsk::Kick { room, user, ban } => {
                let (id, stage) = self.room(office, &room)?;
                if ban.is_none() && !stage.room.overview().iter().any(|one| one.user == user) {
                    return Err(Code::UserUnknown);
                }
                let ban_s = ban.map(|ban| ban.as_secs());
                info!(app = office.app, %room, %user, %by, ban_s, "kicked");
                self.at(now, id, |stage, at, _| {
                    stage.room.kick(at, &user, ban);
                });
                Ok(Admin::Done {})
            }
            AdminAsk::Mute { room, what, muted } => {
                let (id, stage) = self.room(office, &room)?;
                let people = stage.room.overview();
                let streams: Vec<StreamId> = match what {
                    Mute::Stream(stream) => vec![stream],
                    Mute::User(user) => {
                        if !people.iter().any(|one| one.user == user) {
                            return Err(Code::UserUnknown);
                        }
                        let theirs = people.into_iter().filter(|one| one.user == user);
                        theirs.flat_map(|one| one.streams).map(|stream| stream.id).collect()
                    }
                };
                let mut done = Ok(());
                self.at(now, id, |stage, _, _| {
                    done = streams.iter().try_for_each(|stream| stage.room.mute_by_admin(stream, muted));
                });
                done?;
                for stream in &streams {
                    info!(app = office.app, %room, user = stream.user(), %stream, %by, muted, "muted");
                }
                Ok(Admin::Done {})
            }
            AdminAsk::Close(room) => {
                let (id, _) = self.room(office, &room)?;
                info!(app = office.app, %room, %by, "closed");
                self.at(now, id, |stage, at, _| stage.room.close(at, Code::RoomClosed));
                self.sweep(id);
                Ok(Admin::Done {})
            }
        }
    }

    /// A room that is there and may be administered.
    fn room(&self, office: &Office, room: &RoomName) -> Result<(super::StageId, &Stage), Code> {
        if office.room.as_ref().is_some_and(|only| only != room) {
            return Err(Code::RoomInvalid);
        }
        let place: Place = (office.app.clone(), room.clone());
        let id = *self.rooms.get(&place).ok_or(Code::RoomUnknown)?;
        Ok((id, self.stages.get(&id).ok_or(Code::RoomUnknown)?))
    }
}

fn line(stage: &Stage) -> RoomLine {
    let (people, streams) = stage.room.contents();
    RoomLine { room: stage.place.1.clone(), people, streams: streams.count() }
}
