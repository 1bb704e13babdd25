//! `Forward`: which stream is played in which media section of whom, and what its
//! packets are called there.
//!
//! The plain form of it: a stream has a slot as long as there is one, and a switch
//! waits for a key frame.

use std::collections::BTreeMap;

use str0m::format::{self, Codec};
use str0m::media::Mid;

use crate::protocol::{Kind, Slot, SlotOf};
use crate::server::replay::PersonId;

/// A copy of a packet: for whom, where, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) person: PersonId,
    pub(super) mid: Mid,
    pub(super) seq: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
}

/// Which stream is played where.
#[derive(Debug, Default)]
pub(super) struct Forward {
    streams: BTreeMap<u32, Stream>,
    people: BTreeMap<PersonId, Vec<Section>>,
    /// What each asked to play, in this order.
    wanted: Vec<(PersonId, u32)>,
}

#[derive(Debug)]
struct Stream {
    kind: Kind,
    muted: bool,
}

/// A media section that others' streams are played in.
#[derive(Debug)]
struct Section {
    slot: SlotOf,
    mid: Mid,
    stream: Option<u32>,
    /// What is waited for before its packets go on: a key frame, or any packet.
    begins: bool,
    /// Outgoing less incoming.
    seq_offset: u64,
    timestamp_offset: u32,
    /// The newest that went out.
    last: (u64, u32),
    /// The first that came since the switch.
    first: u64,
}

/// By how much time goes on at a switch, in units of the stream's clock: 20 ms of sound,
/// 33 of pictures.
const fn step(kind: Kind) -> u32 {
    match kind {
        Kind::Audio => 960,
        Kind::Video => 3_000,
    }
}

impl Forward {
    /// A stream is there.
    pub(super) fn begin(&mut self, stream: u32, kind: Kind) {
        self.streams.entry(stream).or_insert(Stream { kind, muted: false });
    }

    /// A participant has room in these media sections, and no others.
    pub(super) fn room(&mut self, person: PersonId, slots: Vec<SlotOf>) {
        let mut before = self.people.remove(&person).unwrap_or_default();
        let section = |slot: SlotOf| {
            let known = before.iter().position(|section| section.slot == slot);
            known.map_or_else(|| Section::new(slot), |at| before.swap_remove(at))
        };
        let sections = slots.into_iter().map(section).collect();
        self.people.insert(person, sections);
        self.fill(person);
    }

    pub(super) fn play(&mut self, person: PersonId, stream: u32) {
        if !self.wanted.contains(&(person, stream)) {
            self.wanted.push((person, stream));
        }
        self.fill(person);
    }

    pub(super) fn stop(&mut self, person: PersonId, stream: u32) {
        self.wanted.retain(|wanted| *wanted != (person, stream));
        self.fill(person);
    }

    /// A stream is held back, or goes on.
    pub(super) fn mute(&mut self, stream: u32, muted: bool) {
        if let Some(known) = self.streams.get_mut(&stream) {
            known.muted = muted;
        }
        self.begin_anew(stream);
    }

    /// A stream goes on under other numbers.
    pub(super) fn begin_anew(&mut self, stream: u32) {
        let sections = self.people.values_mut().flatten();
        sections.filter(|section| section.stream == Some(stream)).for_each(|section| section.begins = true);
    }

    /// A participant's media begin anew, without any section.
    pub(super) fn clear(&mut self, person: PersonId) {
        self.people.remove(&person);
    }

    pub(super) fn end(&mut self, stream: u32) {
        self.streams.remove(&stream);
        self.wanted.retain(|(_, wanted)| *wanted != stream);
        for person in self.people.keys().copied().collect::<Vec<_>>() {
            self.fill(person);
        }
    }

    pub(super) fn forget(&mut self, person: PersonId) {
        self.people.remove(&person);
        self.wanted.retain(|(who, _)| *who != person);
    }

    /// What is played where to a participant.
    pub(super) fn slots(&self, person: PersonId) -> Vec<Slot> {
        let sections = self.people.get(&person).into_iter().flatten();
        sections
            .filter_map(|section| Some(Slot { mid: section.slot.mid.clone(), no: section.stream? }))
            .collect()
    }

    /// Which stream is played in a media section.
    pub(super) fn stream_in(&self, person: PersonId, mid: Mid) -> Option<u32> {
        self.people.get(&person)?.iter().find(|section| section.mid == mid)?.stream
    }

    /// The streams of pictures that somebody waits for a key frame of.
    pub(super) fn awaited(&self) -> impl Iterator<Item = u32> {
        let waits = self.people.values().flatten().filter(|section| section.begins);
        waits.filter(|section| section.slot.kind == Kind::Video).filter_map(|section| section.stream)
    }

    /// A packet of a stream came: who gets it.
    pub(super) fn packet(
        &mut self,
        stream: u32,
        (seq, timestamp, marker): (u64, u32, bool),
        codec: Codec,
        payload: &[u8],
        copies: &mut Vec<Copy>,
    ) {
        let Some(Stream { kind, muted: false }) = self.streams.get(&stream) else { return };
        let begins = *kind == Kind::Audio || begins_key_frame(codec, payload);
        for (person, sections) in &mut self.people {
            for section in sections.iter_mut().filter(|section| section.stream == Some(stream)) {
                if section.begins {
                    if !begins {
                        continue;
                    }
                    section.switch(seq, timestamp);
                }
                if seq < section.first {
                    continue;
                }
                let seq = seq.wrapping_add(section.seq_offset);
                let timestamp = timestamp.wrapping_add(section.timestamp_offset);
                if seq > section.last.0 {
                    section.last = (seq, timestamp);
                }
                copies.push(Copy { person: *person, mid: section.mid, seq, timestamp, marker });
            }
        }
    }

    /// Gives wanted streams their place, where there is some.
    fn fill(&mut self, person: PersonId) {
        let Some(sections) = self.people.get_mut(&person) else { return };
        let wanted: Vec<_> =
            self.wanted.iter().filter(|(who, _)| *who == person).map(|(_, stream)| *stream).collect();
        for section in sections.iter_mut() {
            section.stream = section.stream.filter(|stream| wanted.contains(stream));
        }
        for stream in wanted {
            let Some(Stream { kind, .. }) = self.streams.get(&stream) else { continue };
            if sections.iter().any(|section| section.stream == Some(stream)) {
                continue;
            }
            let free =
                sections.iter_mut().find(|section| section.stream.is_none() && section.slot.kind == *kind);
            if let Some(section) = free {
                (section.stream, section.begins) = (Some(stream), true);
            }
        }
    }
}

impl Section {
    fn new(slot: SlotOf) -> Self {
        Self {
            mid: Mid::from(&*slot.mid),
            slot,
            stream: None,
            begins: true,
            seq_offset: 0,
            timestamp_offset: 0,
            // The first number is to be small (RFC 3711 § 3.3.1).
            last: (0, 0),
            first: 0,
        }
    }

    fn switch(&mut self, seq: u64, timestamp: u32) {
        let (last, at) = self.last;
        self.seq_offset = (last + 1).wrapping_sub(seq);
        self.timestamp_offset = at.wrapping_add(step(self.slot.kind)).wrapping_sub(timestamp);
        (self.first, self.begins) = (seq, false);
    }
}

/// Whether a packet is the first of a key frame; of codecs that are not looked into
/// each is taken for one.
fn begins_key_frame(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Av1 => format::detect_av1_keyframe(payload),
        Codec::Vp8 => format::detect_vp8_keyframe(payload),
        Codec::Vp9 => format::detect_vp9_keyframe(payload),
        Codec::H264 => format::detect_h264_keyframe(payload),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: PersonId = PersonId(2);

    fn slot(mid: &str, kind: Kind) -> SlotOf {
        SlotOf { mid: mid.into(), kind }
    }

    /// The numbers and timestamps that copies of these packets have.
    fn went(forward: &mut Forward, stream: u32, packets: &[(u64, u32, &[u8])]) -> Vec<(u64, u32)> {
        let mut copies = Vec::new();
        for (seq, timestamp, payload) in packets {
            forward.packet(stream, (*seq, *timestamp, false), Codec::Av1, payload, &mut copies);
        }
        copies.iter().map(|copy| (copy.seq, copy.timestamp)).collect()
    }

    const KEY: &[u8] = &[0x08, 0x0a];
    const DELTA: &[u8] = &[0x00, 0x32];

    #[test]
    fn a_slot_goes_on_where_it_was_when_another_stream_comes_into_it() {
        let mut forward = Forward::default();
        forward.begin(1, Kind::Video);
        forward.begin(2, Kind::Video);
        forward.room(BOB, vec![slot("v", Kind::Video)]);
        forward.play(BOB, 1);
        forward.play(BOB, 2);
        assert_eq!(forward.slots(BOB), [Slot { mid: "v".into(), no: 1 }]);
        assert_eq!(forward.awaited().collect::<Vec<_>>(), [1]);
        let first = went(&mut forward, 1, &[(70_000, 5, DELTA), (70_001, 10, KEY), (70_002, 10, DELTA)]);
        assert_eq!(first, [(1, 3_000), (2, 3_000)], "from the key frame on");
        assert_eq!(went(&mut forward, 1, &[(69_999, 5, DELTA)]), [], "nothing from before");
        assert_eq!(went(&mut forward, 2, &[(9, 9, KEY)]), [], "it has no slot");
        forward.end(1);
        assert_eq!(forward.stream_in(BOB, Mid::from("v")), Some(2));
        assert_eq!(went(&mut forward, 2, &[(10, 9, DELTA), (11, 99, KEY)]), [(3, 6_000)]);
        forward.mute(2, true);
        assert_eq!(went(&mut forward, 2, &[(12, 100, KEY)]), []);
        forward.mute(2, false);
        assert_eq!(went(&mut forward, 2, &[(13, 101, DELTA), (14, 102, KEY)]), [(4, 9_000)]);
        forward.stop(BOB, 2);
        assert_eq!(forward.slots(BOB), []);
    }
}
