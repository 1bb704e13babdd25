//! Messages: `Request` from participants, `Told` from the server.
//!
//! Fields that a side does not know are let be, so that both may learn more; what
//! is missing or out of bounds makes the message bad.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Code, Retry, RoomName, StreamId, UserName};

/// What a stream is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A microphone.
    Microphone,
    /// A camera.
    Camera,
    /// A screen or a window.
    Screen,
    /// What a screen's programs let hear.
    ScreenAudio,
}

/// Sound or pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 4] = [Self::Microphone, Self::Camera, Self::Screen, Self::ScreenAudio];

    /// Whether it is heard or seen. \[any\]
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Microphone | Self::ScreenAudio => Kind::Audio,
            Self::Camera | Self::Screen => Kind::Video,
        }
    }

    /// The word of the protocol: "screen_audio". \[any\]
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Microphone => "microphone",
            Self::Camera => "camera",
            Self::Screen => "screen",
            Self::ScreenAudio => "screen_audio",
        }
    }
}

// ---------------------------------------------------------------------------
// From participants

/// A message of a participant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// The participant's own number of it, which the reply repeats; counts up.
    pub n: u32,
    /// What it asks.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What a participant asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Ask {
    /// To be let in: the first message. Answered by `joined`, `resumed` or `failed`.
    Join(Join),
    /// What it sends and has room for, as a WebRTC offer. Answered by `answer`.
    Offer(Offer),
    /// One more address of its own. Not answered.
    Candidate(Candidate),
    /// To end a stream of its own. Answered by `ok`.
    Unpublish {
        /// Which.
        stream: StreamId,
    },
    /// To play another's stream, or to play it otherwise. Answered by `ok`.
    Play(Play),
    /// To play a stream no more. Answered by `ok`.
    Stop {
        /// Which.
        stream: StreamId,
    },
    /// To hold back a stream of its own, or to go on with it. Answered by `ok`.
    Mute(Mute),
    /// To go on with another token. Answered by `ok`.
    Renew {
        /// The token.
        token: String,
    },
    /// How well streams came. Not answered.
    Received {
        /// What of it, since the message before.
        streams: Vec<Receive>,
        /// How long the last ping took to be answered, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rtt_ms: Option<u32>,
    },
    /// Whether the server is there. Answered by `pong`.
    Ping {
        /// The participant's own time, in milliseconds, which the answer repeats.
        at: u64,
    },
    /// That events have come. Not answered.
    Ack {
        /// The last of them.
        seq: u64,
    },
    /// To leave. The server closes the connection.
    Leave,
}

/// A wish to be let in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Join {
    /// The version of the protocol that it speaks.
    pub v: u32,
    /// What says that it may.
    pub token: String,
    /// Whether all streams are to be played without being asked for.
    #[serde(default = "yes")]
    pub auto_play: bool,
    /// The program that it is.
    pub client: Client,
    /// The session that it goes on with, if it had one. Where that is over, it is
    /// let in anew by this very message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

const fn yes() -> bool {
    true
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A session to go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resume {
    /// Which.
    pub session: String,
    /// What says that it is the participant's own.
    pub secret: String,
    /// The last event that came.
    pub after: u64,
}

/// What a participant sends and has room for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Offer {
    /// Which offer of the session it is: counts up, so that late answers are known.
    pub g: u32,
    /// The offer (RFC 8866, RFC 9429), all media in one bundle.
    pub sdp: String,
    /// What its media sections send; streams that are not among them end.
    pub send: Vec<Send>,
    /// Which of them are room for others' streams.
    pub recv: Vec<SlotOf>,
}

/// The longest name of a media section, and of a size, in bytes: longer ones do not fit
/// into the RTP header extensions that say them (RFC 8285 § 4.2).
const MOST_NAME: usize = 16;

impl Offer {
    /// Whether its names are such as RTP can carry, and no section has room for two
    /// streams. \[any\]
    #[must_use]
    pub fn has_names_that_fit(&self) -> bool {
        let is_name = |name: &str| (1..=MOST_NAME).contains(&name.len()) && name.is_ascii();
        let layers = self.send.iter().flat_map(|send| &send.layers);
        self.send.iter().all(|send| is_name(&send.mid))
            && layers.into_iter().all(|layer| is_name(&layer.rid))
            && self.recv.iter().enumerate().all(|(at, slot)| {
                is_name(&slot.mid) && self.recv[..at].iter().all(|other| other.mid != slot.mid)
            })
    }
}

/// A stream that a participant sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Send {
    /// The media section, by its `a=mid`.
    pub mid: String,
    /// The stream's id, which nobody else in the room has.
    pub stream: StreamId,
    /// What it is of.
    pub source: Source,
    /// Whether it is held back for now.
    #[serde(default)]
    pub muted: bool,
    /// Sizes in which it is sent at once (simulcast), the least first; none for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// A size in which a stream is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Layer {
    /// Its restriction id (RFC 8851).
    pub rid: String,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bits per second at most.
    pub max_bps: u32,
}

/// Room for a stream of others: a media section that only receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotOf {
    /// The media section, by its `a=mid`.
    pub mid: String,
    /// What it takes.
    pub kind: Kind,
}

/// An address where a participant can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// For which offer.
    pub g: u32,
    /// `candidate:…` (RFC 8839 § 5.1); empty after the last.
    pub candidate: String,
}

/// How a stream is to be played.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Play {
    /// Which.
    pub stream: StreamId,
    /// How well, at best.
    #[serde(default)]
    pub quality: Wish,
}

/// How well a stream is to be played, at best: of streams that are sent in several
/// sizes the server takes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// The least size.
    Low,
    /// The size in the middle.
    Mid,
    /// The greatest that the connection carries.
    #[default]
    High,
}

/// Whether a stream is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mute {
    /// Which.
    pub stream: StreamId,
    /// Whether it is.
    pub muted: bool,
}

/// How well a stream came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receive {
    /// The stream's number.
    pub no: u32,
    /// Packets that were to come.
    pub expected: u32,
    /// Of them those that did not.
    pub lost: u32,
    /// Jitter (RFC 3550 § 6.4.1), in milliseconds.
    pub jitter_ms: f64,
}

// ---------------------------------------------------------------------------
// From the server

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Told {
    /// The participant is in.
    Joined(Box<Joined>),
    /// The participant goes on with its session: the events that it missed follow.
    Resumed {
        /// The request that this answers.
        re: u32,
        /// What says next time that the session is its own.
        secret: String,
        /// Whether its media go on where they are, so that an ICE restart is enough.
        media_kept: bool,
    },
    /// The participant is not in, or no more; the server closes the connection.
    Failed {
        /// The request that this answers, if it answers one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        re: Option<u32>,
        /// Why.
        code: Code,
        /// Its number.
        number: u16,
        /// The same for people.
        text: String,
        /// Whether asking again may help.
        retry: Retry,
    },
    /// The answer to an offer.
    Answer {
        /// The request that this answers.
        re: u32,
        /// Which offer of the session.
        g: u32,
        /// The answer.
        sdp: String,
    },
    /// It was done.
    Ok {
        /// The request that this answers.
        re: u32,
        /// Of `renew`: in how many seconds the token expires.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_s: Option<u64>,
    },
    /// It was not done; all else goes on.
    Error {
        /// The request that this answers.
        re: u32,
        /// Why.
        code: Code,
        /// Its number.
        number: u16,
        /// The same for people.
        text: String,
    },
    /// Something happened in the room. Events come in order, and after a break those
    /// that were missed come first.
    Event {
        /// Its number, greater than that of every event before.
        seq: u64,
        /// What.
        e: News,
    },
    /// Who is in the room, after so long a break that events were forgotten: all that
    /// is not in this list is gone.
    Roster {
        /// The number of the last event of which this tells.
        seq: u64,
        /// Everyone, the participant too: what it publishes may have been ended or muted.
        people: Vec<Person>,
    },
    /// What feeds the room for others' streams from now on.
    Slots {
        /// For which offer.
        g: u32,
        /// Of each media section that is fed: its `a=mid` and the stream's number, which
        /// is the first CSRC of its packets, too.
        slots: Vec<Slot>,
    },
    /// How loud everyone is.
    Volumes {
        /// Those who are not silent.
        list: Vec<Volume>,
        /// Who is speaking, in a discussion's sense.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        active: Option<UserName>,
    },
    /// How well everyone's network does.
    Quality {
        /// Of each.
        list: Vec<QualityOf>,
    },
    /// What is wanted of a stream of the participant's own.
    Limit {
        /// Which.
        stream: StreamId,
        /// Bits per second that those who play it can take, all layers together.
        bps: u32,
        /// Layers that somebody plays, by `rid`; empty of one without layers.
        layers: Vec<String>,
    },
    /// What became of a stream that is to be played.
    Playing {
        /// Which.
        stream: StreamId,
        /// Where it stands.
        state: PlayState,
        /// Why, where it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
    },
    /// The token expires soon.
    Expiring {
        /// In how many seconds.
        in_s: u64,
    },
    /// The server shuts down soon.
    Closing {
        /// In how many seconds at most.
        in_s: u64,
    },
    /// No media come through: another offer may help.
    MediaFailed {
        /// Which offer's.
        g: u32,
    },
    /// The server is there.
    Pong {
        /// The request that this answers.
        re: u32,
        /// As asked.
        at: u64,
    },
}

/// What a participant learns who is let in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// The request that this answers.
    pub re: u32,
    /// The version of the protocol that the server speaks.
    pub v: u32,
    /// The session that begins.
    pub session: String,
    /// What says after a break that the session is the participant's own.
    pub secret: String,
    /// Whether this stands in the place of a session that is over.
    pub again: bool,
    /// The room.
    pub room: RoomName,
    /// The participant's own name.
    pub user: UserName,
    /// The number of the last event before.
    pub seq: u64,
    /// Everyone else who is there.
    pub people: Vec<Person>,
    /// Milliseconds for which the session outlives a break.
    pub grace_ms: u32,
    /// Milliseconds between pings.
    pub ping_ms: u32,
    /// Where the server takes media, as `IP:PORT`.
    pub udp: Vec<String>,
    /// What it allows.
    pub limits: Limits,
}

/// What a server allows a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Streams of its own.
    pub streams: u32,
    /// Room for others' streams of sound.
    pub audio_slots: u32,
    /// Room for others' streams of pictures.
    pub video_slots: u32,
}

/// Somebody in the room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// Who.
    pub user: UserName,
    /// What they publish.
    pub streams: Vec<StreamInfo>,
}

/// A stream in the room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamInfo {
    /// Its id.
    pub id: StreamId,
    /// Its number, for as long as it is there: the first CSRC of its packets.
    pub no: u32,
    /// What it is of.
    pub source: Source,
    /// The codec, as SDP has it, in lower case.
    pub codec: String,
    /// Whether it is held back.
    pub muted: bool,
    /// Sizes in which it is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// What happened in a room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum News {
    /// Somebody joined.
    UserJoined {
        /// Who.
        user: UserName,
    },
    /// Somebody left; their streams had been removed before.
    UserLeft {
        /// Who.
        user: UserName,
        /// Why.
        reason: Left,
    },
    /// A stream came.
    StreamAdded {
        /// Which.
        stream: StreamInfo,
    },
    /// A stream is over.
    StreamRemoved {
        /// Which.
        stream: StreamId,
        /// Why.
        reason: Removed,
    },
    /// A stream is held back, or goes on.
    StreamMuted {
        /// Which.
        stream: StreamId,
        /// Whether it is held back.
        muted: bool,
    },
}

/// Why somebody left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// By choice.
    Left,
    /// Nothing came from them for longer than the grace.
    TimedOut,
    /// Somebody who may do so put them out.
    Kicked,
    /// They stay, unseen.
    Hidden,
    /// They joined again elsewhere.
    Replaced,
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Removed {
    /// Its user ended it.
    Unpublished,
    /// Its user left.
    PublisherLeft,
    /// Its user's token does not allow it any more.
    NotPermitted,
}

/// A stream in the room for others' streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    /// The media section, by its `a=mid`.
    pub mid: String,
    /// The stream's number.
    pub no: u32,
}

/// How loud somebody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Volume {
    /// Who.
    pub user: UserName,
    /// 0 (−60 dBov and less) to 100 (0 dBov).
    #[schemars(range(max = 100))]
    pub level: u8,
}

/// Where a stream stands that is to be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlayState {
    /// Its next key frame is waited for.
    Waiting,
    /// Its packets come.
    Playing,
    /// The connection does not carry it for now.
    Paused,
    /// There is no room for it: more streams are wanted than the offer has room for.
    NoSlot,
    /// It cannot be played.
    Failed,
    /// It is not to be played any more.
    Stopped,
}

/// How well a network does; docs/protocol.md has the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Not known yet.
    Unknown,
    /// Nothing is heard or seen of it.
    Excellent,
    /// Little.
    Good,
    /// Some.
    Poor,
    /// A talk is hard.
    Bad,
    /// Hardly a talk.
    VeryBad,
    /// Nothing comes through.
    Down,
}

/// How well somebody's network does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QualityOf {
    /// Who.
    pub user: UserName,
    /// From them to the server.
    pub up: Quality,
    /// From the server to them.
    pub down: Quality,
}

#[cfg(test)]
mod tests;
