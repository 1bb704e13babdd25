//! `sidetone::room`: calls through a room server by programs without a graph.

use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use sidetone::room::{
    Code, DeviceCode, EncoderSettings, End, Entry, Kind, Options, Play, PlayState, PublishState, Room,
    RoomEvent, RoomState, Source, Statistics, StreamId, Wish,
};

use crate::room::{Place, Server, token};
use crate::{pictures, scratch, sound};

/// How long any event may take; what takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes events until one is like this; gives that one.
fn until(room: &Room, what: &str, is: impl Fn(&RoomEvent) -> bool) -> RoomEvent {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        match room.events().recv_deadline(deadline) {
            Ok(event) if is(&event) => return event,
            Ok(event) => seen.push(event.to_string()),
            Err(_) => panic!("{}: no {what} came, but {seen:#?}", room.user()),
        }
    }
}

fn playing(room: &Room, stream: &StreamId, wanted: PlayState) {
    until(
        room,
        &format!("{stream} {wanted:?}"),
        |event| matches!(event, RoomEvent::Playing { stream: of, state, .. } if of == stream && *state == wanted),
    );
}

#[test]
fn programs_without_a_graph_publish_play_mute_and_leave() {
    let server = Server::start(Place(None), &["--listen", "127.0.0.1:0"]);
    let folder = scratch();
    let tone = || End::new("test.tone");
    let scene = || End::new("test.scene").set("size", sidetone::Size::new(320, 180));
    let alice = Room::join(Options {
        publish: vec![(Source::Microphone, tone()), (Source::Camera, scene())],
        hear: Play::Together(End::new("file.wav_sink").set("path", &*folder.path("alice hears.wav"))),
        ..Options::new(&*server.url, token("alice", &[]))
    })
    .unwrap();
    until(&alice, "way in", |event| {
        matches!(event, RoomEvent::State(RoomState::Joined { entry: Entry::First, .. }))
    });
    let bob = Room::join(Options {
        publish: vec![(Source::Camera, End::new("file.y4m_source").set("path", "/nobody/has/this.y4m"))],
        see: Play::Each(End::new("file.y4m_sink").set("path", &*folder.path("${participant} ${source}.y4m"))),
        ..Options::new(&*server.url, token("bob", &[]))
    })
    .unwrap();
    until(&bob, "camera's failure", |event| {
        matches!(event, RoomEvent::Device { source: Source::Camera, code: DeviceCode::Failed, .. })
    });
    let camera = alice.stream(Source::Camera).unwrap();
    until(
        &bob,
        "first picture",
        |event| matches!(event, RoomEvent::FirstFrame { stream, .. } if *stream == camera),
    );

    // What is published later comes, too, once; and under the names that it has.
    bob.publish(Source::Microphone, tone()).unwrap();
    let twice = bob.publish(Source::Microphone, tone()).unwrap_err().to_string();
    assert!(twice.contains("microphone"), "{twice}");
    let voice = bob.stream(Source::Microphone).unwrap();
    assert_eq!(voice.to_string(), "bob/microphone");
    until(
        &alice,
        "first sound",
        |event| matches!(event, RoomEvent::FirstFrame { stream, .. } if *stream == voice),
    );
    let statistics = until(&alice, "statistics of it", |event| {
        match event {
        RoomEvent::Statistics { list, .. } => list.iter().any(
            |one| matches!(one, Statistics::InboundRtp { track_identifier, .. } if *track_identifier == voice),
        ),
        _ => false,
    }
    });
    let RoomEvent::Statistics { call_ms, list } = statistics else { unreachable!("until() gave it") };
    assert!(call_ms > 0);
    let json = serde_json::to_value(&list).unwrap();
    let of = |kind: &str, stream: &str| {
        let mut list = json.as_array().unwrap().iter();
        let found = list.find(|one| one["type"] == kind && one["id"].as_str().unwrap().ends_with(stream));
        found.unwrap_or_else(|| panic!("no {kind} of {stream} in {json:#}")).clone()
    };
    let (inbound, outbound) = (of("inbound-rtp", "bob/microphone"), of("outbound-rtp", "alice/camera"));
    assert!(inbound["packetsReceived"].as_u64() > Some(0) && inbound["packetsLost"] == 0, "{inbound}");
    assert!(
        outbound["packetsSent"].as_u64() > Some(0) && outbound["bytesSent"].as_u64() > Some(0),
        "{outbound}"
    );
    assert!(of("candidate-pair", "")["remoteCandidateId"].as_str().unwrap().starts_with("127.0.0.1:"));

    // Others are kept from being seen, all and one, by whoever does not want to see them.
    bob.mute_remote(None, Kind::Video, true);
    playing(&bob, &camera, PlayState::Stopped);
    bob.mute_remote(Some(alice.user()), Kind::Video, false);
    playing(&bob, &camera, PlayState::Playing);
    bob.stop(&camera);
    playing(&bob, &camera, PlayState::Stopped);
    bob.play(&camera, Wish::High);
    playing(&bob, &camera, PlayState::Playing);

    // What is published is encoded otherwise from now on, and goes on.
    let small =
        EncoderSettings { kbps: 100, size: sidetone::Size::new(160, 90), ..EncoderSettings::default() };
    alice.encode(Source::Camera, small).unwrap();
    let out_of_range = EncoderSettings { kbps: 1, ..small };
    assert!(
        alice.encode(Source::Camera, out_of_range).is_err() && alice.encode(Source::Screen, small).is_err()
    );

    // One's own is held back, and ended, and everyone is told.
    for muted in [true, false] {
        bob.mute(Source::Microphone, muted);
        until(&alice, "mute", |event| *event == RoomEvent::StreamMuted { stream: voice.clone(), muted });
    }
    bob.unpublish(Source::Microphone).unwrap();
    until(
        &bob,
        "end of it",
        |event| matches!(event, RoomEvent::Published { stream, state: PublishState::Ended, .. } if *stream == voice),
    );
    until(
        &alice,
        "end of his",
        |event| matches!(event, RoomEvent::StreamRemoved { stream, .. } if *stream == voice),
    );
    bob.renew(&token("bob", &[]));
    until(
        &bob,
        "other token",
        |event| matches!(event, RoomEvent::TokenRenewed { expires_s } if *expires_s > 3_000),
    );

    bob.leave();
    until(
        &alice,
        "goodbye",
        |event| matches!(event, RoomEvent::UserLeft { user, .. } if user.as_str() == "bob"),
    );
    alice.leave();
    assert!(pictures(&folder.path("alice video.y4m")).len() >= 10);
    let (heard, _) = sound(&folder.path("alice hears.wav"));
    assert!(heard.iter().any(|sample| sample.abs() > 0.05));
}

#[test]
fn a_token_that_does_not_hold_fails_with_its_code_and_one_that_is_none_at_once() {
    let server = Server::start(Place(None), &["--listen", "127.0.0.1:0"]);
    let folder = scratch();
    folder.write("key", b"0123456789abcdef0123456789abcdef");
    let foreign = token("eve", &["--app", "dev", "--secret-file", &folder.path("key")]);
    let eve = Room::join(Options::new(&*server.url, foreign)).unwrap();
    until(&eve, "failure", |event| {
        matches!(event, RoomEvent::State(RoomState::Failed { code: Code::TokenInvalid, call_ms: 0 }))
    });
    let over = eve.events().recv_deadline(Instant::now() + PATIENCE);
    assert_eq!(over, Err(RecvTimeoutError::Disconnected));
    let none = Room::join(Options::new(&*server.url, "none")).map(drop).unwrap_err().to_string();
    assert!(none.contains("the token is none, or is cut off"), "{none}");
}
