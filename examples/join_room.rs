//! Joins a call by a room server for ten seconds, without a graph file: publishes a
//! test scene and a tone, and leaves what it heard and saw in the folder `out`.
//!
//! ```sh
//! sidetone serve &
//! cargo run --release --example join_room -- ws://127.0.0.1:7880 $(sidetone token --room demo --user alice)
//! ```

use std::time::{Duration, Instant};

use sidetone::room::{End, Options, Play, Room, RoomEvent, RoomState, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(token)) = (arguments.next(), arguments.next()) else {
        return Err("say where the room is and who you are: join_room URL TOKEN".into());
    };
    std::fs::create_dir_all("out")?;
    let room = Room::join(Options {
        publish: vec![
            (Source::Microphone, End::new("test.tone")),
            (Source::Camera, End::new("test.scene").set("figure", "bob")),
        ],
        hear: Play::Together(End::new("file.wav_sink").set("path", "out/hears.wav")),
        see: Play::Together(End::new("file.contact_sheet_sink").set("path", "out/sees.png")),
        ..Options::new(url, token)
    })?;
    let until = Instant::now() + Duration::from_secs(10);
    while let Ok(event) = room.events().recv_deadline(until) {
        match &event {
            RoomEvent::Statistics { call_ms, .. } => println!("{} s in the call", call_ms / 1_000),
            RoomEvent::Volumes { .. } | RoomEvent::Limit { .. } => {}
            RoomEvent::State(RoomState::Failed { code, .. }) => {
                println!("failed with code {}", code.number())
            }
            event => println!("{event}"),
        }
    }
    let report = room.leave();
    for stage in report.stages.iter().filter(|stage| ["hear", "see"].contains(&&*stage.node)) {
        println!("{}: {} frames", stage.node, stage.frames);
    }
    Ok(())
}
