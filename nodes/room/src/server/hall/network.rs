//! `Network`: how well one participant's network does, both ways, window by window, by
//! the rule in [`crate::quality`].

use sidetone_core::Timestamp;

use crate::protocol::{Kind, Quality};
use crate::quality::{Follower, Window};
use crate::reception::Interval;

/// A participant's network.
#[derive(Debug)]
pub(super) struct Network {
    up: Follower,
    down: Follower,
    rtt_ms: f64,
    /// What came from the participant in this window.
    came: Sum,
    /// What came to the participant, as it says, and as its RTCP does: that counts before
    /// repair, and where nothing else is said.
    told: Sum,
    reported: Sum,
}

/// What was measured of several streams.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    expected: u32,
    lost: u32,
    jitter_ms: f64,
    has_pictures: bool,
}

impl Network {
    /// Of a participant whose media begin at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        let (up, down) = (Follower::new(now), Follower::new(now));
        let none = Sum::default();
        Self { up, down, rtt_ms: 0.0, came: none, told: none, reported: none }
    }

    /// Something came from the participant, which what was sent to it had to bring about:
    /// the answers to its requests.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.up.heard(now);
        self.down.heard(now);
    }

    /// A message goes to the server and back in so long.
    pub(super) fn round_trip(&mut self, ms: u32) {
        self.rtt_ms = ms.into();
    }

    /// So did a stream come from the participant.
    pub(super) fn came(&mut self, kind: Kind, interval: Interval) {
        self.came.add(kind, interval);
    }

    /// So did a stream come to the participant, as it says.
    pub(super) fn told(&mut self, kind: Kind, interval: Interval) {
        self.told.add(kind, interval);
    }

    /// So did a stream come to the participant, as its RTCP says.
    pub(super) fn reported(&mut self, kind: Kind, interval: Interval) {
        self.reported.add(kind, interval);
    }

    /// The window is over: how well the network does, up and down.
    pub(super) fn window(&mut self, now: Timestamp) -> (Quality, Quality) {
        let [came, told, reported] = [&mut self.came, &mut self.told, &mut self.reported].map(std::mem::take);
        self.up.window(&came.window(self.rtt_ms));
        let down = if told.expected > 0 { told } else { reported };
        self.down.window(&down.window(self.rtt_ms));
        (self.up.quality(now), self.down.quality(now))
    }
}

impl Sum {
    fn add(&mut self, kind: Kind, interval: Interval) {
        let Interval { expected, lost, jitter_ms } = interval;
        if expected == 0 {
            return;
        }
        self.expected = self.expected.saturating_add(expected);
        self.lost = self.lost.saturating_add(lost.min(expected));
        self.jitter_ms = self.jitter_ms.max(jitter_ms);
        self.has_pictures |= kind == Kind::Video;
    }

    const fn window(self, rtt_ms: f64) -> Window {
        let Self { expected, lost, jitter_ms, has_pictures } = self;
        let kind = if has_pictures { Kind::Video } else { Kind::Audio };
        Window { kind, expected, lost, rtt_ms, jitter_ms }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::quality::{DOWN, WINDOW};

    const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

    fn interval(expected: u32, lost: u32) -> Interval {
        Interval { expected, lost, jitter_ms: 1.0 }
    }

    #[test]
    fn each_way_has_its_own_quality_and_silence_is_down_both_ways() {
        let mut network = Network::new(START);
        assert_eq!(network.window(START), (Quality::Unknown, Quality::Unknown));
        network.came(Kind::Audio, interval(100, 0));
        network.told(Kind::Audio, interval(100, 10));
        assert_eq!(network.window(START), (Quality::Excellent, Quality::Poor));
        network.came(Kind::Audio, interval(100, 0));
        network.came(Kind::Video, interval(100, 10));
        assert_eq!(network.window(START), (Quality::Poor, Quality::Poor), "pictures bear less");
        let silent = START + DOWN;
        assert_eq!(network.window(silent), (Quality::Down, Quality::Down));
        network.heard(silent);
        assert_eq!(network.window(silent + WINDOW), (Quality::Poor, Quality::Poor), "as it was");
    }

    #[test]
    fn reports_count_where_nothing_else_is_told_and_a_round_trip_counts_for_both() {
        let mut network = Network::new(START);
        network.reported(Kind::Audio, interval(100, 25));
        network.told(Kind::Audio, interval(100, 0));
        assert_eq!(network.window(START).1, Quality::Excellent);
        network.reported(Kind::Audio, interval(100, 25));
        assert_eq!(network.window(START).1, Quality::VeryBad);
        let mut slow = Network::new(START);
        slow.round_trip(600);
        slow.came(Kind::Audio, interval(100, 0));
        slow.told(Kind::Audio, Interval { jitter_ms: 1e300, ..interval(u32::MAX, u32::MAX) });
        slow.told(Kind::Audio, interval(u32::MAX, u32::MAX));
        assert_eq!(slow.window(START + Duration::from_secs(1)), (Quality::Good, Quality::VeryBad));
    }
}
