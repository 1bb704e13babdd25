//! `Code`: what a room answers where it does not do what was asked, and why a
//! participant's session ends.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether asking again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// No: what was asked is refused for good.
    Never,
    /// Yes, after a while.
    Later,
    /// Yes, with another token.
    Token,
    /// Yes, at once, from the beginning.
    Anew,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $retry:ident, $text:literal;)*) => {
        /// Why something was not done, or a session ended. Numbers and words stay
        /// what they are in all versions of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Code {
            $(#[doc = $text] $(#[$doc])* $name = $number,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Whether asking again may help. \[any\]
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self {
                    $(Self::$name => Retry::$retry,)*
                }
            }

            /// What it says to people. \[any\]
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    TokenInvalid = 1, Token, "the token is not one of this server's";
    TokenExpired = 2, Token, "the token has expired";
    AppInvalid = 3, Never, "the token is of an application that this server does not know";
    RoomInvalid = 4, Never, "the room's name is none, or the token is for another room";
    UserInvalid = 5, Never, "the user's name is none";
    TimedOut = 6, Later, "nothing came for too long";
    RoomFull = 7, Later, "the room is full";
    Banned = 8, Never, "this user may not enter this room";
    ShuttingDown = 9, Later, "the server is shutting down";
    /// Told to the login before: "kicked offline".
    DuplicateIdentity = 10, Never, "the same user joined again elsewhere";
    Kicked = 11, Never, "somebody who may do so put this user out";
    RoomClosed = 12, Never, "the room was closed";
    NotPermittedJoin = 13, Never, "the token does not allow to join";
    NotPermittedPublish = 14, Never, "the token does not allow to publish this";
    NotPermittedSubscribe = 15, Never, "the token does not allow to play others' streams";
    StreamExists = 16, Never, "there is such a stream already";
    StreamUnknown = 17, Never, "there is no such stream in this room";
    TooManyStreams = 18, Never, "that are more streams than this server allows";
    TooManyRequests = 19, Later, "that was asked too often";
    BadMessage = 20, Never, "the message is not one of the protocol's";
    UnknownMessage = 21, Never, "there is no such message";
    TooLarge = 22, Never, "the message is too long";
    Version = 23, Never, "the server does not speak this version of the protocol";
    BadSdp = 24, Never, "the session description cannot be used";
    Codec = 25, Never, "the two sides have no codec in common";
    MediaFailed = 26, Later, "no media came through";
    SessionUnknown = 27, Anew, "the session is over, or somebody else's";
    RenewedTokenInvalid = 28, Token, "the new token is not for this user, room and application";
    /// Told by a client to its program alone.
    RetriesExhausted = 29, Never, "it was tried as often as allowed";
    Internal = 30, Later, "the server failed; this is a defect in it";
    /// Told to administrators, by HTTP; as the next two.
    NotPermittedAdmin = 31, Never, "the token does not allow to administer rooms";
    RoomUnknown = 32, Never, "there is no such room";
    UserUnknown = 33, Never, "there is no such user in this room";
}

impl Code {
    /// Its number. \[any\]
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code of a WebSocket's close frame that says it (RFC 6455 § 7.4.2: 4000 to
    /// 4999 are for private use). \[any\]
    #[must_use]
    pub const fn close_code(self) -> u16 {
        4_000 + self.number()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_on_without_a_gap_and_words_are_the_protocols() {
        for (place, code) in Code::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.number()), place + 1, "{code:?}");
        }
        let word = serde_json::to_string(&Code::DuplicateIdentity).expect("JSON");
        assert_eq!((word.as_str(), Code::DuplicateIdentity.close_code()), ("\"duplicate_identity\"", 4_010));
    }
}
