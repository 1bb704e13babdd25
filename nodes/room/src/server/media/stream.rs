//! `Stream`: a published stream as the server sees it come.

use std::time::Duration;

use sidetone_core::Timestamp;

use crate::protocol::{Kind, StreamInfo};
use crate::server::media::Packet;
use crate::server::media::key_frame::KeyFrames;
use crate::server::media::level::{LevelFollower, SILENCE};
use crate::server::media::speaker::Activity;
use crate::server::replay::PersonId;

/// A layer comes while its last packet is no older than this: one and a half pictures
/// at the slowest rate that is sent, 3 a second. Our own, as the next two.
const LIVE: Duration = Duration::from_millis(500);
/// A layer that its publisher is to send may be waited for so long.
const BEGINS_WITHIN: Duration = Duration::from_secs(3);
/// A layer that nobody plays is to be sent on for so long.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// What a stream of pictures may take that does not announce it, in bits per second:
/// libwebrtc's most for 1280 x 720.
const AMPLE: u64 = 2_500_000;
/// What a packet costs beside its payload, in bytes: IP, UDP, RTP and its extensions,
/// the tag of SRTP.
const OVERHEAD: usize = 64;
/// Most that a packet of sound lasts (RFC 6716 § 2.1.4), at 48 kHz; and what it is
/// taken to last where that cannot be told.
const LONGEST: u32 = 120 * 48;
const USUAL: u32 = 20 * 48;
/// Loudness of sound that does not say it: of comfort noise and pauses, which take at
/// most 3 bytes (RFC 6716 § 2.1.9, RFC 7587 § 3.1.3), and of all else, in −dBov.
const PAUSE_BYTES: usize = 3;
const UNTOLD: u8 = 30;

/// A published stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) owner: PersonId,
    pub(super) info: StreamInfo,
    /// What comes: of each layer, or of the stream where it has none.
    pub(super) layers: Vec<Incoming>,
    /// Which slots it feeds: of whom, and the place among theirs.
    pub(super) feeds: Vec<(PersonId, usize)>,
    pub(super) level: LevelFollower,
    pub(super) activity: Activity,
    /// When its publisher's clock last stood where.
    timestamp: Option<u32>,
    /// What its publisher was told of it: bits per second, layers.
    pub(super) limit: Option<(u32, Vec<String>)>,
}

/// What comes of a layer.
#[derive(Debug)]
pub(super) struct Incoming {
    /// What it may take at most, in bits per second; 0 where that is not known.
    most: u64,
    meter: Meter,
    last: Option<Timestamp>,
    /// The newest packet: its sender and its number.
    newest: (u32, u64),
    /// Since when it is to be sent, and when it was last played.
    asked: Option<Timestamp>,
    played: Option<Timestamp>,
    pub(super) key_frames: KeyFrames,
}

impl Stream {
    pub(super) fn new(owner: PersonId, info: StreamInfo) -> Self {
        let mut layers: Vec<_> =
            info.layers.iter().map(|layer| Incoming::new(u64::from(layer.max_bps))).collect();
        if layers.is_empty() {
            layers.push(Incoming::new(0));
        }
        Self {
            owner,
            info,
            layers,
            feeds: Vec::new(),
            level: LevelFollower::new(),
            activity: Activity::new(),
            timestamp: None,
            limit: None,
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.info.source.kind()
    }

    /// The name of a layer, where the stream has any.
    pub(super) fn rid(&self, layer: usize) -> Option<&str> {
        self.info.layers.get(layer).map(|layer| layer.rid.as_str())
    }

    /// Sound came. Whether a voice begins with it.
    pub(super) fn hear(&mut self, now: Timestamp, packet: &Packet) -> bool {
        let before = self.timestamp.replace(packet.timestamp);
        let ticks = before.map_or(USUAL, |before| packet.timestamp.wrapping_sub(before));
        let ticks = if (1..=LONGEST).contains(&ticks) { ticks } else { USUAL };
        let span = Duration::from_micros(u64::from(ticks) * 1_000 / 48);
        let untold = if packet.len <= PAUSE_BYTES { SILENCE } else { UNTOLD };
        let level = packet.level.unwrap_or(untold).min(SILENCE);
        self.activity.hear(now, level, span);
        self.level.hear(now, level, span)
    }

    /// Nobody hears or sees it for now: it is held back.
    pub(super) fn fall_silent(&mut self) {
        (self.level, self.activity) = (LevelFollower::new(), Activity::new());
        for layer in &mut self.layers {
            layer.key_frames.done();
            layer.asked = None;
        }
    }

    /// Bits per second of each layer; nothing for those that do not come. What has only
    /// one size comes, whether or not it does at present; what is held back costs nothing.
    pub(super) fn costs(&self, now: Timestamp) -> Vec<Option<u64>> {
        if self.info.muted {
            return vec![Some(0); self.layers.len()];
        }
        let has_one = self.layers.len() == 1;
        self.layers.iter().map(|layer| (has_one || layer.may_come(now)).then(|| layer.cost(now))).collect()
    }

    /// The layers that somebody plays are to be sent on, by `played`.
    pub(super) fn mark_played(&mut self, now: Timestamp, played: &[bool]) {
        for (layer, played) in self.layers.iter_mut().zip(played) {
            if *played {
                layer.asked.get_or_insert(now);
                layer.played = Some(now);
            } else if layer.played.is_none_or(|at| now.since(at) >= KEPT_FOR) {
                layer.asked = None;
            }
        }
    }

    /// The layers that are to be sent: those that are played, and the least, so that
    /// whoever comes has something to begin with.
    pub(super) fn to_be_sent(&self) -> Vec<String> {
        let is_sent = |at: usize| at == 0 || self.layers[at].asked.is_some();
        let layers = self.info.layers.iter().enumerate().filter(|(at, _)| is_sent(*at));
        layers.map(|(_, layer)| layer.rid.clone()).collect()
    }
}

impl Incoming {
    const fn new(most: u64) -> Self {
        let meter = Meter { bits: [0; Meter::PARTS], part: 0, began: None };
        Self {
            most,
            meter,
            last: None,
            newest: (0, 0),
            asked: None,
            played: None,
            key_frames: KeyFrames::new(),
        }
    }

    /// A packet came. Whether none after it had come before.
    pub(super) fn count(&mut self, now: Timestamp, packet: &Packet) -> bool {
        self.last = Some(now);
        self.meter.add(now, (packet.len + OVERHEAD) as u64 * 8);
        let is_newest = packet.ssrc != self.newest.0 || packet.seq > self.newest.1;
        if is_newest {
            self.newest = (packet.ssrc, packet.seq);
        }
        is_newest
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.last.is_some_and(|last| now.since(last) < LIVE)
    }

    /// Whether it comes, or its publisher was not to send it until now.
    fn may_come(&self, now: Timestamp) -> bool {
        self.is_live(now) || self.asked.is_none_or(|asked| now.since(asked) < BEGINS_WITHIN)
    }

    /// Bits per second: as measured, where that could be done, else as announced.
    fn cost(&self, now: Timestamp) -> u64 {
        let most = if self.most == 0 { u64::MAX } else { self.most };
        match self.meter.rate(now) {
            // A key frame is no change of the rate.
            Some(rate) if self.is_live(now) => rate.min(most),
            _ => self.most,
        }
    }

    /// Bits per second that it may take at most, as announced.
    pub(super) const fn most(&self) -> u64 {
        if self.most == 0 { AMPLE } else { self.most }
    }

    /// Bits per second that come, as far as is known.
    pub(super) fn rate(&self, now: Timestamp) -> u64 {
        self.meter.rate(now).unwrap_or(0)
    }
}

/// Bits in the last second.
#[derive(Debug)]
struct Meter {
    /// By tenths of a second.
    bits: [u64; Self::PARTS],
    /// The tenth, since the epoch, that the newest are of.
    part: u64,
    began: Option<Timestamp>,
}

impl Meter {
    const PARTS: usize = 10;
    const PART: u64 = 100_000_000;

    #[allow(clippy::cast_possible_truncation)] // less than ten
    const fn place(part: u64) -> usize {
        (part % Self::PARTS as u64) as usize
    }

    fn add(&mut self, now: Timestamp, bits: u64) {
        let part = now.nanos() / Self::PART;
        self.began.get_or_insert(now);
        if part > self.part {
            for over in self.part + 1..=part.min(self.part + Self::PARTS as u64) {
                self.bits[Self::place(over)] = 0;
            }
            self.part = part;
        }
        self.bits[Self::place(part)] += bits;
    }

    /// Bits per second; nothing in the first second.
    fn rate(&self, now: Timestamp) -> Option<u64> {
        self.began.filter(|began| now.since(*began) >= Duration::from_secs(1))?;
        let part = now.nanos() / Self::PART;
        let kept = (part + 1).saturating_sub(Self::PARTS as u64)..=self.part;
        Some(kept.rev().take(Self::PARTS).map(|part| self.bits[Self::place(part)]).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Layer, Source, StreamId};

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(50_000_000_000) + Duration::from_millis(ms)
    }

    fn stream(source: Source, most: &[u32]) -> Stream {
        let layer =
            |(no, &max_bps): (usize, &u32)| Layer { rid: no.to_string(), width: 1, height: 1, max_bps };
        let info = StreamInfo {
            id: StreamId::new("bob/x").expect("an id"),
            no: 3,
            source,
            codec: "opus".into(),
            muted: false,
            layers: most.iter().enumerate().map(layer).collect(),
        };
        Stream::new(PersonId(1), info)
    }

    fn packet(len: usize) -> Packet {
        Packet { ssrc: 1, seq: 7, timestamp: 0, marker: false, is_key: false, level: None, len }
    }

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let mut meter = Incoming::new(0).meter;
        assert_eq!(meter.rate(at(0)), None);
        for ms in (0..3_000).step_by(20) {
            meter.add(at(ms), 1_000);
        }
        assert_eq!(meter.rate(at(2_999)), Some(50_000));
        assert_eq!(meter.rate(at(3_499)), Some(25_000));
        assert_eq!(meter.rate(at(4_000)), Some(0));
        meter.add(at(90_000), 7);
        assert_eq!(meter.rate(at(90_000)), Some(7), "what was long ago is forgotten");
        let mut slow = Incoming::new(0).meter;
        slow.add(at(500), 7);
        assert_eq!(slow.rate(at(1_499)), None, "not a second yet");
    }

    #[test]
    fn a_layer_costs_what_it_takes_or_was_announced_to() {
        let mut camera = stream(Source::Camera, &[100_000, 900_000]);
        assert_eq!(camera.costs(at(0)), [Some(100_000), Some(900_000)], "announced");
        for ms in (0..2_000).step_by(10) {
            camera.layers[0].count(at(ms), &packet(36));
            camera.layers[1].count(at(ms), &packet(1_136));
        }
        assert_eq!(
            camera.costs(at(1_999)),
            [Some(80_000), Some(900_000)],
            "measured, and at most as announced"
        );
        assert_eq!(
            stream(Source::Camera, &[]).costs(at(0)),
            [Some(0)],
            "one size, of which nothing is known"
        );
    }

    #[test]
    fn a_layer_that_is_to_be_sent_and_does_not_come_is_passed_over_for_a_while() {
        let mut camera = stream(Source::Camera, &[100_000, 900_000]);
        let comes =
            |camera: &Stream, ms| camera.costs(at(ms)).iter().map(Option::is_some).collect::<Vec<_>>();
        camera.mark_played(at(0), &[true, true]);
        camera.layers[0].count(at(2_900), &packet(100));
        assert_eq!(comes(&camera, 2_999), [true, true]);
        assert_eq!(comes(&camera, 3_000), [true, false]);
        camera.mark_played(at(4_999), &[true, false]);
        assert_eq!(camera.to_be_sent(), ["0", "1"]);
        camera.mark_played(at(5_000), &[true, false]);
        assert_eq!(camera.to_be_sent(), ["0"]);
        camera.layers[0].count(at(5_000), &packet(100));
        assert_eq!(comes(&camera, 5_000), [true, true], "it may be tried again");
        camera.mark_played(at(20_000), &[false, false]);
        assert_eq!(camera.to_be_sent(), ["0"], "the least is always there to begin with");
    }

    #[test]
    fn sound_that_says_nothing_of_its_loudness_is_heard_by_its_size() {
        let hear = |level, len| {
            let mut microphone = stream(Source::Microphone, &[]);
            let packet = |n: u32| Packet { timestamp: n * 960, level, ..packet(len) };
            let mut voices = 0;
            for n in 0..40 {
                voices += u32::from(microphone.hear(at(u64::from(n) * 20), &packet(n)));
            }
            (microphone.level.volume(at(800)) > 0, voices)
        };
        assert_eq!(hear(None, 80), (true, 1));
        assert_eq!(hear(None, 3), (false, 0), "a pause");
        assert_eq!(hear(Some(127), 80), (false, 0), "it says so");
        assert_eq!(hear(Some(10), 3), (true, 1), "it says so");
    }
}
