//! `Claims`: what a token says of who has it, once it was checked.

use sidetone_core::Timestamp;

use crate::protocol::{Source, UserName};

/// What a token allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// To be let in.
    pub join: bool,
    /// What may be published.
    pub publish: Vec<Source>,
    /// To play others' streams.
    pub subscribe: bool,
    /// Nobody sees who has it; they publish nothing.
    pub hidden: bool,
    /// To put others out and to close the room.
    pub admin: bool,
}

impl Grants {
    /// Whether streams of `source` may be published. \[any\]
    #[must_use]
    pub fn may_publish(&self, source: Source) -> bool {
        !self.hidden && self.publish.contains(&source)
    }
}

/// What a token says, once it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose it is.
    pub user: UserName,
    /// Until when it holds.
    pub until: Timestamp,
    /// What it allows.
    pub grants: Grants,
}
