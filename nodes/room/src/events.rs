//! `RoomEvent`: what a participant's program sees of its room.

use std::{fmt, io};

use serde::Serialize;

use crate::protocol::{
    Code, Left, PlayState, QualityOf, Removed, Source, StreamId, StreamInfo, UserName, Volume,
};
use crate::statistics::Statistics;

/// What happened in the room that a participant is in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomEvent {
    /// Where the participant itself stands.
    State(RoomState),
    /// Who is there at joining, the first time and again; everyone who was not known to
    /// be there, and their streams, are told of right after.
    Users {
        /// Who.
        users: Vec<UserName>,
    },
    /// Somebody is there.
    UserJoined {
        /// Who.
        user: UserName,
    },
    /// Somebody is there no more; their streams were removed before.
    UserLeft {
        /// Who.
        user: UserName,
        /// Why; none where they left while this participant was away.
        reason: Option<Left>,
    },
    /// A stream is there.
    StreamAdded {
        /// Which, and what it is like.
        stream: StreamInfo,
    },
    /// A stream is there no more.
    StreamRemoved {
        /// Which.
        stream: StreamId,
        /// Why; none where it ended while this participant was away.
        reason: Option<Removed>,
    },
    /// A stream is held back, or goes on; one of its own, too, by an administrator.
    StreamMuted {
        /// Which.
        stream: StreamId,
        /// Whether it is held back.
        muted: bool,
    },
    /// What became of a stream of its own.
    Published {
        /// Which.
        stream: StreamId,
        /// Where it stands.
        state: PublishState,
        /// Why, where it failed.
        code: Option<Code>,
    },
    /// What became of another's stream that is to be played.
    Playing {
        /// Which.
        stream: StreamId,
        /// Where it stands.
        state: PlayState,
        /// Why, where it failed.
        code: Option<Code>,
    },
    /// The first frame of another's stream came.
    FirstFrame {
        /// Which.
        stream: StreamId,
        /// Milliseconds since the participant joined.
        since_join_ms: u64,
    },
    /// How loud everyone is who is not silent, at an interval of the server's.
    Volumes {
        /// Of each.
        list: Vec<Volume>,
    },
    /// Somebody else is speaking now, in a discussion's sense.
    ActiveSpeaker {
        /// Who; none where nobody is.
        user: Option<UserName>,
    },
    /// How well everyone's network does.
    Quality {
        /// Of each.
        list: Vec<QualityOf>,
    },
    /// How its own media do, every two seconds.
    Statistics {
        /// Milliseconds since it joined for the first time, breaks included.
        call_ms: u64,
        /// Of each stream, and of the way to the server.
        list: Vec<Statistics>,
    },
    /// What feeds a stream of its own cannot: see [`DeviceCode`].
    Device {
        /// Which.
        source: Source,
        /// Why.
        code: DeviceCode,
        /// The same for people.
        why: String,
    },
    /// The token expires soon.
    TokenExpiring {
        /// In how many seconds.
        in_s: u64,
    },
    /// Another token is wanted: the present one does not hold.
    TokenWanted {
        /// Why.
        code: Code,
    },
    /// The server took another token.
    TokenRenewed {
        /// In how many seconds that expires.
        expires_s: u64,
    },
    /// What is wanted of a stream of its own.
    Limit {
        /// Which.
        stream: StreamId,
        /// Bits per second that those who play it can take, all layers together.
        bps: u32,
        /// Layers that somebody plays; none of a stream without layers.
        layers: Vec<String>,
    },
    /// The server shuts down soon.
    Closing {
        /// In how many seconds at most.
        in_s: u64,
    },
    /// The server could not be reached, or the connection to it broke; it is tried again.
    ConnectionLost {
        /// Why, as the system has it.
        why: String,
    },
    /// No media come through; it is tried again.
    MediaFailed {
        /// Why.
        code: Code,
    },
}

/// Where a participant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomState {
    /// In the room.
    Joined {
        /// In which way.
        entry: Entry,
        /// Milliseconds that it took: since it was asked, or since the connection broke.
        took_ms: u64,
    },
    /// Not let in for now; it is tried again.
    Refused {
        /// Why.
        code: Code,
    },
    /// The connection broke; it is tried again.
    Reconnecting,
    /// The connection has been broken for so long that others saw a leave; it is tried
    /// again.
    Disconnected,
    /// Out of the room, by choice.
    Left {
        /// Milliseconds since it joined for the first time.
        call_ms: u64,
    },
    /// Out of the room, for good.
    Failed {
        /// Why.
        code: Code,
        /// Milliseconds since it joined for the first time; 0 if it never did.
        call_ms: u64,
    },
}

/// How a participant came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// For the first time.
    First,
    /// After a break that nobody else saw: all goes on as it was.
    Resumed,
    /// After a break that others saw as a leave: what was published is published anew.
    Again,
}

/// What is wrong with a camera, a microphone or a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceCode {
    /// It did not start, or stopped by itself.
    Failed,
    /// This program may not use it.
    NotPermitted,
    /// Another program uses it.
    Busy,
}

impl DeviceCode {
    /// Of what the system said. \[any\]
    #[must_use]
    pub const fn of(refused: Option<io::ErrorKind>) -> Self {
        match refused {
            Some(io::ErrorKind::PermissionDenied) => Self::NotPermitted,
            Some(io::ErrorKind::ResourceBusy | io::ErrorKind::AddrInUse) => Self::Busy,
            _ => Self::Failed,
        }
    }
}

/// Where a stream of a participant's own stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishState {
    /// It was asked for, or is asked for again after a break.
    Publishing,
    /// Others can play it.
    Published,
    /// It was ended, as asked.
    Ended,
    /// It was refused, or ended by the server.
    Failed,
}

impl RoomEvent {
    /// Whether it only tells how things stand by now, as others like it do again and
    /// again: a program that is behind can do without it. \[any\]
    #[must_use]
    pub const fn is_periodic(&self) -> bool {
        matches!(
            self,
            Self::Volumes { .. } | Self::Quality { .. } | Self::Limit { .. } | Self::Statistics { .. }
        )
    }
}

impl fmt::Display for RoomEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => state.fmt(f),
            Self::Users { users } if users.is_empty() => f.write_str("nobody else is there"),
            Self::Users { users } => write!(f, "there are {}", list(users)),
            Self::UserJoined { user } => write!(f, "{user} joined"),
            Self::UserLeft { user, reason } => {
                write!(f, "{user} left")?;
                because(f, reason.map(word))
            }
            Self::StreamAdded { stream } => {
                let muted = if stream.muted { ", muted" } else { "" };
                write!(f, "{} is there, {} as {}{muted}", stream.id, stream.source.word(), stream.codec)
            }
            Self::StreamRemoved { stream, reason } => {
                write!(f, "{stream} is over")?;
                because(f, reason.map(word))
            }
            Self::StreamMuted { stream, muted: true } => write!(f, "{stream} is muted"),
            Self::StreamMuted { stream, muted: false } => write!(f, "{stream} is unmuted"),
            Self::Published { stream, state, code } => {
                write!(f, "publishing {stream}: {}", word(state))?;
                because(f, *code)
            }
            Self::Playing { stream, state, code } => {
                write!(f, "playing {stream}: {}", word(state))?;
                because(f, *code)
            }
            Self::FirstFrame { stream, since_join_ms } => {
                write!(f, "the first frame of {stream} came {since_join_ms} ms after joining")
            }
            Self::Volumes { list: volumes } => {
                let volumes = volumes.iter().map(|volume| format!("{} {}", volume.user, volume.level));
                write!(f, "volumes: {}", list(volumes))
            }
            Self::ActiveSpeaker { user: Some(user) } => write!(f, "{user} is speaking"),
            Self::ActiveSpeaker { user: None } => f.write_str("nobody is speaking"),
            Self::Quality { list: qualities } => {
                let qualities = qualities.iter().map(|quality| {
                    format!("{} {} up, {} down", quality.user, word(quality.up), word(quality.down))
                });
                write!(f, "networks: {}", list(qualities))
            }
            Self::Statistics { call_ms, list } => {
                write!(f, "in the call for {call_ms} ms, statistics of {} objects", list.len())
            }
            Self::Device { source, code, why } => {
                write!(f, "the {} {}: {why}", source.word().replace('_', " "), word(code))
            }
            Self::TokenExpiring { in_s } => write!(f, "the token expires in {in_s} s"),
            Self::TokenWanted { code } => write!(f, "another token is wanted: {code}"),
            Self::TokenRenewed { expires_s } => write!(f, "the new token expires in {expires_s} s"),
            Self::Limit { stream, bps, layers } if layers.is_empty() => {
                write!(f, "{stream}: {bps} bit/s are wanted")
            }
            Self::Limit { stream, bps, layers } => {
                write!(f, "{stream}: {bps} bit/s are wanted, layers {}", list(layers))
            }
            Self::Closing { in_s } => write!(f, "the server shuts down in {in_s} s"),
            Self::ConnectionLost { why } => write!(f, "no connection to the server: {why}"),
            Self::MediaFailed { code } => write!(f, "media failed: {code}"),
        }
    }
}

impl fmt::Display for RoomState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined { entry: Entry::First, took_ms } => write!(f, "joined after {took_ms} ms"),
            Self::Joined { entry: Entry::Resumed, took_ms } => write!(f, "back after {took_ms} ms"),
            Self::Joined { entry: Entry::Again, took_ms } => write!(f, "joined again after {took_ms} ms"),
            Self::Refused { code } => write!(f, "not let in for now: {code}"),
            Self::Reconnecting => f.write_str("reconnecting"),
            Self::Disconnected => f.write_str("disconnected"),
            Self::Left { call_ms: 0 } => f.write_str("left"),
            Self::Left { call_ms } => write!(f, "left after a call of {call_ms} ms"),
            Self::Failed { code, .. } => write!(f, "failed: {code}"),
        }
    }
}

/// The protocol's word for it, for people: "timed out".
fn word(of: impl Serialize) -> String {
    let word = serde_json::to_value(of).unwrap_or_default();
    word.as_str().unwrap_or_default().replace('_', " ")
}

fn list(of: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let of: Vec<_> = of.into_iter().map(|one| one.to_string()).collect();
    of.join(", ")
}

fn because(f: &mut fmt::Formatter<'_>, why: Option<impl fmt::Display>) -> fmt::Result {
    why.map_or(Ok(()), |why| write!(f, " ({why})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Quality;

    #[test]
    fn events_read_as_sentences_and_as_json() {
        let user = UserName::new("bob").expect("a name");
        let id = StreamId::new("bob/camera").expect("an id");
        let stream = StreamInfo {
            id: id.clone(),
            no: 3,
            source: Source::Camera,
            codec: "av1".into(),
            muted: true,
            layers: Vec::new(),
        };
        let quality = QualityOf { user: user.clone(), up: Quality::VeryBad, down: Quality::Excellent };
        let table = [
            (RoomEvent::StreamAdded { stream }, "bob/camera is there, camera as av1, muted"),
            (
                RoomEvent::UserLeft { user: user.clone(), reason: Some(Left::TimedOut) },
                "bob left (timed out)",
            ),
            (RoomEvent::UserLeft { user: user.clone(), reason: None }, "bob left"),
            (
                RoomEvent::State(RoomState::Joined { entry: Entry::Again, took_ms: 41_200 }),
                "joined again after 41200 ms",
            ),
            (
                RoomEvent::Published {
                    stream: id,
                    state: PublishState::Failed,
                    code: Some(Code::NotPermittedPublish),
                },
                "publishing bob/camera: failed (the token does not allow to publish this)",
            ),
            (RoomEvent::Quality { list: vec![quality] }, "networks: bob very bad up, excellent down"),
            (RoomEvent::Volumes { list: vec![Volume { user, level: 61 }] }, "volumes: bob 61"),
            (RoomEvent::Users { users: Vec::new() }, "nobody else is there"),
        ];
        for (event, text) in table {
            assert_eq!(event.to_string(), text);
        }
        let json =
            serde_json::to_string(&RoomEvent::State(RoomState::Failed { code: Code::Kicked, call_ms: 7 }));
        assert_eq!(json.expect("JSON"), r#"{"state":{"failed":{"code":"kicked","call_ms":7}}}"#);
    }
}
