//! The network between a participant and the server: connections that keep the order and
//! lose but their tail, and ways that can be cut.

use std::collections::VecDeque;
use std::time::Duration;

use sidetone_core::Timestamp;

use crate::client::session::ConnectionId;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    /// To the server.
    Up,
    /// From it.
    Down,
}

/// What goes over a connection.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The connection opens.
    Hello,
    /// A message.
    Text(String),
    /// The connection closes.
    Fin,
}

/// A connection.
pub(super) struct Wire {
    pub(super) actor: usize,
    pub(super) id: ConnectionId,
    up: VecDeque<Item>,
    down: VecDeque<Item>,
    /// When what was sent last each way comes at the earliest.
    last: [Timestamp; 2],
    pub(super) client_open: bool,
    pub(super) server_open: bool,
    /// Whether somebody joined over it.
    pub(super) joined: bool,
    is_broken: bool,
}

impl Wire {
    pub(super) fn new(actor: usize, id: ConnectionId) -> Self {
        Self {
            actor,
            id,
            up: VecDeque::new(),
            down: VecDeque::new(),
            last: [Timestamp::ZERO; 2],
            client_open: true,
            server_open: false,
            joined: false,
            is_broken: false,
        }
    }

    /// Something is sent; when it comes if nothing holds it back.
    pub(super) fn send(&mut self, now: Timestamp, way: Way, item: Item, delay: Duration) -> Timestamp {
        let last = &mut self.last[way as usize];
        *last = (now + delay).max(*last);
        let due = *last;
        if !self.is_broken {
            self.queue(way).push_back(item);
        }
        due
    }

    /// The next thing comes.
    pub(super) fn receive(&mut self, way: Way) -> Option<Item> {
        self.queue(way).pop_front()
    }

    /// It breaks: what is on its way is lost, and whatever is sent.
    pub(super) fn break_off(&mut self) {
        self.is_broken = true;
        self.up.clear();
        self.down.clear();
    }

    pub(super) fn is_over(&self) -> bool {
        !self.client_open && !self.server_open && self.up.is_empty() && self.down.is_empty()
    }

    fn queue(&mut self, way: Way) -> &mut VecDeque<Item> {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

/// A participant's ways to the server and back: until when each is cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ways {
    messages: [Timestamp; 2],
    media: [Timestamp; 2],
}

/// What a cut cuts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Both,
    Messages,
    Media,
    Upward,
    Downward,
}

impl Cut {
    pub(super) const ALL: [Self; 5] = [Self::Both, Self::Messages, Self::Media, Self::Upward, Self::Downward];
}

impl Ways {
    pub(super) fn cut(&mut self, cut: Cut, until: Timestamp) {
        let (messages, media) = match cut {
            Cut::Both => ([true; 2], [true; 2]),
            Cut::Messages => ([true; 2], [false; 2]),
            Cut::Media => ([false; 2], [true; 2]),
            Cut::Upward => ([true, false], [true, false]),
            Cut::Downward => ([false, true], [false, true]),
        };
        for way in 0..2 {
            if messages[way] {
                self.messages[way] = until;
            }
            if media[way] {
                self.media[way] = until;
            }
        }
    }

    /// Until when messages that way are held back.
    pub(super) fn held(&self, way: Way) -> Timestamp {
        self.messages[way as usize]
    }

    /// Whether media go through that way.
    pub(super) fn carries_media(&self, now: Timestamp, way: Way) -> bool {
        self.media[way as usize] <= now
    }

    /// Whether a datagram of messages' way goes through both ways.
    pub(super) fn carries_knocks(&self, now: Timestamp) -> bool {
        self.messages.iter().all(|until| *until <= now)
    }
}
