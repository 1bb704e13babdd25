//! `Roster`: who else is in the room and what they publish, as one participant knows it.

use std::collections::BTreeMap;

use crate::events::RoomEvent;
use crate::protocol::{News, Person, StreamId, StreamInfo, UserName};

/// Who else is there.
#[derive(Debug, Default)]
pub struct Roster {
    people: BTreeMap<UserName, Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    stream: StreamInfo,
    /// Whether a frame of it has come.
    seen: bool,
}

impl Roster {
    /// Everyone else. \[any\]
    pub fn users(&self) -> impl Iterator<Item = &UserName> {
        self.people.keys()
    }

    /// All their streams. \[any\]
    pub fn streams(&self) -> impl Iterator<Item = &StreamInfo> {
        self.people.values().flatten().map(|known| &known.stream)
    }

    /// The stream of this number. \[any\]
    #[must_use]
    pub fn stream(&self, no: u32) -> Option<&StreamInfo> {
        self.streams().find(|stream| stream.no == no)
    }

    /// Something happened to somebody else: what a program is told of it, or nothing if
    /// it does not fit what is known. \[any\]
    pub fn happened(&mut self, news: News) -> Option<RoomEvent> {
        match news {
            News::UserJoined { user } => {
                if self.people.contains_key(&user) {
                    return None;
                }
                self.people.insert(user.clone(), Vec::new());
                Some(RoomEvent::UserJoined { user })
            }
            News::UserLeft { user, reason } => {
                self.people.remove(&user)?;
                Some(RoomEvent::UserLeft { user, reason: Some(reason) })
            }
            News::StreamAdded { stream } => {
                let streams = self.streams_of(&stream.id)?;
                if streams.iter().any(|known| known.stream.id == stream.id) {
                    return None;
                }
                streams.push(Known { stream: stream.clone(), seen: false });
                Some(RoomEvent::StreamAdded { stream })
            }
            News::StreamRemoved { stream, reason } => {
                let streams = self.streams_of(&stream)?;
                let place = streams.iter().position(|known| known.stream.id == stream)?;
                streams.remove(place);
                Some(RoomEvent::StreamRemoved { stream, reason: Some(reason) })
            }
            News::StreamMuted { stream, muted } => {
                let streams = self.streams_of(&stream)?;
                let known = streams.iter_mut().find(|known| known.stream.id == stream)?;
                known.stream.muted = muted;
                Some(RoomEvent::StreamMuted { stream, muted })
            }
        }
    }

    /// These are there and nobody else: what a program is told of the difference to what
    /// was known. A stream whose number is another is another stream. \[any\]
    pub fn replace(&mut self, people: Vec<Person>) -> Vec<RoomEvent> {
        let mut events = Vec::new();
        let mut before = std::mem::take(&mut self.people);
        let mut after: BTreeMap<UserName, Vec<StreamInfo>> =
            people.into_iter().map(|Person { user, streams }| (user, streams)).collect();
        for (user, known) in &mut before {
            let stay = after.get(user);
            known.retain(|known| {
                let stays =
                    stay.is_some_and(|streams| streams.iter().any(|stream| is_same(&known.stream, stream)));
                if !stays {
                    let stream = known.stream.id.clone();
                    events.push(RoomEvent::StreamRemoved { stream, reason: None });
                }
                stays
            });
            if stay.is_none() {
                events.push(RoomEvent::UserLeft { user: user.clone(), reason: None });
            }
        }
        while let Some((user, streams)) = after.pop_first() {
            let known = before.remove(&user).unwrap_or_else(|| {
                events.push(RoomEvent::UserJoined { user: user.clone() });
                Vec::new()
            });
            let mut now = Vec::new();
            for stream in streams {
                let before = known.iter().find(|known| is_same(&known.stream, &stream));
                match before {
                    None => events.push(RoomEvent::StreamAdded { stream: stream.clone() }),
                    Some(before) if before.stream.muted != stream.muted => {
                        events.push(RoomEvent::StreamMuted { stream: stream.id.clone(), muted: stream.muted })
                    }
                    Some(_) => {}
                }
                now.push(Known { stream, seen: before.is_some_and(|known| known.seen) });
            }
            self.people.insert(user, now);
        }
        events
    }

    /// A frame of stream `no` has come: which stream that is, if the frame is its first
    /// one. \[any\]
    pub fn first_frame(&mut self, no: u32) -> Option<StreamId> {
        let mut streams = self.people.values_mut().flatten();
        let known = streams.find(|known| known.stream.no == no && !known.seen)?;
        known.seen = true;
        Some(known.stream.id.clone())
    }

    /// No frame has come of any stream: the participant joined anew. \[any\]
    pub fn forget_frames(&mut self) {
        for known in self.people.values_mut().flatten() {
            known.seen = false;
        }
    }

    fn streams_of(&mut self, stream: &StreamId) -> Option<&mut Vec<Known>> {
        let mut people = self.people.iter_mut();
        people.find(|(user, _)| user.as_str() == stream.user()).map(|(_, streams)| streams)
    }
}

/// Whether both are one stream, muted or not.
fn is_same(one: &StreamInfo, other: &StreamInfo) -> bool {
    (&one.id, one.no, &one.codec) == (&other.id, other.no, &other.codec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Left, Removed, Source};

    fn user(name: &str) -> UserName {
        UserName::new(name).expect("a name")
    }

    fn stream(id: &str, no: u32, muted: bool) -> StreamInfo {
        let id = StreamId::new(id).expect("an id");
        StreamInfo { id, no, source: Source::Camera, codec: "av1".into(), muted, layers: Vec::new() }
    }

    fn person(name: &str, streams: &[StreamInfo]) -> Person {
        Person { user: user(name), streams: streams.to_vec() }
    }

    fn told(events: &[RoomEvent]) -> Vec<String> {
        events.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_new_list_is_told_as_the_difference_to_the_old_one() {
        let mut roster = Roster::default();
        let before = [
            person("bob", &[stream("bob/camera", 1, false), stream("bob/screen", 2, false)]),
            person("carol", &[stream("carol/camera", 3, false)]),
            person("eve", &[stream("eve/camera", 4, false)]),
        ];
        assert_eq!(roster.replace(before.to_vec()).len(), 7, "all of it is new");
        assert!(roster.replace(before.to_vec()).is_empty());
        assert!(roster.first_frame(1).is_some());
        let after = vec![
            person("bob", &[stream("bob/camera", 1, true), stream("bob/screen", 9, false)]),
            person("dave", &[]),
            person("eve", &[stream("eve/camera", 4, false)]),
        ];
        assert_eq!(
            told(&roster.replace(after)),
            [
                "bob/screen is over",
                "carol/camera is over",
                "carol left",
                "bob/camera is muted",
                "bob/screen is there, camera as av1",
                "dave joined",
            ]
        );
        assert_eq!(roster.first_frame(1), None, "it goes on");
        assert!(roster.first_frame(9).is_some());
        assert_eq!(roster.first_frame(9), None);
        roster.forget_frames();
        assert!(roster.first_frame(9).is_some());
    }

    #[test]
    fn news_that_do_not_fit_what_is_known_are_not_told() {
        let mut roster = Roster::default();
        let bob = stream("bob/camera", 1, false);
        let camera = bob.id.clone();
        let joined = News::UserJoined { user: user("bob") };
        let added = News::StreamAdded { stream: bob };
        let muted = News::StreamMuted { stream: camera.clone(), muted: true };
        let removed = News::StreamRemoved { stream: camera, reason: Removed::Unpublished };
        let left = News::UserLeft { user: user("bob"), reason: Left::Left };
        for news in [&added, &muted, &removed, &left] {
            assert_eq!(roster.happened(news.clone()), None, "{news:?} of nobody");
        }
        for news in [joined, added, muted] {
            assert!(roster.happened(news.clone()).is_some(), "{news:?}");
            let twice = roster.happened(news.clone());
            assert!(twice.is_none() || matches!(news, News::StreamMuted { .. }), "{news:?} twice");
        }
        assert!(roster.streams().all(|stream| stream.muted));
        assert!(roster.happened(removed).is_some() && roster.happened(left).is_some());
        assert_eq!(roster.users().count(), 0);
    }
}
