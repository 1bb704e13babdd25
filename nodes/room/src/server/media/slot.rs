//! `Slot`: a subscriber's room for a stream: one of its media sections that only
//! receive.

use sidetone_core::Timestamp;

use crate::munge::{FIRST_BELOW, Munged, Munger, Name};
use crate::protocol::Kind;
use crate::server::media::Packet;
use crate::server::media::simulcast::{Choice, Pass};

/// RTP clocks: of Opus (RFC 7587 § 4.1) and of all video.
const AUDIO_RATE: u32 = 48_000;
const VIDEO_RATE: u32 = 90_000;

/// Room for a stream.
#[derive(Debug)]
pub(super) struct Slot {
    /// The media section's `a=mid`.
    pub(super) mid: String,
    pub(super) kind: Kind,
    pub(super) feed: Option<Feed>,
    munger: Munger,
}

/// What feeds a slot.
#[derive(Debug)]
pub(super) struct Feed {
    /// The stream's number.
    pub(super) no: u32,
    pub(super) choice: Choice,
    /// The sender of what goes out.
    ssrc: u32,
}

/// What becomes of a packet in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Goes {
        name: Name,
        marker: bool,
        /// Whether another layer or stream goes out from it on.
        begins: bool,
    },
    /// It is not what goes out.
    Held,
    /// It went out before, or is too old.
    Late,
    /// Nothing of its layer can go out before a key frame.
    Broken,
}

impl Slot {
    /// Numbers begin anywhere, so that they tell nothing.
    pub(super) fn new(mid: String, kind: Kind, rng: &mut fastrand::Rng) -> Self {
        let rate = if kind == Kind::Audio { AUDIO_RATE } else { VIDEO_RATE };
        let munger = Munger::new(rate, rng.u16(1..FIRST_BELOW), rng.u32(..));
        Self { mid, kind, feed: None, munger }
    }

    /// The stream that feeds it.
    pub(super) fn no(&self) -> Option<u32> {
        self.feed.as_ref().map(|feed| feed.no)
    }

    /// From now on another stream feeds it, or none.
    pub(super) fn bind(&mut self, no: Option<u32>) {
        self.feed = no.map(|no| {
            let mut choice = Choice::default();
            // There is one size of sound, and it always fits.
            choice.aim((self.kind == Kind::Audio).then_some(0));
            Feed { no, choice, ssrc: 0 }
        });
    }

    /// A packet of a layer of the stream that feeds it.
    pub(super) fn forward(&mut self, now: Timestamp, layer: usize, packet: &Packet) -> Fate {
        let Some(feed) = &mut self.feed else { return Fate::Held };
        let Packet { ssrc, seq, timestamp, marker, .. } = *packet;
        let is_audio = self.kind == Kind::Audio;
        let can_begin = is_audio || packet.is_key;
        let pass = feed.choice.pass(layer, can_begin && packet.len > 0);
        let is_same = pass == Pass::Goes && feed.ssrc == ssrc;
        if pass == Pass::Not {
            return Fate::Held;
        }
        if packet.len == 0 {
            if is_same {
                self.munger.skip(seq);
            }
            return Fate::Held;
        }
        if is_same {
            match self.munger.munge(now, seq, timestamp) {
                Munged::As(name) => return Fate::Goes { name, marker, begins: false },
                Munged::Late => return Fate::Late,
                Munged::Anew => {}
            }
        }
        if !can_begin {
            if is_same {
                feed.choice.break_off();
            }
            return Fate::Broken;
        }
        feed.ssrc = ssrc;
        let name = self.munger.switch(now, seq, timestamp);
        // RFC 3551 § 4.1: the first packet of a talkspurt is marked.
        Fate::Goes { name, marker: marker || is_audio, begins: true }
    }
}

/// Puts the first `wanted` streams into `places`, as many as there are; those that have
/// one keep it.
pub(super) fn assign(places: &mut [Option<u32>], wanted: &[u32]) {
    let wanted = &wanted[..wanted.len().min(places.len())];
    for place in places.iter_mut() {
        *place = place.filter(|no| wanted.contains(no));
    }
    for no in wanted {
        if !places.contains(&Some(*no))
            && let Some(free) = places.iter_mut().find(|place| place.is_none())
        {
            *free = Some(*no);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_keep_their_places_and_new_ones_take_those_that_are_free() {
        type Places = [Option<u32>; 3];
        #[rustfmt::skip]
        let table: [(Places, &[u32], Places); 6] = [
            ([None, None, None], &[], [None, None, None]),
            ([None, None, None], &[5, 6], [Some(5), Some(6), None]),
            ([Some(5), Some(6), None], &[6, 7], [Some(7), Some(6), None]),
            ([Some(5), Some(6), Some(7)], &[4, 5, 6, 7], [Some(5), Some(6), Some(4)]),
            ([Some(5), Some(6), Some(7)], &[7, 6, 5], [Some(5), Some(6), Some(7)]),
            ([Some(5), Some(6), Some(7)], &[], [None, None, None]),
        ];
        for (mut places, wanted, expected) in table {
            let before = places;
            assign(&mut places, wanted);
            assert_eq!(places, expected, "{before:?} and {wanted:?}");
        }
    }

    fn packet(ssrc: u32, seq: u64, is_key: bool) -> Packet {
        Packet { ssrc, seq, timestamp: 0, marker: false, is_key, level: None, len: 100 }
    }

    fn seq(fate: Fate) -> u64 {
        let Fate::Goes { name, .. } = fate else { panic!("{fate:?}") };
        name.seq
    }

    #[test]
    fn pictures_of_another_sender_go_on_from_a_key_frame() {
        let mut slot = Slot::new("1".into(), Kind::Video, &mut fastrand::Rng::with_seed(1));
        let now = Timestamp::from_nanos(1);
        slot.bind(Some(7));
        slot.feed.as_mut().unwrap().choice.aim(Some(0));
        assert_eq!(slot.forward(now, 0, &packet(1, 500, false)), Fate::Held);
        let first = seq(slot.forward(now, 0, &packet(1, 501, true)));
        assert_eq!(slot.forward(now, 0, &packet(2, 9, false)), Fate::Broken);
        assert_eq!(
            seq(slot.forward(now, 0, &packet(1, 502, false))),
            first + 1,
            "the first goes on till then"
        );
        assert_eq!(seq(slot.forward(now, 0, &packet(2, 10, true))), first + 2);
        assert_eq!(slot.forward(now, 0, &packet(1, 503, false)), Fate::Broken);
        assert_eq!(slot.forward(now, 0, &packet(2, 9, false)), Fate::Late, "before the key frame");
        assert_eq!(slot.forward(now, 0, &packet(2, 9_000, false)), Fate::Broken, "far ahead");
        assert_eq!(slot.forward(now, 0, &packet(2, 9_001, false)), Fate::Held);
        assert_eq!(seq(slot.forward(now, 0, &packet(2, 9_002, true))), first + 3);
    }

    #[test]
    fn sound_goes_on_with_any_packet_and_padding_leaves_no_gap() {
        let mut slot = Slot::new("0".into(), Kind::Audio, &mut fastrand::Rng::with_seed(1));
        let now = Timestamp::from_nanos(1);
        assert_eq!(slot.forward(now, 0, &packet(1, 1, false)), Fate::Held, "nothing feeds it");
        slot.bind(Some(7));
        let fate = slot.forward(now, 0, &packet(1, 500, false));
        assert!(matches!(fate, Fate::Goes { marker: true, begins: true, .. }));
        let first = seq(fate);
        assert!(matches!(
            slot.forward(now, 0, &packet(1, 501, false)),
            Fate::Goes { marker: false, begins: false, .. }
        ));
        assert_eq!(slot.forward(now, 0, &Packet { len: 0, ..packet(1, 502, false) }), Fate::Held);
        assert_eq!(seq(slot.forward(now, 0, &packet(1, 503, false))), first + 2);
        slot.bind(Some(8));
        assert_eq!(seq(slot.forward(now, 0, &packet(2, 70_000, false))), first + 3);
    }
}
