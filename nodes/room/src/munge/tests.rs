//! What packets of a slot are called, against a plain model of it, over many seeds.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SEEDS: u64 = 400;

/// One source while it goes out: everything that ever came of it.
#[derive(Default)]
struct Model {
    first: u64,
    newest: u64,
    skipped: BTreeSet<u64>,
    /// Out by in.
    out: BTreeMap<u64, Name>,
}

impl Model {
    /// The number of a packet: its place after the first, less those before it that were
    /// held back.
    fn seq(&self, seq: u64) -> u64 {
        let skipped = self.skipped.range(..seq).count() as u64;
        self.out[&self.first].seq + (seq - self.first) - skipped
    }
}

/// A source of packets: a stream, or one of its layers.
struct Sender {
    seq: u64,
    timestamp: u32,
    /// Packets that were delayed or may come twice.
    behind: Vec<(u64, u32)>,
}

impl Sender {
    /// The next packet, after a loss or in its order; or one that was delayed, or comes
    /// twice.
    fn send(&mut self, rng: &mut fastrand::Rng) -> (u64, u32) {
        if !self.behind.is_empty() && rng.u8(..) < 60 {
            return self.behind.swap_remove(rng.usize(..self.behind.len()));
        }
        let lost = if rng.u8(..) < 30 { rng.u64(1..20) } else { 0 };
        self.behind.extend((1..=lost).map(|n| (self.seq + n, self.timestamp)));
        self.seq += lost + 1;
        self.timestamp = self.timestamp.wrapping_add(rng.u32(0..2) * 3_000);
        self.behind.push((self.seq, self.timestamp));
        (self.seq, self.timestamp)
    }
}

fn ahead(timestamp: u32, of: u32) -> i32 {
    timestamp.wrapping_sub(of).cast_signed()
}

#[test]
fn whatever_comes_goes_out_once_in_its_place_without_a_gap_of_the_servers_making() {
    for seed in 0..SEEDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        // Numbers about to wrap, and far apart.
        let mut sender =
            || Sender { seq: rng.u64(60_000..200_000), timestamp: rng.u32(..), behind: Vec::new() };
        let mut senders = [sender(), sender(), sender()];
        let first = rng.u16(1..FIRST_BELOW);
        let mut munger = Munger::new(90_000, first, rng.u32(..));
        let mut now = Timestamp::from_nanos(1_000_000_000);
        let mut present: Option<(usize, Model)> = None;
        let mut over: Vec<Model> = Vec::new();
        let mut taken = BTreeSet::new();
        let mut newest: Option<Name> = None;
        for step in 0..600 {
            let at = format!("seed {seed}, step {step}");
            now += Duration::from_micros(rng.u64(0..30_000));
            let which = match &present {
                Some((which, _)) if rng.u8(..) > 5 => *which,
                _ => rng.usize(..senders.len()),
            };
            let (seq, timestamp) = senders[which].send(&mut rng);
            let is_other = present.as_ref().is_none_or(|(before, _)| *before != which);
            let name = if is_other || rng.u8(..) < 2 {
                // Another source, or now and then the same after a pause.
                let name = munger.switch(now, seq, timestamp);
                let expected = newest.map_or(u64::from(first), |newest| newest.seq + 1);
                assert_eq!(name.seq, expected, "{at}: a switch leaves no gap");
                if let Some(newest) = newest {
                    assert!(ahead(name.timestamp, newest.timestamp) >= 900, "{at}: time goes on");
                }
                over.extend(present.take().map(|(_, model)| model));
                present = Some((which, Model { first: seq, newest: seq, ..Model::default() }));
                name
            } else {
                let (_, model) = present.as_mut().unwrap();
                if seq > model.newest && rng.u8(..) < 20 {
                    munger.skip(seq);
                    model.skipped.insert(seq);
                    model.newest = seq;
                    continue;
                }
                let was_there = model.out.contains_key(&seq) || model.skipped.contains(&seq);
                let is_late = was_there || seq < model.first || model.newest >= seq + WINDOW;
                match munger.munge(now, seq, timestamp) {
                    Munged::As(name) => {
                        assert!(!is_late, "{at}: {seq} is late");
                        assert_eq!(name.seq, model.seq(seq), "{at}");
                        model.newest = model.newest.max(seq);
                        name
                    }
                    Munged::Late => {
                        assert!(is_late, "{at}: {seq} is not late");
                        continue;
                    }
                    Munged::Anew => panic!("{at}: {seq} is not far ahead"),
                }
            };
            assert!(taken.insert(name.seq), "{at}: {} twice", name.seq);
            if newest.is_none_or(|newest| name.seq > newest.seq) {
                newest = Some(name);
            }
            present.as_mut().unwrap().1.out.insert(seq, name);
        }
        over.extend(present.map(|(_, model)| model));
        let names: Vec<_> = over.iter().flat_map(|model| model.out.values()).collect();
        for pair in names.windows(2) {
            assert!(pair[1].seq > pair[0].seq, "seed {seed}: in the order in which they were sent");
            let step = ahead(pair[1].timestamp, pair[0].timestamp);
            assert!(step >= 0, "seed {seed}: time went back by {step}");
        }
        assert!(over.len() > 3 && taken.len() > 100, "seed {seed}: much happened");
    }
}

#[test]
fn a_stream_begins_where_its_receivers_rollover_counter_is_0() {
    for first in [1, FIRST_BELOW - 1] {
        let mut munger = Munger::new(48_000, first, 0);
        assert_eq!(munger.switch(Timestamp::from_nanos(1), 987_654_321, 5).seq, u64::from(first));
    }
}

#[test]
fn what_is_held_back_leaves_no_gap_and_what_was_lost_leaves_its_own() {
    let mut munger = Munger::new(90_000, 100, 0);
    let now = Timestamp::from_nanos(1);
    munger.switch(now, 10, 0);
    // 12 and 14 are late, 11 and 13 held back.
    munger.skip(11);
    munger.skip(13);
    let mut seq = |seq| match munger.munge(now, seq, 0) {
        Munged::As(name) => Some(name.seq),
        _ => None,
    };
    assert_eq!(seq(15), Some(103));
    assert_eq!(seq(12), Some(101), "as if 11 had not been");
    assert_eq!(seq(14), Some(102));
    assert_eq!([seq(11), seq(13), seq(12), seq(9)], [None; 4], "held back, there already, from before");
    assert_eq!(seq(16), Some(104));
    assert_eq!(seq(16 + WINDOW), Some(104 + WINDOW));
    assert_eq!(seq(17), Some(105), "the oldest that may still come");
    assert_eq!(seq(19 + WINDOW), Some(107 + WINDOW));
    assert_eq!(seq(19), None, "too old");
}

#[test]
fn a_switch_moves_timestamps_by_the_time_that_passed() {
    for (passed_ms, ticks) in [(0, 900), (10, 900), (40, 3_600), (10_000, 900_000)] {
        let mut munger = Munger::new(90_000, 1, u32::MAX - 5);
        let now = Timestamp::from_nanos(1_000_000);
        munger.switch(now, 10, 123_456);
        let Munged::As(before) = munger.munge(now, 11, 126_456) else { panic!() };
        let name = munger.switch(now + Duration::from_millis(passed_ms), 7_000, 99);
        assert_eq!(ahead(name.timestamp, before.timestamp), ticks, "after {passed_ms} ms");
    }
}

#[test]
fn a_sender_far_ahead_counts_anew() {
    let mut munger = Munger::new(90_000, 1, 0);
    let now = Timestamp::from_nanos(1);
    assert_eq!(munger.munge(now, 5, 0), Munged::Anew, "nothing goes out yet");
    munger.switch(now, 10, 0);
    assert_eq!(munger.munge(now, 10 + MAX_DROPOUT + 1, 0), Munged::Anew);
    assert!(matches!(munger.munge(now, 10 + MAX_DROPOUT, 0), Munged::As(_)));
}
