//! Forwarding in virtual time: who gets what, and what is asked and told.

use super::*;
use crate::protocol::{Layer, StreamId};

const ALICE: PersonId = PersonId(1);
const BOB: PersonId = PersonId(2);
const CAROL: PersonId = PersonId(3);

/// A room, what was written to whom, and what is to be done.
struct World {
    forwarder: Forwarder,
    now: Timestamp,
    writes: Vec<Write>,
    out: Vec<Output>,
    /// The next packet of each stream and layer.
    next: BTreeMap<(u32, usize), u32>,
}

impl World {
    fn new() -> Self {
        Self {
            forwarder: Forwarder::new(Settings::default(), 11),
            now: Timestamp::from_nanos(100_000_000_000),
            writes: Vec::new(),
            out: Vec::new(),
            next: BTreeMap::new(),
        }
    }

    fn order(&mut self, order: &Order) {
        self.forwarder.order(self.now, order);
        self.out.extend(self.forwarder.take());
    }

    /// `owner` publishes stream `no`, in sizes of at most these bits per second.
    fn publish(&mut self, owner: PersonId, no: u32, source: Source, layers: &[u32]) {
        let layer =
            |(no, &max_bps): (usize, &u32)| Layer { rid: format!("l{no}"), width: 1, height: 1, max_bps };
        let info = StreamInfo {
            id: stream_id(owner, source),
            no,
            source,
            codec: if source.kind() == Kind::Audio { "opus".into() } else { "av1".into() },
            muted: false,
            layers: layers.iter().enumerate().map(layer).collect(),
        };
        self.order(&Order::Publish(owner, info));
    }

    /// A participant has so much room, and plays all these.
    fn play(&mut self, person: PersonId, audio: usize, video: usize, numbers: &[u32]) {
        let slot = |kind: Kind| move |at: usize| SlotOf { mid: format!("{kind:?}{at}"), kind };
        let recv: Vec<_> =
            (0..audio).map(slot(Kind::Audio)).chain((0..video).map(slot(Kind::Video))).collect();
        self.forwarder.slots(self.now, person, 1, &recv, &["opus", "av1"]);
        for no in numbers {
            self.order(&Order::Play(person, *no, Wish::High));
        }
    }

    /// A packet of a stream; where it went, by participant and slot.
    fn send(&mut self, no: u32, layer: usize, is_key: bool, len: usize) -> Vec<(PersonId, usize)> {
        self.send_at(no, layer, is_key, len, None)
    }

    fn send_at(
        &mut self,
        no: u32,
        layer: usize,
        is_key: bool,
        len: usize,
        level: Option<u8>,
    ) -> Vec<(PersonId, usize)> {
        let n = self.next.entry((no, layer)).or_insert(40_000);
        *n += 1;
        #[allow(clippy::cast_possible_truncation)] // 0 to 2
        let ssrc = no * 10 + layer as u32;
        let seq = u64::from(*n);
        let packet = Packet { ssrc, seq, timestamp: *n * 960, marker: false, is_key, level, len };
        let mut writes = Vec::new();
        self.forwarder.packet(self.now, no, layer, &packet, &mut writes);
        self.out.extend(self.forwarder.take());
        self.writes.extend(&writes);
        assert!(writes.iter().all(|write| write.csrc == no), "each says which stream it is of");
        writes.into_iter().map(|write| (write.person, write.slot)).collect()
    }

    /// So much time passes, while these streams' layers send `len` bytes every 20 ms.
    fn pass(&mut self, ms: u64, sending: &[(u32, usize, usize)]) {
        for _ in 0..ms / 20 {
            self.now += Duration::from_millis(20);
            for &(no, layer, len) in sending {
                self.send(no, layer, false, len);
            }
            self.forwarder.tick(self.now);
            self.out.extend(self.forwarder.take());
            let next = self.forwarder.next_tick();
            assert!(next.is_none_or(|next| next > self.now), "what is due is done");
        }
    }

    /// The key frames that are asked for, by stream and layer, since this was last asked.
    fn key_frames(&mut self) -> Vec<(u32, Option<String>)> {
        let is_one = |output: &mut Output| matches!(output, Output::KeyFrame { .. });
        let asked = self.out.extract_if(.., is_one);
        let of = |output| match output {
            Output::KeyFrame { no, rid, .. } => Some((no, rid)),
            _ => None,
        };
        asked.filter_map(of).collect()
    }

    /// What a participant was told, since this was last asked.
    fn told(&mut self, person: PersonId) -> Vec<Told> {
        let is_its = |output: &mut Output| matches!(output, Output::Tell(who, _) if *who == person);
        let told = self.out.extract_if(.., is_its);
        let of = |output| match output {
            Output::Tell(_, told) => Some(told),
            _ => None,
        };
        told.filter_map(of).collect()
    }

    fn states(&mut self, person: PersonId) -> Vec<PlayState> {
        let state = |told| match told {
            Told::Playing { state, .. } => Some(state),
            _ => None,
        };
        self.told(person).into_iter().filter_map(state).collect()
    }

    fn fed(&mut self, person: PersonId) -> Vec<u32> {
        let slots = |told| match told {
            Told::Slots { slots, .. } => Some(slots),
            _ => None,
        };
        let last = self.told(person).into_iter().filter_map(slots).next_back();
        let mut numbers: Vec<_> = last.unwrap_or_default().into_iter().map(|slot| slot.no).collect();
        numbers.sort_unstable();
        numbers
    }

    fn limits(&mut self, person: PersonId) -> Vec<(u32, Vec<String>)> {
        let limit = |told| match told {
            Told::Limit { bps, layers, .. } => Some((bps, layers)),
            _ => None,
        };
        self.told(person).into_iter().filter_map(limit).collect()
    }
}

fn stream_id(owner: PersonId, source: Source) -> StreamId {
    StreamId::new(&format!("user{}/{}", owner.0, source.word())).expect("an id")
}

#[test]
fn a_call_of_two_plays_from_the_first_key_frame_on() {
    let mut world = World::new();
    world.publish(ALICE, 1, Source::Microphone, &[]);
    world.publish(ALICE, 2, Source::Camera, &[]);
    world.play(BOB, 1, 1, &[1, 2]);
    assert_eq!(world.key_frames(), [(2, None)], "asked for at once");
    assert_eq!(world.states(BOB), [PlayState::Playing, PlayState::Waiting]);
    assert_eq!(world.send(1, 0, false, 80), [(BOB, 0)]);
    assert_eq!(world.send(2, 0, false, 900), [], "nobody could begin there");
    assert_eq!(world.key_frames(), [(2, None)], "its publisher may not have been there before");
    assert_eq!(world.send(2, 0, true, 900), [(BOB, 1)]);
    assert_eq!(world.states(BOB), [PlayState::Playing]);
    assert_eq!(world.send(2, 0, false, 900), [(BOB, 1)]);
    assert!(world.writes.iter().all(|write| write.seq < 32_768 + 2), "numbers begin low");
    let counts = Counts { forwarded: 4, written: 3, ..Counts::default() };
    assert_eq!(world.forwarder.counts(), counts);
}

#[test]
fn nobody_begins_with_a_key_frame_whose_rest_went_by() {
    let mut world = World::new();
    world.publish(ALICE, 2, Source::Camera, &[]);
    world.play(BOB, 0, 1, &[2]);
    world.next.insert((2, 0), 50_001);
    world.send(2, 0, false, 900);
    world.next.insert((2, 0), 50_000);
    assert_eq!(world.send(2, 0, true, 900), []);
    world.pass(1_100, &[]);
    assert_eq!(world.key_frames(), vec![(2, None); 3], "it is asked for still");
    world.next.insert((2, 0), 50_002);
    assert_eq!(world.send(2, 0, true, 900), [(BOB, 0)]);
}

#[test]
fn what_nobody_knows_or_can_carry_is_counted_and_goes_nowhere() {
    let mut world = World::new();
    world.publish(ALICE, 1, Source::Microphone, &[]);
    world.play(BOB, 1, 0, &[1]);
    assert_eq!(world.send(9, 0, false, 80), []);
    assert_eq!(world.send(1, 1, false, 80), []);
    assert_eq!(world.send(1, 0, false, MOST_PAYLOAD + 1), []);
    let counts = Counts { unknown: 2, too_long: 1, ..Counts::default() };
    assert_eq!(world.forwarder.counts(), counts);
}

#[test]
fn a_publisher_who_sends_more_than_may_be_is_cut_down_to_it_and_nobody_else_is() {
    let mut world = World::new();
    let ingress = Rate { most: 25_000, within: Duration::from_secs(1) };
    world.forwarder = Forwarder::new(Settings { ingress, ..Settings::default() }, 11);
    world.publish(ALICE, 1, Source::Microphone, &[]);
    world.publish(ALICE, 2, Source::ScreenAudio, &[]);
    world.publish(CAROL, 3, Source::Microphone, &[]);
    world.play(BOB, 3, 0, &[1, 2, 3]);
    let carried = |world: &mut World, no, packets| {
        (0..packets).filter(|_| !world.send(no, 0, false, 1_000).is_empty()).count()
    };
    assert_eq!((carried(&mut world, 1, 20), carried(&mut world, 2, 20)), (20, 5), "both together");
    assert_eq!(carried(&mut world, 3, 20), 20, "another's");
    world.now += Duration::from_secs(2);
    assert_eq!(carried(&mut world, 1, 40), 25);
    assert_eq!(world.forwarder.counts().flood, 15 + 15);
    world.order(&Order::Forget(ALICE));
    assert!(world.forwarder.ingress.keys().eq([&CAROL]));
}

#[test]
fn those_who_come_at_once_ask_for_one_key_frame() {
    let mut world = World::new();
    world.publish(ALICE, 2, Source::Camera, &[]);
    for person in 2..20 {
        world.play(PersonId(person), 0, 1, &[2]);
        world.pass(20, &[]);
    }
    assert_eq!(world.key_frames(), [(2, None)], "within 400 ms");
    world.pass(200, &[]);
    assert_eq!(world.key_frames(), [(2, None)], "after 500 ms");
    assert_eq!(world.send(2, 0, true, 900).len(), 18);
    world.pass(5_000, &[(2, 0, 900)]);
    assert_eq!(world.key_frames(), [], "it came");
    for _ in 0..10 {
        world.forwarder.key_frame_wanted(world.now, BOB, 0);
        world.forwarder.key_frame_wanted(world.now, CAROL, 0);
    }
    world.pass(20, &[]);
    assert_eq!(world.key_frames(), [(2, None)], "subscribers' own requests are merged, too");
    for person in 2..20 {
        world.order(&Order::Stop(PersonId(person), 2));
    }
    world.pass(9_000, &[]);
    assert_eq!(world.key_frames(), [], "nobody plays it any more");
}

#[test]
fn what_is_muted_is_held_back_and_goes_on_from_a_key_frame() {
    let mut world = World::new();
    world.publish(ALICE, 1, Source::Microphone, &[]);
    world.publish(ALICE, 2, Source::Camera, &[]);
    world.play(BOB, 1, 1, &[1, 2]);
    world.send(2, 0, true, 900);
    world.send(1, 0, false, 80);
    world.key_frames();
    for no in [1, 2] {
        world.order(&Order::Mute(no, true));
    }
    world.pass(3_000, &[(1, 0, 80), (2, 0, 900)]);
    assert_eq!((world.writes.len(), world.key_frames()), (2, vec![]));
    assert_eq!(world.forwarder.counts().muted, 300);
    for no in [1, 2] {
        world.order(&Order::Mute(no, false));
    }
    assert_eq!(world.key_frames(), [(2, None)]);
    assert_eq!(world.send(2, 0, false, 900), []);
    assert_eq!(world.send(1, 0, false, 80), [(BOB, 0)]);
    assert_eq!(world.send(2, 0, true, 900), [(BOB, 1)]);
    let seq = |at: usize| world.writes[at].seq;
    assert_eq!((seq(2) - seq(1), seq(3) - seq(0)), (1, 1), "without a gap");
    assert!(world.writes[2].marker, "a talkspurt begins");
    let passed = world.writes[3].timestamp.wrapping_sub(world.writes[0].timestamp);
    assert_eq!(passed, 3 * 90_000);
}

#[test]
fn streams_have_slots_of_their_own_while_there_is_room_and_the_rest_is_told() {
    let mut world = World::new();
    for no in 1..=3 {
        world.publish(PersonId(no + 10), no, Source::Camera, &[]);
    }
    world.play(BOB, 0, 2, &[1, 2, 3]);
    use PlayState::{NoSlot, Waiting};
    assert_eq!(world.states(BOB), [Waiting, Waiting, NoSlot]);
    world.publish(PersonId(20), 4, Source::Screen, &[]);
    world.order(&Order::Play(BOB, 4, Wish::High));
    assert_eq!(world.fed(BOB), [1, 4], "a screen goes before faces");
    world.order(&Order::End(1));
    assert_eq!(world.fed(BOB), [2, 4]);
    world.order(&Order::Stop(BOB, 4));
    assert_eq!(world.fed(BOB), [2, 3]);
    world.order(&Order::Forget(PersonId(12)));
    assert_eq!(world.fed(BOB), [3], "who is gone takes their streams along");
    world.order(&Order::Refresh(BOB));
    assert_eq!(world.told(BOB).len(), 2, "slots, and where the one stream stands");
}

#[test]
fn a_codec_that_a_participant_does_not_take_is_told() {
    let mut world = World::new();
    world.publish(ALICE, 2, Source::Camera, &[]);
    let recv = [SlotOf { mid: "0".into(), kind: Kind::Video }];
    world.forwarder.slots(world.now, BOB, 1, &recv, &["vp8"]);
    world.order(&Order::Play(BOB, 2, Wish::High));
    let stream = stream_id(ALICE, Source::Camera);
    let told = Told::Playing { stream, state: PlayState::Failed, code: Some(Code::Codec) };
    assert!(world.told(BOB).contains(&told));
    assert_eq!(world.send(2, 0, true, 900), []);
}

#[test]
fn another_offer_leaves_slots_where_they_are_and_another_connection_does_not() {
    let mut world = World::new();
    world.publish(ALICE, 1, Source::Camera, &[]);
    world.publish(BOB, 2, Source::Camera, &[]);
    world.play(BOB, 0, 1, &[1]);
    world.play(ALICE, 0, 1, &[2]);
    world.send(1, 0, true, 900);
    world.send(2, 0, true, 900);
    let recv = ["new", "Video0"].map(|mid| SlotOf { mid: mid.into(), kind: Kind::Video });
    world.forwarder.slots(world.now, BOB, 2, &recv, &["av1"]);
    assert_eq!(world.send(1, 0, false, 900), [(BOB, 1)], "it goes on, by the slot's new place");
    assert_eq!(world.writes[2].seq, world.writes[0].seq + 1);
    world.pass(1_000, &[]);
    world.key_frames();
    world.forwarder.anew(world.now, BOB);
    assert_eq!(world.send(1, 0, true, 900), [], "there is no slot until the offer is answered");
    assert_eq!(world.send(2, 0, false, 900), [], "its own pictures begin anew");
    world.play(BOB, 0, 1, &[]);
    assert_eq!(world.key_frames(), [(2, None), (2, None)], "at once, and where they begin");
    world.out.extend(world.forwarder.take());
    assert_eq!(world.key_frames(), [(1, None)]);
    assert_eq!(world.send(1, 0, true, 900), [(BOB, 0)]);
    assert!(world.writes.last().unwrap().seq < 32_768);
}

#[test]
fn where_there_is_no_room_for_all_the_loudest_are_heard() {
    let mut world = World::new();
    for no in 1..=6 {
        world.publish(PersonId(no + 10), no, Source::Microphone, &[]);
    }
    world.play(BOB, 4, 0, &[1, 2, 3, 4, 5, 6]);
    let talk = |world: &mut World, levels: [u8; 6], ms: u64| {
        for _ in 0..ms / 20 {
            world.now += Duration::from_millis(20);
            for (no, level) in (1..).zip(levels) {
                world.send_at(no, 0, false, 80, Some(level));
            }
            world.forwarder.tick(world.now);
            world.out.extend(world.forwarder.take());
        }
    };
    talk(&mut world, [127; 6], 1_000);
    assert!(world.fed(BOB).is_empty(), "nobody speaks");
    assert_eq!(world.send_at(5, 0, false, 80, Some(20)), [(BOB, 0)], "from the first packet on");
    talk(&mut world, [127, 127, 127, 127, 20, 127], 1_000);
    talk(&mut world, [30, 127, 25, 127, 20, 127], 1_000);
    assert_eq!(world.fed(BOB), [1, 3, 5], "as many as are heard at once");
    talk(&mut world, [30, 127, 25, 33, 20, 10], 2_000);
    assert_eq!(world.fed(BOB), [3, 5, 6], "the loudest, in the place of the quietest");
    world.order(&Order::Mute(5, true));
    talk(&mut world, [30, 127, 25, 33, 20, 10], 1_000);
    assert_eq!(world.fed(BOB), [1, 3, 6]);
    world.order(&Order::Stop(BOB, 3));
    assert_eq!(world.fed(BOB), [1, 4, 6], "at once");
    world.order(&Order::End(2));
    assert_eq!(world.fed(BOB), [1, 4, 5, 6], "as many as there are slots");
    world.order(&Order::Play(BOB, 3, Wish::High));
    assert_eq!(world.fed(BOB), [1, 4, 6], "who speaks goes on, whoever comes");
    let mut last = BTreeMap::new();
    for write in &world.writes {
        let before: Option<u64> = last.insert(write.slot, write.seq);
        assert!(before.is_none_or(|before| write.seq == before + 1), "no slot has a gap");
    }
    assert!(!world.states(BOB).contains(&PlayState::NoSlot));
}

#[test]
fn everyone_is_told_how_loud_everyone_is_and_who_speaks() {
    let mut world = World::new();
    for no in 1..=2 {
        world.publish(PersonId(no), no, Source::Microphone, &[]);
    }
    let user = |no: u32| UserName::new(&format!("user{no}")).expect("a name");
    let mut told: Vec<Told> = Vec::new();
    for at in 0..150 {
        world.now += Duration::from_millis(20);
        for no in 1..=2 {
            let level = if no == 1 && at >= 50 { 15 } else { 70 };
            world.send_at(no, 0, false, 80, Some(level));
        }
        world.forwarder.tick(world.now);
        let all = world.forwarder.take().into_iter().filter_map(|output| match output {
            Output::TellAll(told) => Some(told),
            _ => None,
        });
        told.extend(all);
    }
    let last = told.last().expect("something was told");
    let list = vec![Volume { user: user(1), level: 75 }];
    assert_eq!(*last, Told::Volumes { list, active: Some(user(1)) });
    assert!(told.len() <= 4, "twice a second while it changes, and not while nobody speaks");
}

#[test]
fn of_several_sizes_the_one_that_fits_goes_and_changes_at_key_frames() {
    let mut world = World::new();
    world.publish(ALICE, 2, Source::Camera, &[100_000, 300_000, 900_000]);
    world.play(BOB, 0, 1, &[2]);
    world.forwarder.estimate(world.now, BOB, 2_000_000);
    let layer = |no: usize| (2, Some(format!("l{no}")));
    assert_eq!(world.key_frames(), [layer(2)], "all fit");
    let all = [(2, 0, 100), (2, 1, 400), (2, 2, 1_200)];
    world.send(2, 0, true, 100);
    assert_eq!(
        world.states(BOB),
        [PlayState::Waiting, PlayState::Playing],
        "the least is better than nothing"
    );
    assert_eq!(world.send(2, 2, true, 1_000), [(BOB, 0)]);
    assert_eq!(world.send(2, 0, false, 100), []);
    world.pass(3_000, &all);
    // 505 kbit/s as they come; 400 kbit/s carry the second of them.
    world.forwarder.estimate(world.now, BOB, 400_000);
    world.pass(200, &all);
    assert_eq!(world.key_frames(), [], "a moment only");
    world.pass(200, &all);
    assert_eq!(world.key_frames(), [layer(1)]);
    assert_eq!(world.send(2, 2, false, 1_000), [(BOB, 0)], "till the key frame comes");
    assert_eq!(world.send(2, 1, true, 400), [(BOB, 0)]);
    assert_eq!(world.send(2, 2, false, 1_000), []);
    world.forwarder.estimate(world.now, BOB, 10_000);
    world.pass(1_000, &all);
    assert_eq!(world.key_frames(), [layer(0)]);
    assert_eq!(world.states(BOB), [], "it goes on until it has to be paused");
    world.pass(1_500, &all);
    assert_eq!(world.states(BOB), [PlayState::Paused]);
    assert_eq!(world.send(2, 0, true, 100), []);
    world.forwarder.estimate(world.now, BOB, 2_000_000);
    world.pass(2_200, &all);
    assert_eq!(world.states(BOB), [PlayState::Waiting]);
    assert_eq!(world.send(2, 2, true, 1_000), [(BOB, 0)]);
    assert_eq!(world.states(BOB), [PlayState::Playing]);
    world.order(&Order::Play(BOB, 2, Wish::Low));
    assert_eq!(world.send(2, 0, true, 100), [(BOB, 0)], "no more than is wished for");
}

#[test]
fn publishers_are_told_which_sizes_are_played_and_send_them_again_when_they_are() {
    let mut world = World::new();
    world.publish(ALICE, 2, Source::Camera, &[100_000, 300_000]);
    world.pass(600, &[]);
    assert_eq!(world.limits(ALICE), [(100_000, vec!["l0".to_owned()])], "nobody plays it");
    world.play(BOB, 0, 1, &[2]);
    world.pass(600, &[(2, 0, 100)]);
    let both = || (400_000, vec!["l0".to_owned(), "l1".to_owned()]);
    assert_eq!(world.limits(ALICE), [both()]);
    world.send(2, 1, true, 400);
    world.order(&Order::Play(BOB, 2, Wish::Low));
    world.pass(4_000, &[(2, 0, 100), (2, 1, 400)]);
    assert_eq!(world.limits(ALICE), [], "till the key frame, and a while longer");
    world.send(2, 0, true, 100);
    world.pass(6_000, &[(2, 0, 100), (2, 1, 400)]);
    assert_eq!(world.limits(ALICE), [(100_000, vec!["l0".to_owned()])]);
    world.order(&Order::Play(BOB, 2, Wish::High));
    world.pass(600, &[(2, 0, 100)]);
    assert_eq!(world.limits(ALICE), [both()]);
}

#[test]
fn a_stream_of_one_size_follows_what_most_of_those_who_play_it_can_take() {
    let mut world = World::new();
    world.publish(ALICE, 2, Source::Camera, &[]);
    world.play(BOB, 0, 1, &[2]);
    world.send(2, 0, true, 900);
    world.pass(1_000, &[(2, 0, 1_186)]);
    assert_eq!(world.limits(ALICE), [], "nothing is known of the connection");
    // 500 kbit/s come, and 300 fit.
    world.forwarder.estimate(world.now, BOB, 300_000);
    world.pass(1_000, &[(2, 0, 1_186)]);
    assert_eq!(world.limits(ALICE), [(240_000, vec![])]);
    assert_eq!(world.states(BOB), [PlayState::Waiting, PlayState::Playing], "it has time to follow");
    world.pass(3_000, &[(2, 0, 500)]);
    assert_eq!(world.states(BOB), [], "it did");
    world.forwarder.estimate(world.now, BOB, 295_000);
    world.pass(1_000, &[(2, 0, 500)]);
    assert_eq!(world.limits(ALICE), [], "that is hardly a change");
    for person in 3..=6 {
        world.play(PersonId(person), 0, 1, &[2]);
        world.forwarder.estimate(world.now, PersonId(person), 1_000_000);
    }
    world.pass(1_000, &[(2, 0, 500)]);
    assert_eq!(world.limits(ALICE), [], "the slowest of five is followed");
    world.play(PersonId(7), 0, 1, &[2]);
    world.forwarder.estimate(world.now, PersonId(7), 1_000_000);
    world.pass(1_000, &[(2, 0, 500)]);
    assert_eq!(world.limits(ALICE), [(800_000, vec![])], "the slowest of six is not");
    world.send(2, 0, true, 900);
    world.pass(4_000, &[(2, 0, 1_186)]);
    assert_eq!(world.states(BOB), [PlayState::Paused], "it cannot be helped");
}

#[test]
fn a_connection_is_to_carry_what_its_slots_may_need() {
    let mut world = World::new();
    world.publish(ALICE, 1, Source::Microphone, &[]);
    world.publish(ALICE, 2, Source::Camera, &[100_000, 900_000]);
    world.play(BOB, 1, 1, &[1, 2]);
    let bitrates = |output: &Output| match output {
        Output::Bitrates { person: BOB, least, most } => Some((*least, *most)),
        _ => None,
    };
    assert_eq!(world.out.iter().filter_map(bitrates).next_back(), Some((164_000, 964_000)));
}
