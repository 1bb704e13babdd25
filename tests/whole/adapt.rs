//! Pictures that follow what the network carries, from a camera to a screen, in virtual
//! time.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use sidetone::recording::{Next, Reader, Record};
use sidetone::registry::same;
use sidetone::{
    Clock, Codec, Context, Control, Engine, EventKind, Fault, Flags, Format, Graph, LoadOptions, MediaType,
    Node, NodeSpec, Options, Placement, PortSpec, Size, Timestamp, Update, VIRTUAL_START, registry,
};

use crate::scratch;

/// What the road carries from when on, in milliseconds and bits a second.
const CARRIES: [(u64, u32); 3] = [(0, 500_000), (2_000, 90_000), (6_000, 500_000)];

/// Hands packets on, and says upstream what it carries from when on.
struct Road(usize);

impl Node for Road {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let due = |at: usize| CARRIES.get(at).map(|(ms, _)| VIRTUAL_START + Duration::from_millis(*ms));
        while due(self.0).is_some_and(|due| due <= cx.now()) {
            cx.request(0, &Control::Bitrate { bps: CARRIES[self.0].1 });
            self.0 += 1;
        }
        cx.wake_at(due(self.0).unwrap_or(Timestamp::NEVER));
        while let Some(packet) = cx.pop(0) {
            cx.push(0, packet);
        }
        Ok(())
    }
}

static ROAD: NodeSpec = NodeSpec {
    kind: "check.road",
    summary: "Says what it carries.",
    sheet: "",
    inputs: &[PortSpec::new("in", MediaType::rtp(Codec::Av1), "The packets.")],
    outputs: &[PortSpec::new("out", MediaType::rtp(Codec::Av1), "The packets.")],
    params: &[],
    placement: Placement::Shared,
    real_time: true,
    negotiate: &same,
    build: &|_| Ok(Box::new(Road(0))),
};

fn recorded(path: &str) -> Vec<Record> {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let next = || match reader.read().unwrap() {
        Next::Frame(record) => Some(record),
        Next::End(_) => None,
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn pictures_shrink_with_the_network_and_come_back_with_it_each_size_from_a_key_frame_on() {
    let folder = scratch();
    let text = r#"
        sidetone = 1
        links = [
          "cam -> adapt -> av1 -> pack -> road -> jitter -> unpack -> decoder -> screen",
          "unpack -> tape",
        ]
        [params]
        out = { type = "path", meaning = "The folder" }
        [nodes]
        cam = { kind = "test.scene", size = [640, 360], fps = 30 }
        adapt = { kind = "effect.adapt" }
        av1 = { kind = "codec.av1_encode" }
        pack = { kind = "rtp.pack_av1" }
        road = { kind = "check.road" }
        jitter = { kind = "rtp.jitter_buffer" }
        unpack = { kind = "rtp.unpack_av1" }
        decoder = { kind = "codec.av1_decode" }
        screen = { kind = "file.frames_sink", path = "${out}/screen.frames" }
        tape = { kind = "file.frames_sink", path = "${out}/tape.frames" }"#;
    let mut kinds = registry();
    kinds.add(&ROAD);
    let overrides = [("out".to_owned(), folder.path(""))];
    let read = |_: &Path| Ok(text.as_bytes().to_vec());
    let load = LoadOptions { read: &read, overrides: &overrides, ..LoadOptions::default() };
    let (graph, _) = Graph::load(Path::new("road.toml"), &kinds, &load).unwrap_or_else(|why| panic!("{why}"));
    let limit = Some(Duration::from_secs(11));
    let options = Options { clock: Clock::virtual_time(), limit, ..Options::default() };
    let engine = Engine::new(graph, options).unwrap_or_else(|why| panic!("{why}"));
    let mut told = Vec::new();
    let report = engine.run(|update| {
        if let Update::Event { at, kind: EventKind::Adapted { width, height, fps }, .. } = update {
            told.push((at.round() as u32, *width, *height, fps.round() as u32));
        }
    });
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!(told, [(2, 480, 270, 15), (8, 640, 360, 30)]);

    let (packets, seen) = (recorded(&folder.path("tape.frames")), recorded(&folder.path("screen.frames")));
    let declined = report.stages.iter().find(|stage| stage.node == "adapt").unwrap().dropped;
    assert!((85..=95).contains(&declined), "each second one for six seconds: {declined}");
    // What was sent came, and all of it was shown.
    let (first, last) = (seen[0].sequence, seen[seen.len() - 1].sequence);
    assert_eq!((first, seen.len()), (0, packets.len()));
    assert!(last + 1 >= 325 && seen.len() as u64 == last + 1 - declined, "{last} {}", seen.len());
    let numbers = |records: &[Record]| records.iter().map(|record| record.sequence).collect::<Vec<_>>();
    assert_eq!(numbers(&seen), numbers(&packets));
    let size = |record: &Record| match record.format {
        Format::Video(video) => video.size,
        other => panic!("a picture, not {other:?}"),
    };
    let changes: Vec<_> =
        seen.windows(2).enumerate().filter(|(_, two)| size(&two[0]) != size(&two[1])).collect();
    let sizes: Vec<_> = changes.iter().map(|(_, two)| size(&two[1])).collect();
    assert_eq!(sizes, [Size::new(480, 270), Size::new(640, 360)]);
    let keys: Vec<_> = (1..packets.len()).filter(|at| packets[*at].flags.has(Flags::KEY)).collect();
    assert_eq!(keys, changes.iter().map(|(at, _)| at + 1).collect::<Vec<_>>(), "key frames");
}
