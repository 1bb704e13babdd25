use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use sidetone_core::harness::Harness;
use sidetone_core::rtp::{ABS_CAPTURE_TIME_ID, ntp_of};
use sidetone_core::{DropReason, EventKind, Flags, Frame, Key, Params, Shared, Value};

use super::*;

const AUDIO: usize = Medium::Audio as usize;
const VIDEO: usize = Medium::Video as usize;
const SCREEN: usize = Source::Screen as usize;
const SCREEN_AUDIO: usize = Source::ScreenAudio as usize;

/// Somebody who publishes neither a screen nor its sound.
fn join(shared: &Shared, user: &str) -> Harness {
    without_screen(with_screen(shared, user))
}

fn without_screen(mut node: Harness) -> Harness {
    [SCREEN, SCREEN_AUDIO].into_iter().for_each(|port| node.unlink(port));
    node
}

fn with_screen(shared: &Shared, user: &str) -> Harness {
    Harness::try_new(&SPEC, &[("url", "mem://demo".into()), ("user", user.into())], shared).unwrap()
}

fn why(params: &[(&str, Value)]) -> String {
    Harness::try_new(&SPEC, params, &Shared::default()).err().unwrap().to_string()
}

fn rtp_bytes(codec: Codec, number: u16, captured: Option<Timestamp>) -> Vec<u8> {
    let mut bytes = vec![0x80, sidetone_core::rtp::payload_type(codec)];
    bytes.extend(number.to_be_bytes());
    bytes.extend((u32::from(number) * 480).to_be_bytes());
    bytes.extend((codec as u32 + 70).to_be_bytes());
    if let Some(captured) = captured {
        bytes[0] |= 0x10;
        bytes.extend([0xbe, 0xde, 0, 3, ABS_CAPTURE_TIME_ID << 4 | 7]);
        bytes.extend(ntp_of(captured).to_be_bytes());
        bytes.extend([0; 3]);
    }
    bytes.extend([9; 20]);
    bytes
}

fn send(node: &mut Harness, medium: Medium, numbers: std::ops::Range<u16>) {
    let codec = if medium == Medium::Audio { Codec::Opus } else { Codec::Av1 };
    for number in numbers {
        let frame = node.rtp(codec, &rtp_bytes(codec, number, None));
        node.push(medium as usize, frame);
    }
    node.run();
}

/// Ends what the node publishes and tells it to stop, as the graph does.
fn stop(node: &mut Harness) {
    node.stop();
    node.end(AUDIO);
    node.end(VIDEO);
}

fn numbers(frames: &[(Option<Key>, Frame)]) -> Vec<u16> {
    frames.iter().map(|(_, frame)| u16::from_be_bytes([frame.bytes()[2], frame.bytes()[3]])).collect()
}

/// Who appeared.
fn appeared(events: &[EventKind]) -> Vec<(Key, String)> {
    let joined = events.iter().filter_map(|event| match event {
        EventKind::Appeared { group: "participant", key, name } => Some((*key, name.to_string())),
        _ => None,
    });
    joined.collect()
}

fn vanished(events: &[EventKind]) -> Vec<(Key, LeaveReason)> {
    let left = events.iter().filter_map(|event| match event {
        EventKind::Vanished { key, reason, .. } => Some((*key, *reason)),
        _ => None,
    });
    left.collect()
}

fn link(node: &mut Harness, key: Key) {
    node.link_output(AUDIO, Some(key));
    node.link_output(VIDEO, Some(key));
}

/// Two who have met and linked each other.
fn pair(shared: &Shared) -> (Harness, Harness) {
    let (mut alice, mut bob) = (join(shared, "alice"), join(shared, "bob"));
    alice.run();
    bob.run();
    alice.run();
    for (node, other) in [(&mut alice, "bob"), (&mut bob, "alice")] {
        assert_eq!(appeared(&node.events()), [(Key(0), other.to_owned())]);
        assert!(matches!(node.upstream()[..], [(link, Control::KeyFrame)] if link.0 as usize == VIDEO));
        link(node, Key(0));
    }
    (alice, bob)
}

#[test]
fn two_hear_each_other_in_order_and_no_byte_is_copied() {
    let (mut alice, mut bob) = pair(&Shared::default());
    let frame = alice.rtp(Codec::Opus, &rtp_bytes(Codec::Opus, 0, None));
    let at = frame.bytes().as_ptr();
    alice.push(AUDIO, frame);
    send(&mut alice, Medium::Audio, 1..50);
    send(&mut alice, Medium::Video, 0..30);
    send(&mut bob, Medium::Audio, 0..9);
    alice.run();
    let heard = bob.take_keyed(AUDIO);
    assert_eq!(heard[0].1.bytes().as_ptr(), at);
    assert!(heard.iter().all(|(key, _)| *key == Some(Key(0))));
    assert_eq!(numbers(&heard), (0..50).collect::<Vec<_>>());
    assert_eq!(numbers(&bob.take_keyed(VIDEO)), (0..30).collect::<Vec<_>>());
    assert_eq!(numbers(&alice.take_keyed(AUDIO)), (0..9).collect::<Vec<_>>());
    let added = |medium: Medium| EventKind::StreamAdded {
        key: Key(0),
        name: "alice".into(),
        port: OUTPUTS[medium as usize],
    };
    assert_eq!(bob.events(), [added(Medium::Audio), added(Medium::Video)]);
}

#[test]
fn a_screen_and_its_sound_come_through_outputs_of_their_own() {
    let shared = Shared::default();
    let (mut alice, mut bob) = (with_screen(&shared, "alice"), join(&shared, "bob"));
    [&mut bob, &mut alice].into_iter().for_each(Harness::run);
    let asked: Vec<_> = alice.upstream().iter().map(|(link, _)| link.0 as usize).collect();
    assert_eq!(asked, [VIDEO, SCREEN], "a newcomer needs key frames of both");
    bob.events();
    bob.link_output(SCREEN, Some(Key(0)));
    bob.link_output(SCREEN_AUDIO, Some(Key(0)));
    for (port, codec) in [(SCREEN, Codec::Av1), (SCREEN_AUDIO, Codec::Opus)] {
        let frame = alice.rtp(codec, &rtp_bytes(codec, 7, None));
        alice.push(port, frame);
    }
    alice.run();
    bob.run();
    assert_eq!(
        (numbers(&bob.take_keyed(SCREEN)), numbers(&bob.take_keyed(SCREEN_AUDIO))),
        (vec![7], vec![7])
    );
    assert!(bob.take_keyed(VIDEO).is_empty() && bob.take_keyed(AUDIO).is_empty());
    let ports: Vec<_> = bob.events().iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["alice sends screen", "alice sends screen_audio"]);
}

#[test]
fn three_get_each_others_packets_under_keys_of_their_own() {
    let shared = Shared::default();
    let (mut alice, mut bob) = pair(&shared);
    let mut carol = join(&shared, "carol");
    carol.run();
    assert_eq!(appeared(&carol.events()), [(Key(0), "alice".into()), (Key(1), "bob".into())]);
    (0..2).for_each(|key| link(&mut carol, Key(key)));
    send(&mut alice, Medium::Audio, 0..2);
    send(&mut bob, Medium::Audio, 10..12);
    carol.run();
    let heard = carol.take_keyed(AUDIO);
    assert_eq!(numbers(&heard), [0, 1, 10, 11]);
    assert_eq!(heard[2].0, Some(Key(1)));
    assert_eq!(appeared(&bob.events()), [(Key(1), "carol".into())]);
    assert!(bob.upstream().iter().any(|(_, control)| *control == Control::KeyFrame));
}

#[test]
fn requests_reach_the_participant_they_are_meant_for() {
    let shared = Shared::default();
    let (mut alice, mut bob) = pair(&shared);
    let mut carol = join(&shared, "carol");
    for _ in 0..2 {
        for node in [&mut carol, &mut alice, &mut bob] {
            node.run();
            node.clear();
        }
    }
    let about_alice = Some(Through { port: VIDEO, key: Some(Key(0)) });
    for _ in 0..3 {
        carol.control(Control::KeyFrame, about_alice);
    }
    carol.control(Control::Bitrate { bps: 500_000 }, about_alice);
    bob.control(Control::Bitrate { bps: 300_000 }, about_alice);
    for node in [&mut carol, &mut bob, &mut alice] {
        node.run();
    }
    let asked: Vec<_> =
        alice.upstream().into_iter().map(|(link, control)| (link.0 as usize, control)).collect();
    // Three requests become one, and the one encoder must suit both.
    assert_eq!(asked, [(VIDEO, Control::KeyFrame), (VIDEO, Control::Bitrate { bps: 300_000 })]);
    assert!(bob.upstream().is_empty());
    stop(&mut bob);
    bob.run();
    alice.run();
    assert!(matches!(alice.upstream()[..], [(_, Control::Bitrate { bps: 500_000 })]));
}

#[test]
fn packets_wait_for_their_link_and_keep_their_order() {
    let shared = Shared::default();
    let (mut alice, mut bob) = (join(&shared, "alice"), join(&shared, "bob"));
    (0..2).for_each(|_| [&mut alice, &mut bob].into_iter().for_each(Harness::run));
    send(&mut alice, Medium::Audio, 0..5);
    bob.advance(Duration::from_millis(400));
    assert!(bob.take(AUDIO).is_empty());
    link(&mut bob, Key(0));
    send(&mut alice, Medium::Audio, 5..8);
    bob.advance(Duration::from_millis(10));
    assert_eq!(numbers(&bob.take_keyed(AUDIO)), (0..8).collect::<Vec<_>>());
    assert_eq!(bob.ledger().drops(), 0);
}

#[test]
fn what_is_sent_before_a_nodes_first_call_is_not_lost() {
    let shared = Shared::default();
    let (mut alice, mut bob) = (join(&shared, "alice"), join(&shared, "bob"));
    send(&mut alice, Medium::Audio, 0..5);
    link(&mut bob, Key(0));
    bob.run();
    assert_eq!(bob.take(AUDIO).len(), 5);
}

#[test]
fn only_a_publisher_of_pictures_is_asked_for_a_key_frame() {
    let shared = Shared::default();
    let (mut alice, mut bob) = (join(&shared, "alice"), join(&shared, "bob"));
    alice.unlink(VIDEO);
    [&mut alice, &mut bob].into_iter().for_each(Harness::run);
    assert!(alice.upstream().is_empty() && !alice.events().contains(&EventKind::KeyFrameRequested));
    assert!(bob.upstream().len() == 1 && bob.events().contains(&EventKind::KeyFrameRequested));
}

#[test]
fn packets_for_a_link_that_never_comes_are_counted() {
    let shared = Shared::default();
    let (mut alice, mut bob) = (join(&shared, "alice"), join(&shared, "bob"));
    (0..2).for_each(|_| [&mut alice, &mut bob].into_iter().for_each(Harness::run));
    send(&mut alice, Medium::Video, 0..5);
    bob.advance(Duration::from_millis(990));
    let unlinked = |node: &Harness| node.ledger().dropped[DropReason::Unlinked as usize].get();
    assert_eq!(unlinked(&bob), 0);
    bob.advance(Duration::from_millis(20));
    assert_eq!(unlinked(&bob), 5);
    send(&mut alice, Medium::Video, 5..8);
    bob.run();
    assert_eq!(unlinked(&bob), 8);
    assert!(bob.wake_at().is_none(), "nothing is waited for any more");
}

#[test]
fn what_was_sent_comes_before_the_sender_is_seen_off() {
    let (mut alice, mut bob) = pair(&Shared::default());
    let sender = std::thread::spawn(move || {
        for start in (0..20_000).step_by(50) {
            send(&mut alice, Medium::Audio, start..start + 50);
            // Stay within the inbox's bounds, whatever the threads' speeds.
            std::thread::yield_now();
        }
        stop(&mut alice);
        alice.run();
        alice.ledger().dropped[DropReason::Overflow as usize].get()
    });
    let mut heard = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut left = Vec::new();
    while left.is_empty() {
        assert!(Instant::now() < deadline);
        bob.run();
        heard.extend(numbers(&bob.take_keyed(AUDIO)));
        left = vanished(&bob.events());
    }
    let overflow = sender.join().unwrap();
    assert_eq!(heard.len() as u64 + overflow, 20_000);
    assert!(heard.is_sorted());
    assert_eq!((left, bob.ended_keys()), (vec![(Key(0), LeaveReason::Left)], &[Key(0), Key(0)][..]));
}

#[test]
fn whoever_stops_first_still_takes_what_the_others_send() {
    let (mut alice, mut bob) = pair(&Shared::default());
    stop(&mut alice);
    alice.run();
    assert!(!alice.has_ended());
    bob.advance(Duration::from_millis(100));
    assert_eq!(vanished(&bob.events()), [(Key(0), LeaveReason::Left)]);
    send(&mut bob, Medium::Audio, 0..7);
    stop(&mut bob);
    bob.run();
    assert!(bob.has_ended(), "nobody is left who could send");
    alice.advance(Duration::from_millis(100));
    assert_eq!(alice.take(AUDIO).len(), 7);
    assert!(alice.has_ended());
}

#[test]
fn one_who_stays_is_waited_for_half_a_second() {
    let (mut alice, mut bob) = pair(&Shared::default());
    stop(&mut alice);
    alice.advance(Duration::from_millis(499));
    assert!(!alice.has_ended());
    alice.advance(Duration::from_millis(1));
    assert!(alice.has_ended());
    send(&mut bob, Medium::Audio, 0..1);
    assert_eq!(bob.ledger().dropped[DropReason::Unlinked as usize].get(), 1);
}

#[test]
fn a_room_stays_while_its_inputs_end_and_tells_which_stream_did() {
    let (mut alice, mut bob) = pair(&Shared::default());
    send(&mut alice, Medium::Audio, 0..3);
    send(&mut alice, Medium::Video, 0..3);
    alice.end(AUDIO);
    alice.run();
    bob.run();
    let removed = |medium: Medium| EventKind::StreamRemoved {
        key: Key(0),
        name: "alice".into(),
        port: OUTPUTS[medium as usize],
    };
    assert!(bob.events().contains(&removed(Medium::Audio)));
    assert_eq!(bob.take(AUDIO).len(), 3);
    alice.end(VIDEO);
    alice.run();
    bob.run();
    assert_eq!(bob.events(), [removed(Medium::Video)]);
    send(&mut bob, Medium::Audio, 0..1);
    alice.run();
    assert_eq!((alice.take(AUDIO).len(), alice.has_ended()), (1, false));
}

#[test]
fn a_second_login_ends_the_first() {
    let shared = Shared::default();
    let (mut alice, mut bob) = pair(&shared);
    let mut again = join(&shared, "alice");
    again.run();
    bob.run();
    let events = bob.events();
    assert_eq!(vanished(&events), [(Key(0), LeaveReason::Closed)]);
    assert_eq!(appeared(&events), [(Key(1), "alice".into())]);
    alice.run();
    let events = alice.events();
    assert!(events.iter().any(|e| matches!(e, EventKind::Notice(text) if text.contains("kicked offline"))));
    assert_eq!((vanished(&events).len(), alice.ended_keys().len()), (1, 2));
    send(&mut alice, Medium::Audio, 0..1);
    bob.run();
    assert_eq!(bob.take(AUDIO).len(), 0);
    assert_eq!(alice.ledger().dropped[DropReason::Stopped as usize].get(), 1);
    drop(alice);
    send(&mut bob, Medium::Audio, 0..1);
    link(&mut again, Key(0));
    again.run();
    assert_eq!(again.take(AUDIO).len(), 1, "the older login's end leaves the newer alone");
}

#[test]
fn a_node_that_is_dropped_leaves_and_an_empty_room_is_forgotten() {
    let shared = Shared::default();
    let (alice, mut bob) = pair(&shared);
    drop(alice);
    bob.run();
    assert_eq!(vanished(&bob.events()), [(Key(0), LeaveReason::Closed)]);
    drop(bob);
    let mut alice = join(&shared, "alice");
    alice.run();
    assert!(alice.events().is_empty());
}

#[test]
fn an_inbox_that_is_not_emptied_counts_what_it_cannot_take() {
    let (mut alice, mut bob) = pair(&Shared::default());
    send(&mut alice, Medium::Video, 0..2_100);
    assert_eq!(alice.ledger().dropped[DropReason::Overflow as usize].get(), 2_100 - 2_048);
    bob.run();
    assert_eq!(bob.take(VIDEO).len(), 2_048);
}

#[test]
fn parameters_that_do_not_do_say_what_would() {
    let user = ("user", Value::from("alice"));
    assert!(
        why(&[("url", "mem://a b".into()), user.clone()]).starts_with("url \"mem://a b\" has a room name")
    );
    assert!(why(&[("url", "mem://a".into()), ("user", "".into())]).contains("1 to 64 characters"));
    let udp = |url: &str| why(&[("url", url.into()), user.clone()]);
    assert!(udp("udp://127.0.0.1:5000?remote=127.0.0.1:5002").contains("needs real time"));
    let real = |url: &str| {
        let params = [("url", url.into()), user.clone()];
        Harness::in_real_time(&SPEC, &params, &Shared::default()).err().unwrap().to_string()
    };
    assert!(real("udp://0.0.0.0:5000?remote=127.0.0.1:5002").contains("allow_remote = true"));
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}?remote=127.0.0.1:9", taken.local_addr().unwrap());
    assert!(real(&url).contains("is the port in use"));
}

#[test]
fn the_checker_refuses_what_could_not_be_joined() {
    let told = |url: &str, user: &str, remote: bool| {
        let params = [("url", url.into()), ("user", user.into()), ("allow_remote", remote.into())];
        let params = Params::new(SPEC.params, &params).unwrap();
        SPEC.negotiated(&sidetone_core::Offer { params: &params, inputs: &[None, None] })
            .err()
            .map(|why| format!("{}; {}", why.takes, why.help))
            .unwrap_or_default()
    };
    let far = "udp://192.0.2.1:5000?remote=192.0.2.2:5000";
    for (url, user, of, what) in [
        ("demo", "alice", "url", "names no transport"),
        ("tcp://demo", "alice", "url", "\"tcp\", which is not known"),
        (far, "alice", "url", "allow_remote = true"),
        ("ws://192.0.2.1:7880", "", "url", "wss:// for a room server"),
        ("mem://demo", "", "user", "1 to 64 characters"),
        ("mem://demo", &"x".repeat(65), "user", "1 to 64 characters"),
    ] {
        let told = told(url, user, false);
        assert!(told.starts_with(&format!("cannot run with this {of}; {of} ")), "{url}: {told}");
        assert!(told.contains(what), "{url}: {told}");
    }
    assert_eq!(told(far, "alice", true), "");
    assert_eq!(told("mem://demo", "alice", false), "");
    assert_eq!(told("ws://127.0.0.1:7880", "", false), "", "it can be checked without a token");
    assert_eq!(told("wss://rooms.example.org", "", false), "");
    let with_token = |token: &str| {
        let params = [("url", "ws://[::1]:7880".into()), ("user", "bob".into()), ("token", token.into())];
        let params = Params::new(SPEC.params, &params).unwrap();
        let login = Login::of(&params, true).map(|login| login.user);
        login.map_err(|why| why.to_string())
    };
    assert!(with_token("").unwrap_err().contains("is needed to join"));
    let cut = with_token("eyJ.secret").unwrap_err();
    assert!(cut.contains("is none, or is cut off") && !cut.contains("eyJ"), "{cut}");
    // {"alg":"HS256"} and {"sub":"alice"}, signed with anything.
    let of_alice = with_token("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.AA");
    assert!(of_alice.unwrap_err().contains("the token is alice's"));
    let params = Params::new(
        SPEC.params,
        &[("url", far.into()), ("user", "alice".into()), ("allow_remote", true.into())],
    );
    let screen = Some(MediaType::rtp(Codec::Av1));
    let offer = sidetone_core::Offer { params: &params.unwrap(), inputs: &[None, None, screen, None] };
    let why = SPEC.negotiated(&offer).err().unwrap();
    assert!(why.port == SCREEN && why.takes.contains("udp://"), "{why:?}");
}

/// Two addresses of this machine that nobody uses.
fn free_addresses() -> (SocketAddr, SocketAddr) {
    let sockets = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    (sockets[0].local_addr().unwrap(), sockets[1].local_addr().unwrap())
}

fn join_udp(user: &str, local: SocketAddr, remote: SocketAddr, timeout_ms: i64) -> Harness {
    let url = format!("udp://{local}?remote={remote}");
    let params = [("url", url.as_str().into()), ("user", user.into()), ("timeout_ms", timeout_ms.into())];
    without_screen(Harness::in_real_time(&SPEC, &params, &Shared::default()).unwrap())
}

/// Runs `nodes` until `done` says so, for at most 20 s.
fn run_until<const N: usize>(nodes: [&mut Harness; N], mut done: impl FnMut(&mut [&mut Harness; N]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut nodes = nodes;
    loop {
        nodes.iter_mut().for_each(|node| node.run());
        if done(&mut nodes) {
            return;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::yield_now();
    }
}

/// Two who have met over udp and linked each other.
fn udp_pair() -> (Harness, Harness) {
    let (a, b) = free_addresses();
    let (mut alice, mut bob) = (join_udp("alice", a, b, 3_000), join_udp("bob", b, a, 3_000));
    let mut met = [Vec::new(), Vec::new()];
    run_until([&mut alice, &mut bob], |nodes| {
        for (node, met) in nodes.iter_mut().zip(&mut met) {
            met.extend(appeared(&node.events()));
        }
        met.iter().all(|met| !met.is_empty())
    });
    assert_eq!(met, [vec![(Key(0), "bob".to_owned())], vec![(Key(0), "alice".to_owned())]]);
    for node in [&mut alice, &mut bob] {
        link(node, Key(0));
        node.clear();
    }
    (alice, bob)
}

#[test]
fn media_cross_the_loopback_with_their_capture_times() {
    let (mut alice, mut bob) = udp_pair();
    let captured = alice.now();
    for number in 0..40 {
        let (audio, video) =
            (rtp_bytes(Codec::Opus, number, Some(captured)), rtp_bytes(Codec::Av1, number, None));
        alice.push(AUDIO, alice.rtp(Codec::Opus, &audio));
        bob.push(VIDEO, bob.rtp(Codec::Av1, &video));
    }
    let (mut heard, mut seen) = (Vec::new(), Vec::new());
    run_until([&mut alice, &mut bob], |[alice, bob]| {
        heard.extend(bob.take_keyed(AUDIO));
        seen.extend(alice.take_keyed(VIDEO));
        heard.len() >= 40 && seen.len() >= 40
    });
    let sent = |codec, captured| (0..40).map(move |number| rtp_bytes(codec, number, captured));
    assert!(heard.iter().map(|(_, frame)| frame.bytes().to_vec()).eq(sent(Codec::Opus, Some(captured))));
    assert!(seen.iter().map(|(_, frame)| frame.bytes().to_vec()).eq(sent(Codec::Av1, None)));
    assert!(heard.iter().enumerate().all(|(n, (_, frame))| frame.header.sequence == n as u64));
    assert!(heard.iter().all(|(_, frame)| frame.header.captured == captured && frame.header.pts == captured));
    assert!(seen.iter().all(|(_, frame)| frame.header.captured >= captured));
    assert!(heard.iter().all(|(_, frame)| !frame.header.flags.has(Flags::MARKER)));
}

#[test]
fn requests_cross_the_loopback() {
    let (mut alice, mut bob) = udp_pair();
    alice.push(VIDEO, alice.rtp(Codec::Av1, &rtp_bytes(Codec::Av1, 0, None)));
    run_until([&mut alice, &mut bob], |[_, bob]| !bob.take(VIDEO).is_empty());
    let about_alice = Some(Through { port: VIDEO, key: Some(Key(0)) });
    bob.control(Control::KeyFrame, about_alice);
    bob.control(Control::Bitrate { bps: 200_000 }, about_alice);
    let mut asked = Vec::new();
    run_until([&mut alice, &mut bob], |[alice, _]| {
        asked.extend(alice.upstream().into_iter().map(|(link, control)| (link.0 as usize, control)));
        asked.len() >= 2
    });
    assert_eq!(asked, [(VIDEO, Control::KeyFrame), (VIDEO, Control::Bitrate { bps: 200_000 })]);
}

#[test]
fn a_goodbye_over_udp_comes_after_the_last_packet() {
    let (mut alice, mut bob) = udp_pair();
    send(&mut alice, Medium::Audio, 0..20);
    alice.end(AUDIO);
    alice.run();
    alice.end(VIDEO);
    alice.stop();
    let (mut heard, mut events) = (0, Vec::new());
    run_until([&mut alice, &mut bob], |[_, bob]| {
        heard += bob.take(AUDIO).len();
        events.extend(bob.events());
        !vanished(&events).is_empty()
    });
    assert_eq!((heard, vanished(&events)), (20, vec![(Key(0), LeaveReason::Left)]));
    let removed = EventKind::StreamRemoved { key: Key(0), name: "alice".into(), port: OUTPUTS[AUDIO] };
    assert!(events.contains(&removed));
    assert_eq!(bob.ended_keys(), [Key(0), Key(0)]);
    run_until([&mut alice], |[alice]| alice.has_ended());
    stop(&mut bob);
    bob.run();
    assert!(bob.has_ended(), "nobody is there to wait for");
}

#[test]
fn silence_is_a_leave_and_what_returns_is_new() {
    let (local, remote) = free_addresses();
    let plain = UdpSocket::bind(remote).unwrap();
    let mut node = join_udp("alice", local, remote, 300);
    let mut events = Vec::new();
    for key in 0..2 {
        plain.send_to(&rtp_bytes(Codec::Opus, 7, None), local).unwrap();
        run_until([&mut node], |[node]| {
            events.extend(node.events());
            vanished(&events).len() > key
        });
    }
    // No name ever came, so the address stands for it.
    assert_eq!(appeared(&events), [(Key(0), remote.to_string()), (Key(1), remote.to_string())]);
    assert_eq!(vanished(&events), [0, 1].map(|key| (Key(key), LeaveReason::TimedOut)));
    assert!(node.fault().is_none());
}

#[test]
fn only_the_remote_is_heard_and_its_garbage_is_counted() {
    let (local, remote) = free_addresses();
    let mut node = join_udp("alice", local, remote, 3_000);
    let plain = UdpSocket::bind(remote).unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&rtp_bytes(Codec::Opus, 1, None), local).unwrap();
    let mut rng = fastrand::Rng::with_seed(9);
    let mut events = Vec::new();
    for round in 0..2_000 {
        let mut bytes: Vec<u8> = (0..rng.usize(0..80)).map(|_| rng.u8(..)).collect();
        if let [first, second, ..] = &mut bytes[..] {
            *first = 0x80 | *first & 0x3f;
            *second = [*second, 111, 45, 200 + *second % 8][round % 4];
        }
        plain.send_to(&bytes, local).unwrap();
        node.run();
        events.extend(node.events());
        node.take(AUDIO);
        node.take(VIDEO);
    }
    plain.send_to(&[0; 3_000], local).unwrap();
    let corrupt = |node: &Harness| node.ledger().dropped[DropReason::Corrupt as usize].get();
    run_until([&mut node], |[node]| corrupt(node) > 100);
    assert!(node.fault().is_none() && !node.has_ended());
    assert!(
        appeared(&events).iter().all(|(_, name)| !name.contains(&stranger.local_addr().unwrap().to_string()))
    );
}

#[test]
fn nobody_at_the_other_end_is_no_error() {
    let (local, remote) = free_addresses();
    let mut node = join_udp("alice", local, remote, 3_000);
    send(&mut node, Medium::Audio, 0..50);
    stop(&mut node);
    run_until([&mut node], |[node]| node.has_ended());
    assert!(node.fault().is_none());
}
