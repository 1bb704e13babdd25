//! Tests of the whole way from text to `Graph`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::diagnostic::Diagnostics;
use crate::graph::{End, Graph, LoadOptions};
use crate::media_type::{Codec, MediaType, Size};
use crate::mock_kinds::registry;
use crate::param::Value;

/// Loads "call.toml" of `files`, which are held in memory.
pub(crate) fn load_with(
    files: &[(&str, &str)],
    overrides: &[(&str, &str)],
) -> Result<(Graph, Diagnostics), Diagnostics> {
    let files: HashMap<PathBuf, &str> =
        files.iter().map(|(path, text)| (PathBuf::from(path), *text)).collect();
    let overrides: Vec<_> = overrides.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let options = LoadOptions {
        overrides: &overrides,
        env: &|name| (name == "ROOM").then(|| "mem://env".to_owned()),
        read: &|path| {
            let text = files.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            Ok(text.as_bytes().to_vec())
        },
    };
    Graph::load(Path::new("call.toml"), &registry(), &options)
}

pub(crate) fn load(text: &str) -> Result<(Graph, Diagnostics), Diagnostics> {
    load_with(&[("call.toml", text)], &[])
}

pub(crate) fn good(files: &[(&str, &str)], overrides: &[(&str, &str)]) -> Graph {
    match load_with(files, overrides) {
        Ok((graph, warnings)) => {
            assert!(warnings.list.is_empty(), "{warnings}");
            graph
        }
        Err(found) => panic!("{found}"),
    }
}

const REMOTE_AUDIO: &str = r#"
# Plays what one participant says.
sidetone = 1
links = ["jitter -> unpack -> decode"]
[ports]
in = "jitter.in"
out = "decode.out"
[params]
min_ms = { type = "int", default = 40, min = 0, max = 500, meaning = "The least delay" }
[nodes]
jitter = { kind = "rtp.jitter_buffer", min_ms = "${min_ms}" }
unpack = { kind = "rtp.unpack_opus" }
decode = { kind = "codec.opus_decode" }
"#;

const REMOTE_VIDEO: &str = r#"
sidetone = 1
links = ["jitter -> unpack -> decode -> file"]
[ports]
in = "jitter.in"
[nodes]
jitter = { kind = "rtp.jitter_buffer" }
unpack = { kind = "rtp.unpack_av1" }
decode = { kind = "codec.av1_decode" }
file = { kind = "file.y4m_sink", path = "seen/${participant}.y4m" }
"#;

const CALL: &str = r#"
# A call of two.
# In one process.

sidetone = 1
budget_ms = 250
links = [
  "alice_mic -> alice_opus -> alice_pack -> alice_room.audio_in",
  { path = "alice_cam -> alice_av1 -> alice_pack_video -> wifi -> alice_room", capacity = 8, overflow = "drop_oldest" },
  "bob_mic -> bob_opus -> bob_pack -> bob_room.audio_in",
  "mix -> heard",
]
[params]
cam = { type = "path", default = "", meaning = "A Y4M file for Alice's camera" }
fps = { type = "int", default = 24, min = 1, max = 60, meaning = "Frames per second" }
[nodes]
alice_mic = { kind = "test.tone", lane = "audio" }
alice_opus = { kind = "codec.opus_encode", frame_ms = 10, on_fault = "restart" }
alice_pack = { kind = "rtp.pack_opus" }
alice_cam = [
  { when = "${cam}", kind = "file.y4m_source", path = "${cam}" },
  { kind = "test.scene", size = [320, 180], fps = "${fps}" },
]
alice_av1 = { kind = "codec.av1_encode" }
alice_pack_video = { kind = "rtp.pack_av1" }
wifi = { kind = "net.impair", preset = "home" }
alice_room = { kind = "room.join", url = "mem://demo", user = "alice" }
bob_mic = { kind = "test.clicks" }
bob_opus = { kind = "codec.opus_encode" }
bob_pack = { kind = "rtp.pack_opus" }
bob_room = { kind = "room.join", url = "mem://demo", user = "bob" }
mix = { kind = "audio.mix" }
heard = { kind = "file.wav_sink", path = "heard.wav" }
[each.bobs]
of = "alice_room.participant"
parts = [{ part = "parts/remote_audio.toml", min_ms = 60 }]
links = ["bobs.audio -> remote_audio -> mix"]
[each.alices]
of = "bob_room.participant"
parts = ["parts/remote_video.toml"]
"#;

pub(crate) fn call(overrides: &[(&str, &str)]) -> Graph {
    let files = [
        ("call.toml", CALL),
        ("parts/remote_audio.toml", REMOTE_AUDIO),
        ("parts/remote_video.toml", REMOTE_VIDEO),
    ];
    good(&files, overrides)
}

#[test]
fn a_call_becomes_a_graph_with_templates() {
    let graph = call(&[]);
    assert_eq!((graph.name.as_str(), graph.about.as_str()), ("call", "A call of two.\nIn one process."));
    assert_eq!(graph.budget(), Some(Duration::from_millis(250)));
    assert_eq!((graph.nodes.len(), graph.links.len()), (14, 11));
    let cam = &graph.nodes[graph.node("alice_cam").unwrap()];
    assert_eq!(cam.spec.kind, "test.scene");
    assert_eq!(cam.params.float("fps"), 24.0);
    let fps = crate::FrameRate::new(24, 1);
    assert_eq!(cam.outputs, [MediaType::i420(Some(Size::new(320, 180)), Some(fps))]);
    // The room's input was found by what comes through the impairment.
    let room = graph.node("alice_room").unwrap();
    let wifi = graph.node("wifi").unwrap();
    let link = graph.links.iter().find(|link| link.from.0 == wifi).unwrap();
    assert_eq!((link.to, link.capacity, link.overflow.word()), ((room, 1), Some(8), "drop_oldest"));
    assert_eq!(link.media, MediaType::rtp(Codec::Av1));
    assert_eq!(graph.sources.text(link.place.from), "wifi");

    let [bobs, alices] = graph.templates.as_slice() else { panic!("{:?}", graph.templates) };
    assert_eq!((&*bobs.name, bobs.hub, bobs.group), ("bobs", room, "participant"));
    assert_eq!(&*bobs.nodes[0].name, "remote_audio/jitter");
    assert_eq!(bobs.nodes[0].params.int("min_ms"), 60);
    assert_eq!(bobs.nodes[0].latency, Duration::from_millis(60));
    assert_eq!(bobs.nodes[0].outputs, [MediaType::rtp(Codec::Opus)]);
    let mix = graph.node("mix").unwrap();
    let ends: Vec<_> = bobs.links.iter().map(|link| (link.from, link.to)).collect();
    assert!(ends.contains(&(End::Member { port: 0 }, End::Inside { node: 0, port: 0 })), "{ends:?}");
    assert!(ends.contains(&(End::Inside { node: 2, port: 0 }, End::Outside { node: mix, port: 0 })));
    // Bob's part was linked by what it can take: pictures.
    assert_eq!(alices.links.iter().filter(|l| l.from == End::Member { port: 1 }).count(), 1);
}

#[test]
fn a_template_is_made_for_a_member_without_leaving_its_folder() {
    let graph = call(&[]);
    let made = graph.templates[1].instantiate("bob");
    assert_eq!(&*made[3].name, "alices[bob]/remote_video/file");
    assert_eq!(made[3].params.text("path"), "seen/bob.y4m");
    for evil in ["../../etc/passwd", "..", "a/b", "C:\\x", "", "\u{0}", "a\nb"] {
        let path = graph.templates[1].instantiate(evil)[3].params.text("path").to_owned();
        let name = path.strip_prefix("seen/").and_then(|path| path.strip_suffix(".y4m")).unwrap();
        assert!(!name.is_empty() && !name.contains(['/', '\\', '.', '\0', '\n', ':']), "{path}");
    }
}

#[test]
fn set_reaches_the_graphs_own_a_nodes_and_an_inner_nodes_parameters() {
    let graph = call(&[
        ("fps", "12"),
        ("alice_opus.bitrate_kbps", "24"),
        ("alice_cam.size", "640x360"),
        ("bobs[]/remote_audio/jitter.max_ms", "80"),
        ("bobs/remote_audio.min_ms", "20"),
        ("fps", "15"),
    ]);
    let node = |name: &str| &graph.nodes[graph.node(name).unwrap()];
    assert_eq!(node("alice_cam").params.float("fps"), 15.0);
    assert_eq!(graph.params[1].value, Some(Value::Int(15)));
    assert_eq!(node("alice_cam").params.size("size"), Size::new(640, 360));
    assert_eq!(node("alice_opus").params.int("bitrate_kbps"), 24);
    let jitter = &graph.templates[0].nodes[0];
    assert_eq!((jitter.params.int("max_ms"), jitter.params.int("min_ms")), (80, 20));
}

#[test]
fn a_parameter_chooses_a_node() {
    let graph = call(&[("cam", "clip.y4m")]);
    let cam = &graph.nodes[graph.node("alice_cam").unwrap()];
    assert_eq!((cam.spec.kind, cam.params.text("path")), ("file.y4m_source", "clip.y4m"));
}

#[test]
fn the_environment_and_defaults_fill_text_and_numbers() {
    let text = r#"
sidetone = 1
links = ["t -> f"]
[nodes]
t = { kind = "test.tone", rate = "${env:RATE:-16000}" }
f = { kind = "file.wav_sink", path = "$$${env:ROOM}/${env:X:-a}.wav" }
"#;
    let graph = good(&[("call.toml", text)], &[]);
    assert_eq!(graph.nodes[0].params.int("rate"), 16_000);
    assert_eq!(graph.nodes[1].params.text("path"), "$mem://env/a.wav");
}

#[test]
fn marks_and_line_ends_of_other_systems_do_no_harm() {
    let text = "\u{feff}# About.\r\nsidetone = 1\r\nlinks = [\r\n  \"t -> f\",\r\n]\r\n\
                nodes.t = { kind = \"test.tone\" }\r\nnodes.f = { kind = \"file.wav_sink\" }\r\n";
    let said = load(text).unwrap_err().to_string();
    assert!(said.contains("--> call.toml:7:7\n   | nodes.f = { kind = \"file.wav_sink\" }\n"), "{said}");
    assert_eq!(said.matches("error").count(), 1, "{said}");
    let graph = good(&[("call.toml", &text.replace("_sink\"", "_sink\", path = \"x\""))], &[]);
    assert_eq!(graph.about, "About.");
}

#[test]
fn a_part_as_a_node_is_linked_by_its_ports() {
    let text = r#"
sidetone = 1
links = ["tone -> opus -> pack -> remote -> file"]
[nodes]
tone = { kind = "test.tone" }
opus = { kind = "codec.opus_encode" }
pack = { kind = "rtp.pack_opus" }
remote = { part = "parts/remote_audio.toml", min_ms = 5 }
file = { kind = "file.wav_sink", path = "x.wav" }
"#;
    let graph = good(&[("call.toml", text), ("parts/remote_audio.toml", REMOTE_AUDIO)], &[]);
    let jitter = &graph.nodes[graph.node("remote/jitter").unwrap()];
    assert_eq!(jitter.params.int("min_ms"), 5);
    assert_eq!(graph.links.len(), 6);
}

#[test]
fn a_part_may_bring_its_own_room_and_template() {
    let person = r#"
sidetone = 1
links = ["mic -> opus -> pack -> room.audio_in", "mix -> heard"]
[ports]
[params]
name = { type = "text", meaning = "Who" }
[nodes]
mic = { kind = "test.tone" }
opus = { kind = "codec.opus_encode" }
pack = { kind = "rtp.pack_opus" }
room = { kind = "room.join", url = "mem://demo", user = "${name}" }
mix = { kind = "audio.mix" }
heard = { kind = "file.wav_sink", path = "${name}.wav" }
[each.others]
of = "room.participant"
parts = ["../parts/remote_audio.toml"]
links = ["others.audio -> remote_audio -> mix"]
"#;
    let text = r#"
sidetone = 1
nodes.alice = { part = "people/person.toml", name = "alice" }
nodes.bob = { part = "people/person.toml", name = "bob" }
"#;
    let files =
        [("call.toml", text), ("people/person.toml", person), ("parts/remote_audio.toml", REMOTE_AUDIO)];
    let graph = good(&files, &[("bob/others/remote_audio.min_ms", "9")]);
    let [alice, bob] = graph.templates.as_slice() else { panic!("{:?}", graph.templates) };
    assert_eq!((&*alice.name, &*bob.name), ("alice/others", "bob/others"));
    assert_eq!(alice.hub, graph.node("alice/room").unwrap());
    assert_eq!((alice.nodes[0].params.int("min_ms"), bob.nodes[0].params.int("min_ms")), (40, 9));
    assert_eq!(&*bob.instantiate("eve")[0].name, "bob/others[eve]/remote_audio/jitter");
}

#[test]
fn parts_in_parts_end_somewhere() {
    let part = |inner: &str| {
        format!("sidetone = 1\nnodes.x = {{ {inner} }}\n[ports]\nin = \"x.in\"\nout = \"x.out\"\n")
    };
    let files: Vec<_> =
        (0..20).map(|n| (format!("p{n}.toml"), part(&format!("part = \"p{}.toml\"", n + 1)))).collect();
    let last = part("kind = \"audio.gain\"");
    let call = |first: usize| {
        let text = format!(
            "sidetone = 1\nlinks = [\"t -> p -> f\"]\nnodes.t = {{ kind = \"test.tone\" }}\n\
             nodes.f = {{ kind = \"file.wav_sink\", path = \"x\" }}\nnodes.p = {{ part = \"p{first}.toml\" }}\n"
        );
        let mut all: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        all.push(("call.toml", &text));
        all.push(("p20.toml", &last));
        load_with(&all, &[]).map(|(graph, _)| graph.nodes.len()).map_err(|found| found.to_string())
    };
    assert_eq!(call(5), Ok(3));
    let said = call(4).unwrap_err();
    assert!(said.starts_with("error: parts stand in parts more than 16 deep\n  --> p19.toml:2"), "{said}");
    assert_eq!(said.matches("error").count(), 1, "{said}");
}

#[test]
fn a_marked_loop_is_the_link_that_leads_back() {
    let text = r#"
sidetone = 1
links = ["tone -> mix -> gain -> file", { path = "gain -> echo -> mix", loop = true }]
[nodes]
tone = { kind = "test.tone" }
mix = { kind = "audio.mix" }
gain = { kind = "audio.gain" }
echo = { kind = "audio.gain", gain_db = -12 }
file = { kind = "file.wav_sink", path = "x.wav" }
"#;
    let graph = good(&[("call.toml", text)], &[]);
    let loops: Vec<_> = graph.links.iter().filter(|link| link.is_loop).collect();
    assert_eq!(loops.len(), 1);
    assert_eq!(&*graph.nodes[loops[0].from.0].name, "echo");
    let rate = |media: MediaType| matches!(media, MediaType::Audio { rate: Some(48_000), .. });
    assert!(graph.links.iter().all(|link| rate(link.media)), "{:?}", graph.links);
}

#[test]
fn types_learnt_later_flow_on_and_misfits_still_point_into_the_file() {
    let text = r#"
sidetone = 1
links = ["song -> gain -> opus -> pack"]
[nodes]
song = { kind = "file.wav_source", path = "song.wav" }
gain = { kind = "audio.gain" }
opus = { kind = "codec.opus_encode" }
pack = { kind = "rtp.pack_opus" }
"#;
    let (mut graph, warnings) = load(text).unwrap();
    assert_eq!(warnings.list.len(), 1, "{warnings}");
    let audio = |rate| Some(MediaType::Audio { rate: Some(rate), channels: Some(1), samples: None });
    let found = graph.renegotiate(0, &[audio(44_100)]).unwrap_err().to_string();
    assert!(
        found.contains("opus cannot take what gain gives") && found.contains("call.toml:3:19"),
        "{found}"
    );
    assert_eq!(graph.links[0].media, MediaType::AUDIO, "a misfit leaves the graph as it was");
    graph.renegotiate(0, &[audio(16_000)]).unwrap();
    assert_eq!(graph.nodes[2].inputs, [audio(16_000)]);
    assert_eq!(graph.links[1].media, audio(16_000).unwrap());
}

#[test]
fn mutated_graphs_never_panic() {
    let mut rng = fastrand::Rng::with_seed(7);
    let pieces = [
        "->",
        ".",
        "\"",
        "{",
        "}",
        "[",
        "]",
        "=",
        "${",
        "}",
        "$",
        ",",
        "\n",
        "#",
        "each",
        "part",
        "when",
        "loop = true",
        "remote_audio",
        "alice_room",
        "é",
        "\u{0}",
        "participant",
        "99999999999999999999",
        "-1",
        "'''",
        "ports",
        "kind",
    ];
    let texts = [CALL, REMOTE_AUDIO, REMOTE_VIDEO];
    for _ in 0..3_000 {
        let mut mutated = texts.map(str::to_owned);
        for _ in 0..rng.usize(1..6) {
            let text = &mut mutated[rng.usize(0..3)];
            let spot = |rng: &mut fastrand::Rng, text: &str| {
                let mut at = rng.usize(0..=text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            let (a, b) = (spot(&mut rng, text), spot(&mut rng, text));
            let (a, b) = (a.min(b), a.max(b).min(a.min(b) + rng.usize(0..40)));
            let b = (b..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            match rng.u8(0..4) {
                0 => text.replace_range(a..b, ""),
                1 => text.insert_str(a, pieces[rng.usize(0..pieces.len())]),
                2 => text.replace_range(a..b, pieces[rng.usize(0..pieces.len())]),
                _ => {
                    let copy = text[a..b].to_owned();
                    let at = spot(&mut rng, text);
                    text.insert_str(at, &copy);
                }
            }
        }
        let files = [
            ("call.toml", mutated[0].as_str()),
            ("parts/remote_audio.toml", mutated[1].as_str()),
            ("parts/remote_video.toml", mutated[2].as_str()),
        ];
        match load_with(&files, &[("fps", "20"), ("wifi.delay_ms", "3")]) {
            Ok((graph, _)) => {
                graph.templates.iter().for_each(|template| drop(template.instantiate("../x")));
                assert!(crate::draw::svg(&graph).ends_with("</svg>\n"));
            }
            Err(found) => {
                assert!(found.has_errors());
                assert!(found.to_string().contains("error"));
                assert!(serde_json::to_string(&found).unwrap().starts_with('['));
            }
        }
    }
}

#[test]
fn a_megabyte_of_anything_is_dealt_with_quickly() {
    let begin = "sidetone = 1\n";
    let nodes = |count: usize, body: &str| -> String {
        (0..count).map(|n| format!("n{n} = {body}\n")).collect::<String>()
    };
    let fill = |piece: &str| piece.repeat(1_000_000 / piece.len());
    let cases = [
        ("nesting", format!("{begin}x = {}", fill("["))),
        ("dots", format!("{begin}{}a = 1", fill("a."))),
        ("arrows", format!("{begin}links = [\"{}a\"]", fill("a->"))),
        ("nodes", format!("{begin}[nodes]\n{}", nodes(30_000, "{ kind = \"audio.gain\" }"))),
        ("unknown kinds", format!("{begin}[nodes]\n{}", nodes(30_000, "{ kind = \"audio.gian\" }"))),
        (
            "unknown nodes",
            format!(
                "{begin}links = [{}]\n[nodes]\n{}",
                "\"n1->zz\",".repeat(8_000),
                nodes(20_000, "{kind=\"test.tone\"}")
            ),
        ),
        (
            "strangers",
            format!(
                "{begin}links = [{}]\n[nodes]\n{}",
                (0..8_000).map(|n| format!("\"m{n}->x{n}\",")).collect::<String>(),
                nodes(4_000, "{kind=\"test.tone\"}")
            ),
        ),
        (
            "marked loops",
            format!(
                "{begin}links = [{}]\n[nodes]\n{}",
                (0..8_000)
                    .map(|n| format!("{{path=\"n{}->n{}\",loop=true}},", n % 4_000, (n * 7 + 1) % 4_000))
                    .collect::<String>(),
                nodes(4_000, "{kind=\"audio.mix\"}")
            ),
        ),
        ("one long line of mistakes", format!("{begin}x = [{}", fill("a b \" "))),
        ("syntax errors", fill("a b\n")),
        ("quotes", format!("{begin}a = {}", fill("\"\" "))),
        ("dollars", format!("{begin}[nodes]\nn = {{ kind = \"{}\" }}", fill("${x}"))),
        ("keys", format!("{begin}{}", (0..90_000).map(|n| format!("k{n} = 1\n")).collect::<String>())),
        ("a binary file", fill("\u{0}\u{1}\u{7f}")),
        ("too much", fill("# x\n") + &fill("# y\n")),
    ];
    for (name, text) in cases {
        let start = Instant::now();
        let said = match load(&text) {
            Ok((_, warnings)) => warnings,
            Err(found) => found,
        };
        let size = said.to_string().len() + serde_json::to_string(&said).unwrap().len();
        let took = start.elapsed();
        println!("{name}: {took:?}, {} problems, {size} bytes", said.list.len() + said.more);
        assert!(took < Duration::from_secs(10), "{name} took {took:?}");
        assert!(size < 4_000_000, "{name}: {size} bytes of messages");
    }
}

#[test]
fn parts_that_multiply_are_stopped() {
    let many: String = (0..10).map(|n| format!("n{n} = {{ part = \"PART\" }}\n")).collect();
    let files: Vec<_> = (0..12)
        .map(|level| {
            let body = match level {
                11 => "n0 = { kind = \"test.tone\" }\n".to_owned(),
                _ => many.replace("PART", &format!("p{}.toml", level + 1)),
            };
            let ports = if level == 0 { "" } else { "[ports]\n" };
            let name = if level == 0 { "call.toml".to_owned() } else { format!("p{level}.toml") };
            (name, format!("sidetone = 1\n[nodes]\n{body}{ports}"))
        })
        .collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let start = Instant::now();
    let found = load_with(&files, &[]).unwrap_err().to_string();
    assert!(found.contains("more than 4096 nodes"), "{found}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn files_that_are_no_text_are_told_by_the_byte() {
    let read = |bytes: &'static [u8]| {
        let options = LoadOptions { overrides: &[], env: &|_| None, read: &|_| Ok(bytes.to_vec()) };
        Graph::load(Path::new("call.toml"), &registry(), &options).unwrap_err().to_string()
    };
    let said = read(b"sidetone = 1\nabout = \"\xff\xfe\"\n");
    assert!(said.contains("byte 22 does not belong") && said.contains("call.toml:2:10"), "{said}");
    assert!(read(b"").contains("the file is empty"));
    assert!(read(&[b'#'; (1 << 20) + 1]).contains("at most 1048576"));
}

#[test]
fn a_part_checks_by_itself_but_does_not_load() {
    let check = |text: &str| {
        let read = |_: &Path| Ok(text.as_bytes().to_vec());
        let options = LoadOptions { overrides: &[], env: &|_| None, read: &read };
        Graph::check(Path::new("part.toml"), &registry(), &options).map_err(|found| found.to_string())
    };
    for (part, size) in [(REMOTE_AUDIO, (3, 2)), (REMOTE_VIDEO, (4, 3))] {
        let checked = check(part).unwrap();
        assert!(checked.is_part && checked.warnings.list.is_empty(), "{}", checked.warnings);
        assert_eq!((checked.nodes, checked.links), size);
    }
    // What is not given yet, and what it chooses, is not held against it.
    let open = r#"
sidetone = 1
links = ["voice -> room"]
[ports]
in = "voice.in"
[params]
who = { type = "text", meaning = "Who speaks" }
loud = { type = "int", meaning = "How loud" }
[nodes]
voice = [{ when = "${loud}", kind = "net.impair" }, { kind = "net.impair", preset = "home" }]
room = { kind = "room.join", url = "mem://x", user = "${who}" }
"#;
    check(open).unwrap();
    check(&open.replace(r#"[{ when = "${loud}", kind = "net.impair" }, "#, "").replace("}]", "}")).unwrap();
    let wrong = check(&REMOTE_AUDIO.replace("unpack_opus", "pack_opus")).unwrap_err();
    assert!(wrong.contains("part.toml"), "{wrong}");
    let unfed = check(&REMOTE_AUDIO.replace("in = \"jitter.in\"\n", "")).unwrap_err();
    assert!(unfed.contains("nothing feeds jitter.in"), "{unfed}");
    assert!(!check(CALL.replace("parts/", "").as_str()).is_ok_and(|checked| checked.is_part));

    let said = load(REMOTE_AUDIO).unwrap_err().to_string();
    let expected = "error: this file is a part: it has [ports]\n  --> call.toml:5:2\n   | [ports]\n   |  ^^^^^\n   \
                    = a part runs in a graph that uses it: node = { part = \"this_file.toml\" }\n";
    assert_eq!(said, expected);
}
