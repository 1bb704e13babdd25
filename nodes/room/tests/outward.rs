//! `room.whip` and `room.whep`, by a room server between them.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use sidetone_core::harness::Harness;
use sidetone_core::rtp::payload_type;
use sidetone_core::{Codec, NodeSpec, Shared, Value};
use sidetone_room::protocol::{RoomName, Source, UserName};
use sidetone_room::server::claims::Grants;
use sidetone_room::server::config::Config;
use sidetone_room::server::http::Server;
use sidetone_room::server::token::{App, Pass};

const AUDIO: usize = 0;
const VIDEO: usize = 1;

fn spec(kind: &str) -> &'static NodeSpec {
    sidetone_room::KINDS.iter().find(|spec| spec.kind == kind).unwrap()
}

fn node(kind: &str, url: &str, token: &str) -> Harness {
    let params: [(&str, Value); 2] = [("url", url.into()), ("token", token.into())];
    Harness::in_real_time(spec(kind), &params, &Shared::default()).unwrap()
}

fn token(user: &str) -> String {
    let grants = Grants { join: true, publish: Source::ALL.to_vec(), subscribe: true, ..Grants::default() };
    let room = Some(RoomName::new("demo").unwrap());
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let pass = Pass { user: UserName::new(user).unwrap(), room, grants };
    App::development().mint(&pass, wall, Duration::from_secs(600))
}

/// A packet of RTP, of a key frame where it is of a picture, that says which it is.
fn packet(codec: Codec, number: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type(codec) | 0x80];
    bytes.extend(number.to_be_bytes());
    bytes.extend((u32::from(number) * 960).to_be_bytes());
    bytes.extend([0, 0, 0, 7]);
    bytes.extend(if codec == Codec::Av1 { [0x18, 0x32] } else { [0xf8, 0xff] });
    bytes.extend(number.to_be_bytes());
    bytes
}

#[test]
fn what_whip_publishes_at_a_room_server_whep_plays_from_it() {
    let server = Server::start(&Config::parse("listen = \"127.0.0.1:0\"").unwrap()).unwrap();
    let url = |path: &str| format!("http://{}/{path}", server.address);
    let mut alice = node("room.whip", &url("whip/demo"), &token("alice"));
    // It asks again until alice is there.
    let mut bob = node("room.whep", &url("whep/demo/alice"), &token("bob"));
    bob.link_output(AUDIO, None);
    bob.link_output(VIDEO, None);
    let deadline = Instant::now() + Duration::from_secs(30);
    let (mut number, mut next) = (0, Instant::now());
    let (mut heard, mut seen) = (Vec::new(), Vec::new());
    while heard.len() < 50 || seen.len() < 50 {
        assert!(Instant::now() < deadline, "{} and {} came of {number}", heard.len(), seen.len());
        if Instant::now() >= next {
            next += Duration::from_millis(10);
            number += 1;
            alice.push(AUDIO, alice.rtp(Codec::Opus, &packet(Codec::Opus, number)));
            alice.push(VIDEO, alice.rtp(Codec::Av1, &packet(Codec::Av1, number)));
        }
        alice.run();
        bob.run();
        heard.extend(bob.take(AUDIO));
        seen.extend(bob.take(VIDEO));
        std::thread::yield_now();
    }
    for (frames, codec) in [(&heard, Codec::Opus), (&seen, Codec::Av1)] {
        let tail = |frame: &sidetone_core::Frame| frame.bytes()[frame.bytes().len() - 4..].to_vec();
        let first = u16::from_be_bytes(tail(&frames[0])[2..].try_into().unwrap());
        let expected = (first..).take(frames.len()).map(|number| packet(codec, number)[12..].to_vec());
        assert!(frames.iter().map(tail).eq(expected), "each once, in order, unopened");
    }
    drop((alice, bob));
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    assert_eq!((counts.joins, counts.panics, counts.peers_failed), (2, 0, 0), "{counts:?}");
}

#[test]
fn what_a_server_refuses_for_good_is_a_fault() {
    let server = Server::start(&Config::parse("listen = \"127.0.0.1:0\"").unwrap()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    for kind in ["room.whip", "room.whep"] {
        let mut node = node(kind, &format!("http://{}/whip/demo", server.address), "nonsense");
        while node.fault().is_none() {
            assert!(Instant::now() < deadline, "{kind}");
            node.run();
            std::thread::yield_now();
        }
    }
    let _ = server.end(Duration::ZERO, &AtomicBool::new(false));
}

#[test]
fn where_they_may_not_go_is_said_when_the_graph_is_read() {
    for (url, why) in
        [("http://192.0.2.1/whip/x", "allow_remote"), ("ftp://127.0.0.1/x", "http://"), ("", "http://")]
    {
        for kind in ["room.whip", "room.whep"] {
            let params = [("url", url.into())];
            let refused = Harness::in_real_time(spec(kind), &params, &Shared::default()).err();
            let said = refused.map(|refused| refused.to_string()).unwrap_or_default();
            assert!(said.contains(why), "{kind} {url}: {said}");
        }
    }
    let params = [("url", "http://127.0.0.1:1/whip/x".into())];
    let refused = Harness::try_new(spec("room.whip"), &params, &Shared::default()).err().unwrap();
    assert!(refused.to_string().contains("real time"));
}
