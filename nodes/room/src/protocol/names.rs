//! `RoomName`, `UserName`, `StreamId`: names as peers may give them.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is no name of its sort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {rule}")]
pub struct WrongName {
    what: &'static str,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text as such a name. \[any\]
            ///
            /// # Errors
            /// What it must be.
            pub fn new(text: &str) -> Result<Self, WrongName> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) { Ok(Self(text.into())) } else { Err(WrongName { what: $what, rule: $rule }) }
            }

            /// The text. \[any\]
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = WrongName;

            fn try_from(text: String) -> Result<Self, WrongName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }

        impl From<$name> for Arc<str> {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a room.
    RoomName,
    "a room's name",
    "must be 1 to 64 letters, digits, \"-\", \"_\" and \".\"",
    |text| {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        (1..=64).contains(&text.chars().take(65).count()) && text.chars().all(fits)
    }
);

name!(
    /// The name of a user, which others see and of which there is one in a room.
    UserName,
    "a user's name",
    "must be 1 to 64 characters on one line, at most 255 bytes",
    crate::rtcp::is_name
);

name!(
    /// What tells a stream from all others in its room: by convention
    /// `USER/SOURCE`, such as `alice/camera`.
    StreamId,
    "a stream's id",
    "must be 3 to 128 bytes: a user's name, a slash, and letters, digits, \"-\", \"_\", \".\" and \"/\"",
    |text| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        let is_own = |(user, rest): (&str, &str)| {
            crate::rtcp::is_name(user) && !rest.is_empty() && rest.chars().all(fits)
        };
        text.len() <= 128 && text.split_once('/').is_some_and(is_own)
    }
);

impl StreamId {
    /// Whose it is: only they may publish it. \[any\]
    #[must_use]
    pub fn user(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(user, _)| user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_wherever_they_come_from() {
        let long = "x".repeat(65);
        for wrong in ["", "a b", "a/b", "é\n", &long, &"x".repeat(1 << 20)] {
            assert!(RoomName::new(wrong).is_err(), "{}", wrong.len());
        }
        assert!(RoomName::new(&"é".repeat(64)).is_ok());
        for wrong in ["", "a\nb", &long] {
            assert!(UserName::new(wrong).is_err());
        }
        for wrong in ["", "alice", "alice/", "/camera", "alice/ca mera", &format!("a/{}", "x".repeat(127))] {
            assert!(StreamId::new(wrong).is_err(), "{wrong}");
        }
        let stream = StreamId::new("Alice B./screen/2").expect("an id");
        assert_eq!(stream.user(), "Alice B.");
        let read: Result<UserName, _> = serde_json::from_str("\"a\\nb\"");
        assert_eq!(
            read.unwrap_err().to_string(),
            "a user's name must be 1 to 64 characters on one line, at most 255 bytes"
        );
    }
}
