//! `Replay`: the latest events of a room, for participants who were away.

use std::collections::VecDeque;
use std::io;

use crate::protocol::News;

/// Tells participants of a room apart; never used again by that room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PersonId(pub u32);

/// The latest events of a room.
#[derive(Debug)]
pub struct Replay {
    events: VecDeque<Past>,
    /// The number of the last event.
    seq: u64,
    /// How many are kept.
    most: usize,
    /// Bytes that they take as messages.
    bytes: usize,
}

/// Bytes that events take at most that are kept.
const MOST_BYTES: usize = 256 << 10;

#[derive(Debug)]
struct Past {
    seq: u64,
    news: News,
    /// Who is not told, since it is their own doing.
    but: Option<PersonId>,
    /// Bytes that it takes as a message.
    bytes: usize,
}

impl Replay {
    /// Of a room in which nothing has happened; `most` events are kept.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { events: VecDeque::new(), seq: 0, most, bytes: 0 }
    }

    /// The number of the last event; 0 before the first.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.events.len()
    }

    /// Keeps an event, which everyone but `but` is told; gives its number.
    pub fn push(&mut self, news: News, but: Option<PersonId>) -> u64 {
        self.seq += 1;
        let bytes = length(&news);
        self.bytes += bytes;
        self.events.push_back(Past { seq: self.seq, news, but, bytes });
        while self.events.len() > self.most || self.bytes > MOST_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
        self.seq
    }

    /// What happened since event `after`, for `who`; nothing where some of that is
    /// forgotten, or `after` is yet to come.
    pub fn since(&self, after: u64, who: PersonId) -> Option<impl Iterator<Item = (u64, &News)>> {
        let kept_after = self.seq - self.events.len() as u64;
        let missed = self.events.iter().filter(move |past| past.seq > after && past.but != Some(who));
        (kept_after..=self.seq).contains(&after).then(|| missed.map(|past| (past.seq, &past.news)))
    }
}

/// Bytes that an event takes as a message.
fn length(news: &News) -> usize {
    /// Counts what is written to it.
    struct Length(usize);

    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut length = Length(0);
    // It has names, numbers and texts alone, and counting does not fail.
    let _ = serde_json::to_writer(&mut length, news);
    length.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::UserName;

    fn joined(user: &str) -> News {
        News::UserJoined { user: UserName::new(user).expect("a name") }
    }

    #[test]
    fn events_are_told_again_from_where_one_was_or_not_at_all() {
        let mut replay = Replay::new(3);
        let numbers: Vec<_> = ["a", "b", "c", "d"]
            .iter()
            .zip(0..)
            .map(|(user, id)| replay.push(joined(user), Some(PersonId(id))))
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        let seen = |after, who| {
            replay.since(after, PersonId(who)).map(|missed| missed.map(|(seq, _)| seq).collect::<Vec<_>>())
        };
        assert_eq!(seen(0, 9), None, "the first is forgotten");
        assert_eq!(seen(1, 9), Some(vec![2, 3, 4]));
        assert_eq!(seen(1, 2), Some(vec![2, 4]), "not one's own");
        assert_eq!(seen(4, 9), Some(vec![]));
        assert_eq!(seen(5, 9), None, "that is yet to come");
    }

    #[test]
    fn long_events_are_forgotten_sooner() {
        let mut replay = Replay::new(10_000);
        let name = "n".repeat(64);
        // {"t":"user_joined","user":"…"}
        let each = 29 + 64;
        assert_eq!(length(&joined(&name)), each);
        for _ in 0..3_000 {
            replay.push(joined(&name), None);
        }
        assert_eq!(replay.kept(), MOST_BYTES / each);
        assert!(replay.since(2_999, PersonId(0)).is_some_and(|missed| missed.count() == 1));
    }
}
