//! `Peers`: the other participants as the graph sees them: their keys, their
//! events, and packets that wait for a template's links.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sidetone_core::{Context, Control, DropReason, EventKind, Frame, Key, LeaveReason, Timestamp};

use crate::protocol::Source;

/// The group that all outputs belong to.
pub(crate) const GROUP: &str = "participant";

/// What comes through each output, in the order of [`Source`], whose inputs and
/// outputs have its place.
pub(crate) const OUTPUTS: [&str; SOURCES] = ["audio", "video", "screen", "screen_audio"];

/// How many sources there are.
pub(crate) const SOURCES: usize = Source::ALL.len();

/// How long after a participant appeared its packets wait for links.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most packets of one stream that wait for links.
const MOST_HELD: usize = 2_048;

/// How often to look whether links have come.
const LOOK: Duration = Duration::from_millis(5);

/// The other participants.
#[derive(Default)]
pub(crate) struct Peers {
    list: Vec<Peer>,
    /// The next key; keys are not used again.
    next: u32,
}

struct Peer {
    key: Key,
    name: Arc<str>,
    appeared: Timestamp,
    streams: [Stream; SOURCES],
    leaving: Option<LeaveReason>,
}

#[derive(Default)]
struct Stream {
    /// Whether a packet came since it was last said to have ended.
    flows: bool,
    held: VecDeque<Frame>,
}

impl Peers {
    /// Somebody joined.
    pub(crate) fn appear(&mut self, cx: &mut Context<'_>, name: &Arc<str>) -> Key {
        let key = Key(self.next);
        self.next = self.next.wrapping_add(1);
        let name = Arc::clone(name);
        cx.emit(EventKind::Appeared { group: GROUP, key, name: Arc::clone(&name) });
        self.list.push(Peer { key, name, appeared: cx.now(), streams: Default::default(), leaving: None });
        key
    }

    /// A packet of participant `key`.
    pub(crate) fn packet(&mut self, cx: &mut Context<'_>, key: Key, source: Source, frame: Frame) {
        let Some(peer) = self.list.iter_mut().find(|peer| peer.key == key) else {
            cx.dropped(DropReason::Unlinked);
            return;
        };
        let stream = &mut peer.streams[source as usize];
        if !stream.flows {
            stream.flows = true;
            cx.emit(EventKind::StreamAdded {
                key,
                name: Arc::clone(&peer.name),
                port: OUTPUTS[source as usize],
            });
        }
        stream.settle(cx, source, key, is_patient(cx, peer.appeared));
        if stream.held.is_empty() && cx.is_linked(source as usize, Some(key)) {
            cx.push_to(source as usize, key, frame);
        } else if is_patient(cx, peer.appeared) {
            if stream.held.len() == MOST_HELD {
                stream.held.pop_front();
                cx.dropped(DropReason::Unlinked);
            }
            stream.held.push_back(frame);
        } else {
            cx.dropped(DropReason::Unlinked);
        }
    }

    /// Participant `key` sends no more of `source` for now.
    pub(crate) fn stream_ended(&mut self, cx: &mut Context<'_>, key: Key, source: Source) {
        let Some(peer) = self.list.iter_mut().find(|peer| peer.key == key) else { return };
        if std::mem::take(&mut peer.streams[source as usize].flows) {
            cx.emit(EventKind::StreamRemoved {
                key,
                name: Arc::clone(&peer.name),
                port: OUTPUTS[source as usize],
            });
        }
    }

    /// Participant `key` has left; its ports end once what is held is out.
    pub(crate) fn vanish(&mut self, key: Key, reason: LeaveReason) {
        if let Some(peer) = self.list.iter_mut().find(|peer| peer.key == key) {
            peer.leaving.get_or_insert(reason);
        }
    }

    /// Everyone has left, at once.
    pub(crate) fn vanish_all(&mut self, cx: &mut Context<'_>, reason: LeaveReason) {
        for peer in &mut self.list {
            peer.leaving.get_or_insert(reason);
            for (stream, source) in peer.streams.iter_mut().zip(Source::ALL) {
                stream.settle(cx, source, peer.key, false);
            }
        }
        self.pump(cx);
    }

    /// Puts out what has found its link, and sees off those who left.
    pub(crate) fn pump(&mut self, cx: &mut Context<'_>) {
        self.list.retain_mut(|peer| {
            for (stream, source) in peer.streams.iter_mut().zip(Source::ALL) {
                stream.settle(cx, source, peer.key, is_patient(cx, peer.appeared));
            }
            let Some(reason) = peer.leaving.filter(|_| peer.streams.iter().all(|s| s.held.is_empty())) else {
                return true;
            };
            for source in Source::ALL {
                if cx.is_linked(source as usize, Some(peer.key)) {
                    cx.end_key(source as usize, peer.key);
                }
            }
            cx.emit(EventKind::Vanished {
                group: GROUP,
                key: peer.key,
                name: Arc::clone(&peer.name),
                reason,
            });
            false
        });
    }

    /// Whether nobody is there.
    pub(crate) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// When to pump next.
    pub(crate) fn next_call(&self, now: Timestamp) -> Option<Timestamp> {
        let waits = self.list.iter().any(|peer| peer.streams.iter().any(|stream| !stream.held.is_empty()));
        waits.then(|| now + LOOK)
    }
}

impl Stream {
    /// Puts out what is held if the link has come, and lets it go if it has not
    /// and there is no patience left.
    fn settle(&mut self, cx: &mut Context<'_>, source: Source, key: Key, patient: bool) {
        if self.held.is_empty() {
            return;
        }
        let linked = cx.is_linked(source as usize, Some(key));
        if !linked && patient {
            return;
        }
        while let Some(frame) = self.held.pop_front() {
            if linked {
                cx.push_to(source as usize, key, frame);
            } else {
                cx.dropped(DropReason::Unlinked);
            }
        }
    }
}

/// Asks whoever encodes what we publish for a key frame, if anybody does.
pub(crate) fn ask_key_frame(cx: &mut Context<'_>, source: Source) {
    if cx.links(source as usize).next().is_some() {
        cx.request(source as usize, &Control::KeyFrame);
        cx.emit(EventKind::KeyFrameRequested);
    }
}

fn is_patient(cx: &Context<'_>, appeared: Timestamp) -> bool {
    cx.now().since(appeared) < PATIENCE
}
