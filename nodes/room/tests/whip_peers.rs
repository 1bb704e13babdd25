//! Stacks of WebRTC that nobody here wrote publish by WHIP and play by WHEP: aiortc
//! (Python) and werift (Node), which `nodes/room/tests/peers/setup` gets ready.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use sidetone_room::protocol::{RoomName, Source, UserName};
use sidetone_room::server::claims::Grants;
use sidetone_room::server::config::Config;
use sidetone_room::server::http::Server;
use sidetone_room::server::token::{App, Pass};

/// Frames that players are to decode.
const PICTURES: u64 = 60;
const SOUNDS: u64 = 100;

/// A program that says what it does in lines of JSON, and ends with its input.
struct Peer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn says(&mut self) -> Value {
        // Each of them gives up by itself where nothing comes.
        let line = self.lines.next().expect("it says something; why not stands above").unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }

    /// Lets it end, and gives the last that it said.
    fn end(mut self) -> Option<Value> {
        drop(self.child.stdin.take());
        let last = self.lines.by_ref().last().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        assert!(self.child.wait().unwrap().success(), "it ended well");
        last
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a stack is, if it is there: `setup` marks those that are ready.
fn ready(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let peers = std::fs::read_dir(root.join("target/peers/whip"));
    let mut found = peers.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_it = |at: &PathBuf| {
        at.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
            && at.join("ready").exists()
    };
    found.find(is_it).or_else(|| {
        eprintln!("skipped: no {name} here; nodes/room/tests/peers/setup installs it");
        None
    })
}

fn token(user: &str) -> String {
    let grants = Grants { join: true, publish: Source::ALL.to_vec(), subscribe: true, ..Grants::default() };
    let room = Some(RoomName::new("demo").unwrap());
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let pass = Pass { user: UserName::new(user).unwrap(), room, grants };
    App::development().mint(&pass, wall, Duration::from_secs(600))
}

#[test]
fn other_stacks_publish_by_whip_and_play_by_whep() {
    let Some(aiortc) = ready("aiortc") else { return };
    let werift = ready("werift");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let server = Server::start(&Config::parse("listen = \"127.0.0.1:0\"").unwrap()).unwrap();
    let url = |path: &str| format!("http://{}/{path}", server.address);
    let python = |arguments: &[&str]| {
        let mut command = Command::new(aiortc.join("bin/python"));
        Peer::start(command.arg(scripts.join("whip_aiortc.py")).args(arguments))
    };
    let play = |of: &str| {
        let mut player = python(&[
            "play",
            &url(&format!("whep/demo/{of}")),
            &token("watcher"),
            &PICTURES.to_string(),
            &SOUNDS.to_string(),
        ]);
        let said = player.says();
        player.end();
        println!("aiortc decoded of {of}: {said}");
        assert!(said["video"].as_u64().unwrap() >= PICTURES, "{said}");
        assert!(said["audio"].as_u64().unwrap() >= SOUNDS, "{said}");
        assert_eq!(said["sizes"], serde_json::json!([[320, 240]]));
    };
    let mut alice = python(&["publish", &url("whip/demo"), &token("alice")]);
    assert!(alice.says()["made"].as_str().unwrap().starts_with(&url("resource/")));
    play("alice");
    let mut sessions = 2;
    if let Some(werift) = werift {
        // What aiortc encodes goes through the server twice, by way of werift, before
        // aiortc decodes it.
        let mut command = Command::new("node");
        let mut bob = Peer::start(
            command
                .arg(scripts.join("whip_werift.mjs"))
                .arg(werift.join("node_modules/werift/lib/index.mjs"))
                .args([url("whep/demo/alice"), token("watcher"), url("whip/demo"), token("bob")]),
        );
        bob.says();
        play("bob");
        let said = bob.end().unwrap();
        println!("werift received of alice: {said}");
        assert!(said["frames"].as_u64().unwrap() >= PICTURES, "{said}");
        assert!(said["audio"].as_u64().unwrap() >= SOUNDS, "{said}");
        sessions += 3;
    }
    alice.end();
    let counts = server.end(Duration::ZERO, &AtomicBool::new(false));
    println!("the server counted: {counts:?}");
    assert_eq!((counts.joins, counts.panics), (sessions, 0));
    assert!(counts.refused.is_empty(), "{counts:?}");
}
