//! A library that was built for the first release of the plugin interface, against
//! the header as it was then: it loads, and every part of it works.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sidetone::data_shape::{FACE_LANDMARKS, Face, FaceLandmarks, MASK, Mask};
use sidetone::harness::Harness;
use sidetone::plugins::{Library, Shelf, search};
use sidetone::recording::Record;
use sidetone::scratch::Scratch;
use sidetone::{
    Clock, Codec, Control, DropReason, Engine, EventKind, FaultKind, Flags, Format, Frame, Graph,
    LoadOptions, NodeSpec, Options, Plane, Renewal, Update, Value,
};

use crate::{compiled, recorded, samples, scratch, sidetone};

/// The library with the manifest that is written from it, in a folder of its own.
struct Old {
    folder: Scratch,
    library: PathBuf,
}

impl Old {
    fn new() -> Self {
        let folder = scratch();
        let library = PathBuf::from(folder.path("libevery_part.so"));
        std::fs::write(
            &library,
            compiled("tests/abi/v1/every_part.c", "tests/abi/v1", &["-std=c99", "-pedantic"]),
        )
        .unwrap();
        let table = Library::load(&library).unwrap_or_else(|why| panic!("{why}")).table;
        std::fs::write(folder.path("every_part.sidetone.toml"), table.to_text()).unwrap();
        Self { folder, library }
    }

    fn spec(&self, kind: &str) -> &'static NodeSpec {
        let shelf: &'static Shelf = Box::leak(Box::default());
        let found = search::find(&[PathBuf::from(self.folder.path(""))], &mut search::Known::default());
        assert!(found.wrong.is_empty(), "{:?}", found.wrong);
        shelf.kinds(&found, false).into_iter().find(|spec| spec.kind == kind).unwrap()
    }

    fn node(&self, kind: &str, params: &[(&str, Value)]) -> Harness {
        Harness::new(self.spec(kind), params)
    }

    fn all(&self, what: &'static str) -> Harness {
        self.node("every_part.all", &[("words", "hello".into()), ("what", what.into())])
    }
}

#[test]
fn its_table_says_what_it_said() {
    let table = Library::load(&Old::new().library).unwrap_or_else(|why| panic!("{why}")).table;
    assert_eq!((table.id.as_str(), table.abi.as_str()), ("every_part", "1.0"));
    assert_eq!(table.mistakes(), Vec::<String>::new());
    let all = &table.kinds[0];
    assert_eq!((all.inputs.len(), all.outputs.len(), all.params.len(), all.latency_ns), (3, 3, 6, 1_000_000));
    assert_eq!(
        all.params.iter().map(|param| param.kind.as_str()).collect::<Vec<_>>(),
        ["bool", "int", "float", "choice", "text", "path"]
    );
    assert_eq!((table.kinds[1].kind.as_str(), table.kinds[1].inputs[0].rate), ("every_part.sound", 48_000));
}

/// A picture of odd sides, no two samples of a row alike.
fn picture(node: &mut Harness, flags: Flags) -> Frame {
    let mut frame = node.picture(33, 17, |plane, x, y| (60 * plane + 3 * x + y) as u8);
    frame.header = node.header(Duration::from_millis(33));
    frame.header.flags = flags;
    frame
}

fn faces(node: &Harness) -> Frame {
    let face = Face { confidence: 0.75, left: 0.1, top: 0.2, width: 0.3, height: 0.4 };
    let mut bytes = vec![0; FaceLandmarks::bytes(5, 1)];
    FaceLandmarks::write(5, &[(face, &[[0.5; 2]; 5])], &mut bytes).unwrap();
    node.data(FACE_LANDMARKS, &bytes)
}

/// Gives it a picture with a face in it.
fn show(node: &mut Harness, flags: Flags) -> Frame {
    let (picture, faces) = (picture(node, flags), faces(node));
    node.push(1, faces);
    node.push(0, picture.clone());
    node.run();
    picture
}

/// What it told of `name`, in order.
fn figures(events: &[EventKind], name: &str) -> Vec<f64> {
    let figures = events.iter().filter_map(|event| match event {
        EventKind::Figure(figure) if figure.name == name => Some(figure.value),
        _ => None,
    });
    figures.collect()
}

fn rows(frame: &Frame) -> Vec<Vec<u8>> {
    let rows = |plane: Plane<'_>| (0..plane.height).map(|y| plane.row(y).to_vec()).collect::<Vec<_>>();
    (0..3).flat_map(|index| rows(frame.plane(index))).collect()
}

#[test]
fn pictures_data_and_packets_come_out_of_it_with_their_times_and_flags() {
    let old = Old::new();
    let mut node = old.all("ok");
    for flags in [Flags::default(), Flags::LOST, Flags::DISCONTINUITY, Flags::SILENCE] {
        let given = show(&mut node, flags);
        let [out, mask, opus] = [0, 1, 2].map(|port| node.take(port).pop().unwrap());
        assert_eq!(rows(&out), rows(&given));
        assert_eq!((out.header.flags, out.header.sequence), (flags, given.header.sequence));
        let read = Mask::read(mask.data(MASK).unwrap()).unwrap();
        assert_eq!((read.width(), read.height(), read.row(0)), (1, 1, &[255][..]));
        assert_eq!(*opus.format(), Format::Packet { codec: Codec::Opus, len: 3 });
        assert_eq!((opus.bytes(), opus.header.flags), (&[0xf8, 0xff, 0xfe][..], flags.with(Flags::KEY)));
        for made in [&out, &mask, &opus] {
            assert_eq!(made.header.captured, given.header.captured);
            assert_eq!((made.header.pts, made.header.duration), (given.header.pts, given.header.duration));
        }
        node.advance(Duration::from_millis(33));
    }
    // It keeps one picture over each call, and lets that go at the next.
    for _ in 0..500 {
        show(&mut node, Flags::default());
    }
    assert_eq!([0, 1, 2].map(|port| node.take(port).len()), [500; 3]);
    (0..3).for_each(|port| node.end(port));
    node.run();
    assert!(node.has_ended() && node.fault().is_none(), "{:?}", node.fault());
}

#[test]
fn its_parameters_figures_and_words_pass_between_it_and_the_graph() {
    let old = Old::new();
    let mut node = old.node(
        "every_part.all",
        &[("words", "good day".into()), ("level_db", (-12.5).into()), ("sure", false.into())],
    );
    show(&mut node, Flags::default());
    assert_eq!([0, 1, 2].map(|port| node.take(port).len()), [1, 1, 0], "it is not sure");
    let events = node.events();
    assert_eq!(figures(&events, "every_part_level"), [-12.5]);
    assert_eq!(figures(&events, "every_part_late_ns"), [0.0]);
    assert_eq!(figures(&events, "every_part_confidence"), [0.75]);
    let notices = events.iter().filter(|event| matches!(event, EventKind::Notice(_)));
    let notices: Vec<_> = notices.map(ToString::to_string).collect();
    assert!(notices.len() == 1 && notices[0].contains("good day"), "{notices:?}");

    node.control(Control::Set { param: "sure", value: true.into() }, None);
    node.control(Control::Set { param: "level_db", value: (-3.0).into() }, None);
    show(&mut node, Flags::default());
    assert_eq!(node.take(2).len(), 1);
    assert_eq!(figures(&node.events(), "every_part_level"), [-3.0]);
    node.control(Control::Set { param: "what", value: "panic".into() }, None);
    show(&mut node, Flags::default());
    assert_eq!(node.fault().unwrap().kind, FaultKind::Panic);

    let why = Harness::try_new(old.spec("every_part.all"), &[], &sidetone::Shared::default()).err().unwrap();
    assert!(why.to_string().contains("words"), "{why}");
}

#[test]
fn each_way_in_which_its_calls_end_is_what_it_was() {
    let old = Old::new();
    let outcome = |what: &'static str| {
        let mut node = old.all(what);
        show(&mut node, Flags::default());
        let declined = node.ledger().dropped[DropReason::Declined as usize].get();
        let put_out = [0, 1, 2].map(|port| node.take(port).len());
        let ended = node.has_ended();
        (put_out, declined, ended, node.fault().map(|fault| fault.kind))
    };
    assert_eq!(outcome("ok"), ([1; 3], 0, false, None));
    assert_eq!(outcome("drop"), ([0; 3], 1, false, None));
    assert_eq!(outcome("need_more"), ([0; 3], 0, false, None));
    assert_eq!(outcome("end"), ([1; 3], 0, true, None));
    for (what, kind) in [
        ("error", FaultKind::Library),
        ("format", FaultKind::WrongFormat),
        ("media", FaultKind::BadMedia),
        ("memory", FaultKind::Library),
        ("resource", FaultKind::Io),
        ("panic", FaultKind::Panic),
    ] {
        assert_eq!(outcome(what), ([0; 3], 0, true, Some(kind)), "{what}");
    }
}

#[test]
fn one_that_is_made_anew_takes_over_its_state() {
    let old = Old::new();
    let mut kinds = sidetone::registry();
    kinds.add(old.spec("every_part.all"));
    let text = "sidetone = 1\nlinks = [\"scene -> all.in\", \"scene -> eye.reference\", \"all.out -> eye.in\"]\n\
                [nodes]\nscene = { kind = \"test.scene\", size = [64, 48], frames = 20 }\n\
                all = { kind = \"every_part.all\", words = \"hello\" }\neye = { kind = \"test.compare_video\" }";
    let options = LoadOptions { read: &|_| Ok(text.into()), ..LoadOptions::default() };
    let (graph, _) =
        Graph::load(Path::new("all.toml"), &kinds, &options).unwrap_or_else(|why| panic!("{why}"));
    let engine = Engine::new(graph, Options { clock: Clock::virtual_time(), ..Options::default() }).unwrap();
    let handle = engine.handle();
    let (mut seen, mut renewals) = (0, Vec::new());
    let report = engine.run(|update| match update {
        Update::Event { kind: EventKind::Figure(figure), .. } if figure.name == "every_part_level" => {
            seen += 1;
            if seen == 10 {
                handle.renew(&["every_part.all"]);
            }
        }
        Update::Event { kind: EventKind::Renewed(renewal), .. } => renewals.push(renewal.clone()),
        _ => {}
    });
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!((renewals, seen), (vec![Renewal::Continued], 20));
}

#[test]
fn it_turns_sound_upside_down_in_its_place_and_leaves_what_others_hold() {
    let old = Old::new();
    let mut node = old.node("every_part.sound", &[]);
    let channels: [&[f32]; 2] = [&[0.5, -0.25, 1.0], &[0.0, 0.125, -1.0]];
    for is_shared in [false, true] {
        let frame = node.audio(48_000, &channels);
        let held = is_shared.then(|| frame.clone());
        let place = frame.bytes().as_ptr();
        node.push(0, frame);
        node.run();
        let out = node.take(0).pop().unwrap();
        assert_eq!(out.channel(0), [-0.5, 0.25, -1.0]);
        assert_eq!(out.channel(1), [-0.0, -0.125, 1.0]);
        assert_eq!(out.bytes().as_ptr() == place, !is_shared);
        if let Some(held) = held {
            assert_eq!([held.channel(0), held.channel(1)], channels);
        }
    }
    node.end(0);
    node.run();
    assert!(node.has_ended() && node.fault().is_none(), "{:?}", node.fault());
}

/// Both kinds, with all that they put out recorded.
const GRAPH: &str = r#"
sidetone = 1
links = [
  "scene.out -> all.in",
  "scene.landmarks -> all.faces",
  "scene.out -> av1 -> all.packets",
  "scene.out -> before",
  "all.out -> after",
  "all.mask -> mask",
  "all.opus -> opus",
  "all.opus -> decode -> heard",
  "tone -> right_way_up",
  "tone -> sound -> upside_down",
]
[params]
isolate = { type = "text", meaning = "Where both run" }
[nodes]
scene = { kind = "test.scene", size = [99, 65], frames = 30 }
av1 = { kind = "codec.av1_encode" }
all = { kind = "every_part.all", words = "hello", isolate = "${isolate}" }
before = { kind = "file.frames_sink", path = "before.frames" }
after = { kind = "file.frames_sink", path = "after.frames" }
mask = { kind = "file.frames_sink", path = "mask.frames" }
opus = { kind = "file.frames_sink", path = "opus.frames" }
decode = { kind = "codec.opus_decode" }
heard = { kind = "file.frames_sink", path = "heard.frames" }
tone = { kind = "test.tone", channels = 2, duration_s = 1 }
sound = { kind = "every_part.sound", isolate = "${isolate}" }
right_way_up = { kind = "file.frames_sink", path = "right_way_up.frames" }
upside_down = { kind = "file.frames_sink", path = "upside_down.frames" }
"#;

#[test]
fn graphs_run_it_in_their_process_and_in_one_of_its_own_to_the_same_bytes() {
    let old = Old::new();
    let graph = old.folder.path("graph.toml");
    std::fs::write(&graph, GRAPH).unwrap();
    for isolate in ["none", "process"] {
        let output = sidetone(&old.folder)
            .args(["run", &graph, "--virtual", "--json", "--set", &format!("isolate={isolate}")])
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(report["faults"], serde_json::json!([]), "{isolate}");
        let of = |name| recorded(&old.folder, name);
        let [before, after, mask, opus] = ["before", "after", "mask", "opus"].map(of);
        assert_eq!([before.len(), after.len(), mask.len(), opus.len()], [30; 4], "{isolate}");
        for (given, out) in before.iter().zip(&after) {
            assert_eq!(given.1, out.1, "{isolate}: frame {}", given.0.number);
        }
        for frames in [&after, &mask, &opus] {
            let times = |(record, _): &(Record, Vec<u8>)| (record.pts, record.captured);
            assert!(frames.iter().map(times).eq(before.iter().map(times)), "{isolate}");
        }
        assert!(mask.iter().all(|(_, bytes)| Mask::read(bytes).unwrap().row(0) == [255]), "{isolate}");
        assert!(opus.iter().all(|(record, bytes)| bytes == b"\xf8\xff\xfe" && record.flags.has(Flags::KEY)));
        assert!(of("heard").len() >= 30, "{isolate}: its packets are decoded");
        let [given, out] = ["right_way_up", "upside_down"].map(of);
        assert_eq!((given.len(), out.len()), (100, 100), "{isolate}");
        for (given, out) in given.iter().zip(&out) {
            assert!(samples(&given.1).iter().zip(samples(&out.1)).all(|(given, out)| -given == out));
            assert_eq!(given.0.pts, out.0.pts);
        }
    }
}
