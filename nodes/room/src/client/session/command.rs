//! `Command`: what a program asks of its participant.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Publish;
use crate::protocol::{Kind, Mute, Play, StreamId, UserName};

/// What a program asks of its participant.
#[derive(Clone, PartialEq)]
pub enum Command {
    /// To publish a stream.
    Publish(Publish),
    /// To end a stream of its own.
    Unpublish(StreamId),
    /// To play another's stream, now and whenever it is there.
    Play(Play),
    /// To play another's stream no more, now and whenever it is there.
    Stop(StreamId),
    /// To hold back a stream of its own, or to go on with it.
    Mute(Mute),
    /// Not to play what others let hear, or see, or to play it again, as before.
    MuteRemote(MuteRemote),
    /// To go on with another token.
    Renew(String),
    /// To leave.
    Leave,
}

/// Whether others' streams of a kind are kept from being played, whatever is wished of
/// each. For others there is no difference: it is not their streams that are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MuteRemote {
    /// Whose; none for everyone's, now and from now on.
    pub user: Option<UserName>,
    /// Of which kind.
    pub kind: Kind,
    /// Whether they are.
    pub muted: bool,
}

impl fmt::Display for Command {
    /// Without the token, which nobody else is to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(Publish { stream, .. }) => write!(f, "publish {stream}"),
            Self::Unpublish(stream) => write!(f, "unpublish {stream}"),
            Self::Play(Play { stream, quality }) => write!(f, "play {stream} ({quality:?})"),
            Self::Stop(stream) => write!(f, "stop {stream}"),
            Self::Mute(Mute { stream, muted: true }) => write!(f, "mute {stream}"),
            Self::Mute(Mute { stream, muted: false }) => write!(f, "unmute {stream}"),
            Self::MuteRemote(MuteRemote { user, kind, muted }) => {
                let what = match kind {
                    Kind::Audio => "hear",
                    Kind::Video => "see",
                };
                let not = if *muted { "not " } else { "" };
                let user = user.as_ref().map_or("everyone", UserName::as_str);
                write!(f, "{not}{what} {user}")
            }
            Self::Renew(_) => f.write_str("renew the token"),
            Self::Leave => f.write_str("leave"),
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
