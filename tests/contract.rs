//! What every registered node promises, checked for every one of them: its
//! description is whole, the graph in its data sheet loads, and, where it is
//! marked real-time, its calls neither allocate nor free once it runs steadily.
//!
//! Exempt is what the C libraries behind `codec.opus_encode` and
//! `codec.opus_decode` do inside themselves with the C allocator, which is not
//! counted here.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use sidetone::frame::FramePool;
use sidetone::harness::Harness;
use sidetone::{
    Clock, Codec, Control, Engine, EventKind, Frame, Graph, LinkId, LoadOptions, MediaType, NodeSpec,
    Options, ParamDefault, ParamKind, Size, Through, Update, VIRTUAL_START, Value, registry,
};

/// Counts what the present thread allocates and frees while it asks to.
struct Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    if WATCHED.get() {
        CALLS.set(CALLS.get() + 1);
    }
}

// SAFETY: every call goes unchanged to the system's allocator, which keeps the
// contract; noting touches only thread-locals that need no allocation.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread called the allocator during `work`.
fn allocator_calls(work: impl FnOnce()) -> u64 {
    CALLS.set(0);
    WATCHED.set(true);
    work();
    WATCHED.set(false);
    CALLS.get()
}

fn spec(kind: &str) -> &'static NodeSpec {
    registry().get(kind).unwrap_or_else(|| panic!("{kind} is not registered"))
}

/// How much of each medium nodes are fed.
const SPAN: Duration = Duration::from_secs(4);

/// What comes out of a source in `SPAN`.
fn made_by(kind: &str, params: &[(&str, Value)]) -> Vec<Frame> {
    let mut source = Harness::new(spec(kind), params);
    source.advance(SPAN);
    source.take(0)
}

/// What a node makes of frames that come at their own time.
fn through(kind: &str, frames: Vec<Frame>) -> Vec<Frame> {
    let mut node = Harness::new(spec(kind), &[]);
    for frame in frames {
        let due = frame.header.captured + frame.header.duration;
        node.advance_to(due.since(VIRTUAL_START));
        node.push(0, frame);
        node.run();
    }
    node.take(0)
}

/// Frames of every medium that an input which carries `media` takes.
fn feeds(media: &MediaType) -> Vec<Vec<Frame>> {
    let sound = || made_by("test.tone", &[]);
    let pictures = || made_by("test.scene", &[("size", Size::new(64, 48).into())]);
    let packets = |codec| match codec {
        Codec::Opus => through("codec.opus_encode", sound()),
        Codec::Av1 => through("codec.av1_encode", pictures()),
    };
    let rtp = |codec| match codec {
        Codec::Opus => through("rtp.pack_opus", packets(codec)),
        Codec::Av1 => through("rtp.pack_av1", packets(codec)),
    };
    let codecs = |one: &Option<Codec>| one.map_or(vec![Codec::Opus, Codec::Av1], |one| vec![one]);
    match media {
        MediaType::Any => vec![sound(), pictures()],
        MediaType::Audio { .. } => vec![sound()],
        MediaType::Video { .. } => vec![pictures()],
        MediaType::Packets { codec } => codecs(codec).into_iter().map(packets).collect(),
        MediaType::Rtp { codec } => codecs(codec).into_iter().map(rtp).collect(),
        other => panic!("this test has no frames of {other} to feed; give it some"),
    }
}

/// The path of a file of this test's own.
fn scratch(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name).to_str().unwrap().into()
}

/// The path of a recording of RTP packets that come for `SPAN`.
fn recorded(name: &str) -> Value {
    let mut node = Harness::new(spec("net.record"), &[("path", scratch(name))]);
    for frame in feeds(&MediaType::rtp(Codec::Opus)).remove(0) {
        node.advance_to(frame.header.captured.since(VIRTUAL_START));
        node.push(0, frame);
        node.run();
    }
    node.end(0);
    node.run();
    assert!(node.has_ended());
    scratch(name)
}

/// Parameters with which a node has something to do.
fn busy(kind: &str) -> Vec<(&'static str, Value)> {
    match kind {
        "audio.gain" => vec![("gain_db", (-3.0).into())],
        "audio.resample" => vec![("rate", 44_100.into())],
        "effect.scale" => vec![("size", Size::new(96, 72).into())],
        "net.impair" => vec![("preset", "mobile".into())],
        "net.record" => vec![("path", scratch("recorded.frames"))],
        "net.replay" => vec![("path", recorded("replayed.frames"))],
        "test.slow" => vec![("work_ms", 5.into())],
        _ => Vec::new(),
    }
}

/// A copy of `frame` in a buffer from `pool` and with a trail from `node`: what it
/// came in belongs to pools that are gone, so that its last handle would free it.
fn anew(frame: &Frame, pool: &mut FramePool, node: &mut Harness) -> Frame {
    let mut header = node.header(frame.header.duration);
    header.pts = frame.header.pts;
    header.captured = frame.header.captured;
    header.sequence = frame.header.sequence;
    header.flags = frame.header.flags;
    let mut copy = pool.frame(header, *frame.format(), 0);
    copy.bytes_mut().copy_from_slice(frame.bytes());
    copy
}

/// Sends all the messages that a node may get while it runs: its live parameters,
/// and what comes from downstream.
fn send_messages(node: &mut Harness, spec: &NodeSpec) {
    for param in spec.params.iter().filter(|param| param.live) {
        let given = busy(spec.kind).into_iter().find(|(name, _)| *name == param.name);
        if let Some(value) = given.map(|(_, value)| value).or_else(|| param.default.value()) {
            node.control(Control::Set { param: param.name, value }, None);
        }
    }
    if !spec.outputs.is_empty() {
        let from = Through { port: 0, key: None };
        node.control(Control::KeyFrame, Some(from));
        node.control(Control::Bitrate { bps: 100_000 }, Some(from));
    }
}

/// What is wrong with a real-time kind whose every input is fed `frames`, or one
/// that has no input.
fn mistakes_of(spec: &'static NodeSpec, frames: &[Frame]) -> Vec<String> {
    let mut node = Harness::new(spec, &busy(spec.kind));
    let mut pools: Vec<_> = spec.inputs.iter().map(|_| FramePool::new(512)).collect();
    let mut links: Vec<_> = (0..).map(LinkId).take(spec.inputs.len()).zip(0..).collect();
    for (port, _) in spec.inputs.iter().enumerate().filter(|(_, port)| port.many) {
        links.push((node.add_link(port), port));
    }
    let steps = if frames.is_empty() { 400 } else { frames.len() };
    let mut counted = 0;
    for step in 0..steps {
        let due = frames.get(step).map(|frame| frame.header.captured + frame.header.duration);
        let new = links.iter().filter_map(|(link, port)| {
            frames.get(step).map(|frame| (*link, anew(frame, &mut pools[*port], &mut node)))
        });
        let new: Vec<_> = new.collect();
        // Every third is another's too, as after a fork, so that who writes copies.
        let shared = if step % 3 == 0 { new.clone() } else { Vec::new() };
        let mut new = new.into_iter();
        if step % 50 == 49 {
            send_messages(&mut node, spec);
        }
        let mut turn = || match due {
            Some(due) => {
                node.advance_to(due.since(VIRTUAL_START));
                for (link, frame) in new.by_ref() {
                    node.push_link(link, frame);
                }
                node.run();
            }
            None => node.advance(Duration::from_millis(10)),
        };
        if step < steps / 2 {
            turn();
        } else {
            counted += allocator_calls(turn);
        }
        if let Some(fault) = node.fault() {
            return vec![format!("{} failed at step {step}: {fault}", spec.kind)];
        }
        drop(shared);
        node.clear();
    }
    let mut mistakes = Vec::new();
    if counted > 0 {
        mistakes.push(format!("{} called the allocator {counted} times in {} steps", spec.kind, steps / 2));
    }
    if node.ledger().frames.get() == 0 {
        mistakes.push(format!("{} put nothing out and rendered nothing, so this shows nothing", spec.kind));
    }
    if node.ledger().taken.get() < (links.len() * frames.len() / 2) as u64 {
        mistakes.push(format!("{} took {} frames alone", spec.kind, node.ledger().taken.get()));
    }
    mistakes
}

/// Every real-time kind there is, since the registry is asked; one whose medium
/// this test cannot feed fails it.
#[test]
fn real_time_nodes_neither_allocate_nor_free_once_they_run_steadily() {
    let mut checked = 0;
    let mut mistakes = Vec::new();
    for spec in registry().iter().filter(|spec| spec.real_time) {
        checked += 1;
        match spec.inputs.first() {
            None => mistakes.extend(mistakes_of(spec, &[])),
            Some(port) => {
                for frames in feeds(&port.media) {
                    mistakes.extend(mistakes_of(spec, &frames));
                }
            }
        }
    }
    assert!(checked >= 20, "only {checked} real-time nodes were found");
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}

#[test]
fn every_kind_is_described_whole() {
    let mut mistakes = Vec::new();
    for spec in registry().iter() {
        let mut say = |what: String| mistakes.push(format!("{}: {what}", spec.kind));
        if !spec.summary.ends_with('.') {
            say("the summary must be a sentence".into());
        }
        for port in spec.inputs.iter().chain(spec.outputs) {
            if !port.doc.ends_with('.') {
                say(format!("port {} must be described in a sentence", port.name));
            }
        }
        for param in spec.params {
            if !param.doc.ends_with('.') {
                say(format!("parameter {} must be described in a sentence", param.name));
            }
            if let Some(value) = param.default.value()
                && let Err(why) = param.accept(&value)
            {
                say(format!("the default of {} {why}", param.name));
            }
            let shows_unit =
                ["_ms", "_db", "_hz", "_kbps", "_percent"].iter().any(|unit| param.name.ends_with(unit));
            if shows_unit && param.unit.is_empty() {
                say(format!("parameter {} must declare its unit", param.name));
            }
            if param.live
                && !matches!(param.kind, ParamKind::Bool | ParamKind::Int { .. } | ParamKind::Float { .. })
            {
                say(format!("live parameter {} must be a number or a truth value", param.name));
            }
        }
        if spec.real_time
            && spec.params.iter().any(|param| param.default == ParamDefault::Required && param.live)
        {
            say("a live parameter must have a default".into());
        }
    }
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}

#[test]
fn the_graph_in_every_data_sheet_loads_and_uses_the_node() {
    let mut mistakes = Vec::new();
    for spec in registry().iter() {
        let text: String = spec
            .sheet
            .lines()
            .map(|line| line.trim_start_matches("//!").trim_start_matches(' ').to_owned() + "\n")
            .collect();
        let graph = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or("");
        let read = |_: &Path| Ok(graph.as_bytes().to_vec());
        let options = LoadOptions { read: &read, ..LoadOptions::default() };
        match Graph::load(Path::new("sheet.toml"), &registry(), &options) {
            Ok((graph, _)) => {
                let inside = graph.templates.iter().flat_map(|template| &template.nodes);
                if !graph.nodes.iter().chain(inside).any(|node| node.spec.kind == spec.kind) {
                    mistakes.push(format!("{}: the graph in its sheet does not use it", spec.kind));
                }
            }
            Err(why) => mistakes.push(format!("{}: the graph in its sheet does not load:\n{why}", spec.kind)),
        }
    }
    assert!(mistakes.is_empty(), "\n{}\n", mistakes.join("\n"));
}

#[test]
fn a_whole_voice_path_neither_allocates_nor_frees_once_it_runs_steadily() {
    let graph = r#"
        # A voice through every stage that sound passes in a call, and the engine's own lanes.
        sidetone = 1
        links = ["tone -> gain -> opus -> pack -> network -> alice.audio_in", "mix -> out"]
        [nodes]
        tone = { kind = "test.tone" }
        gain = { kind = "audio.gain", gain_db = -3 }
        opus = { kind = "codec.opus_encode" }
        pack = { kind = "rtp.pack_opus" }
        network = { kind = "net.impair", preset = "mobile" }
        alice = { kind = "room.join", url = "mem://steady", user = "alice" }
        bob = { kind = "room.join", url = "mem://steady", user = "bob" }
        mix = { kind = "audio.mix" }
        out = { kind = "audio.level" }
        [each.voice]
        of = "bob.participant"
        parts = ["remote.toml"]
        links = ["voice.audio -> remote -> mix"]"#;
    let remote = r#"
        sidetone = 1
        links = ["jitter -> unpack -> opus -> level"]
        ports = { in = "jitter.in", out = "level.out" }
        [nodes]
        jitter = { kind = "rtp.jitter_buffer" }
        unpack = { kind = "rtp.unpack_opus" }
        opus = { kind = "codec.opus_decode" }
        level = { kind = "audio.level" }"#;
    let read =
        |path: &Path| Ok(if path.ends_with("remote.toml") { remote } else { graph }.as_bytes().to_vec());
    let load = LoadOptions { read: &read, ..LoadOptions::default() };
    let (graph, _) =
        Graph::load(Path::new("steady.toml"), &registry(), &load).unwrap_or_else(|why| panic!("{why}"));
    let options =
        Options { clock: Clock::virtual_time(), limit: Some(Duration::from_secs(12)), ..Options::default() };
    let engine = Engine::new(graph, options).unwrap_or_else(|why| panic!("{why}"));

    // The levels come five times a second; between the first after 6 s and the
    // last before 11 s everything runs steadily. In virtual time lanes and
    // supervisor share this thread, so all of them are counted.
    let (mut begun, mut counted, mut levels) = (false, None, 0);
    let report = engine.run(|update| {
        let Update::Event { at, kind: EventKind::Level { .. }, .. } = update else { return };
        levels += 1;
        if at > 6.0 && !begun {
            begun = true;
            CALLS.set(0);
            WATCHED.set(true);
        }
        if at < 11.0 && begun {
            counted = Some(CALLS.get());
        }
        if at >= 11.0 {
            WATCHED.set(false);
        }
    });
    WATCHED.set(false);
    assert!(levels > 50 && report.stages.iter().any(|stage| stage.node == "mix" && stage.frames > 1_000));
    assert_eq!(counted, Some(0), "calls of the allocator in five seconds of steady running");
}
