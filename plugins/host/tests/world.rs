//! frei0r, LADSPA and CLAP effects, built here from C that follows their
//! specifications: what is read of them, and what they do.

#![allow(clippy::unwrap_used, clippy::float_cmp)] // all of it is test code

use std::path::{Path, PathBuf};
use std::process::Command;

use sidetone_core::harness::Harness;
use sidetone_core::scratch::Scratch;
use sidetone_core::{Control, Format as FrameFormat, Frame, Header, NodeSpec, Size, Value, VideoFormat};
use sidetone_plugin_host::spec::{Isolation, node_spec};
use sidetone_plugin_host::world::installed::{Format, Installed, Setting, Values};
use sidetone_plugin_host::world::rgba::{Order, Packed};
use sidetone_plugin_host::world::{clap, frei0r, ladspa};
use sidetone_plugin_host::{Origin, Shelf};

/// A library built from `tests/effects/SOURCE` in a folder that is gone with this.
struct Built(Scratch);

impl Built {
    fn new(source: &str, flags: &[&str]) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/effects").join(source);
        let built = Self(Scratch::new());
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-w", "-o"]).arg(built.library());
        let out = cc.arg(source).args(flags).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        built
    }

    fn library(&self) -> PathBuf {
        self.0.path("effect.so").into()
    }
}

fn set<'a>(effect: &'a Installed, name: &str) -> &'a sidetone_plugin_host::world::installed::Param {
    effect.params.iter().find(|param| param.name == name).unwrap()
}

fn grey(size: Size, luma: u8) -> Frame {
    let mut frame = Frame::unpooled(Header::default(), FrameFormat::Video(VideoFormat::i420(size)));
    for (index, mut plane) in frame.planes_mut().into_iter().enumerate() {
        for y in 0..plane.height {
            plane.row_mut(y).fill(if index == 0 { luma } else { 128 });
        }
    }
    frame
}

fn load(packed: &mut Packed, frame: &Frame, order: Order) {
    let planes = [0, 1, 2].map(|plane| (frame.plane(plane).data, frame.plane(plane).stride));
    packed.load(frame.video().unwrap().size, planes, order).unwrap();
}

/// A frei0r filter and a picture of an odd size.
struct Filter {
    effect: Installed,
    instance: frei0r::Instance,
    order: Order,
    size: Size,
}

impl Filter {
    fn new(built: &Built) -> Self {
        let size = Size::new(37, 21);
        let effect = frei0r::describe(&built.library()).unwrap();
        let library = frei0r::Loaded::open(&built.library()).unwrap();
        let instance = frei0r::Instance::new(&library, size).unwrap();
        Self { effect, instance, order: library.order(), size }
    }

    fn set(&mut self, name: &str, to: Setting<'_>) {
        self.instance.set(set(&self.effect, name), &to).unwrap();
    }

    /// Luma of what becomes of a grey picture.
    fn luma(&mut self, x: usize, y: usize) -> u8 {
        let (mut input, mut output) = (Packed::new(self.size), Packed::new(self.size));
        load(&mut input, &grey(self.size, 60), self.order);
        self.instance.update(0.0, &[input], &mut output);
        let mut frame = grey(self.size, 0);
        let planes = frame.planes_mut().map(|plane| (plane.data, plane.stride));
        output.store(self.size, planes, self.order).unwrap();
        frame.plane(0).row(y)[x]
    }
}

#[test]
fn a_frei0r_effect_is_described_with_its_defaults() {
    let built = Built::new("frei0r.c", &[]);
    let effect = frei0r::describe(&built.library()).unwrap();
    assert_eq!((effect.format, effect.inputs, effect.outputs), (Format::Frei0r, 1, 1));
    assert_eq!((effect.name.as_str(), effect.author.as_str()), ("Every \u{fffd} Kind", ""));
    assert_eq!((effect.version.as_str(), effect.doc.as_str()), ("2.7", "One of each."));
    let params: Vec<_> =
        effect.params.iter().map(|param| (param.name.as_str(), param.index, &param.values)).collect();
    let number = |default| Values::Float { min: Some(0.0), max: Some(1.0), default };
    assert_eq!(
        params,
        [
            ("invert", 0, &Values::Bool { default: false }),
            ("amount_of_it", 1, &number(0.25)),
            ("tint", 2, &Values::Color { default: "#ff0000".into() }),
            ("centre_x", 3, &number(0.5)),
            // 7 is what it says.
            ("centre_y", 3, &number(1.0)),
            ("caption", 4, &Values::Text { default: "none".into() }),
        ]
    );
    assert_eq!(effect.unusable, None);
    let text = serde_json::to_string(&effect).unwrap();
    assert_eq!(serde_json::from_str::<Installed>(&text).unwrap(), effect);
}

#[test]
fn every_type_of_frei0r_parameter_reaches_the_effect() {
    let built = Built::new("frei0r.c", &[]);
    let mut filter = Filter::new(&built);
    assert_eq!(filter.luma(5, 5), 60);
    filter.set("invert", Setting::Number(1.0));
    // 60 is 51 of 255; 204 is 191 of 16 to 235.
    assert_eq!(filter.luma(5, 5), 191);
    filter.set("amount_of_it", Setting::Number(1.0));
    filter.set("tint", Setting::Text("#00ff00"));
    assert_eq!(filter.luma(5, 5), 145);
    let wrong = filter.instance.set(set(&filter.effect, "tint"), &Setting::Text("no colour")).unwrap_err();
    assert!(wrong.to_string().contains("\"no colour\" is no colour"));
    filter.set("caption", Setting::Text("bar"));
    assert_eq!((filter.luma(5, 0), filter.luma(5, 1)), (16, 145));
    filter.set("centre_x", Setting::Number(0.25));
    filter.set("centre_y", Setting::Number(0.5));
    // 40x24 is what the effect sees.
    assert_eq!(filter.luma(10, 12), 235);
    assert!(filter.instance.set(set(&filter.effect, "caption"), &Setting::Text("a\0b")).is_err());
}

#[test]
fn a_frei0r_mixer_gets_both_pictures() {
    let built = Built::new("frei0r.c", &["-DMIXER"]);
    assert_eq!(frei0r::describe(&built.library()).unwrap().inputs, 2);
    let library = frei0r::Loaded::open(&built.library()).unwrap();
    let size = Size::new(16, 8);
    let mut instance = frei0r::Instance::new(&library, size).unwrap();
    let [mut a, mut b, mut out] = [size; 3].map(Packed::new);
    load(&mut a, &grey(size, 16), library.order());
    load(&mut b, &grey(size, 235), library.order());
    instance.update(0.0, &[a, b], &mut out);
    assert!(out.bytes().chunks(4).all(|pixel| pixel == [127, 127, 127, 255]));
}

#[test]
fn what_is_no_frei0r_filter_or_mixer_is_refused_with_the_reason() {
    let odd = Built::new("frei0r.c", &["-DMODEL=9"]);
    assert!(frei0r::describe(&odd.library()).unwrap_err().to_string().contains("colour model 9"));
    let source = Built::new("frei0r.c", &["-DTYPE=1"]);
    assert!(frei0r::describe(&source.library()).unwrap().unusable.unwrap().contains("takes no picture"));
    let other = Built::new("ladspa.c", &[]);
    assert!(frei0r::describe(&other.library()).unwrap_err().to_string().contains("is no frei0r library"));
    let filter = Built::new("frei0r.c", &[]);
    let library = frei0r::Loaded::open(&filter.library()).unwrap();
    assert!(frei0r::Instance::new(&library, Size::new(2049, 8)).is_err());
    other.0.write("text.so", b"no library");
    assert!(
        Format::Frei0r
            .describe(Path::new(&other.0.path("text.so")))
            .unwrap_err()
            .contains("text.so is no frei0r library")
    );
}

#[test]
fn ladspa_effects_are_described_in_real_units_and_damaged_ones_are_named() {
    let built = Built::new("ladspa.c", &[]);
    let effects = ladspa::describe(&built.library()).unwrap();
    let gain = &effects[0];
    assert_eq!((gain.key.as_str(), gain.inputs, gain.outputs, gain.latency_samples), ("gain", 1, 1, 37));
    let params: Vec<_> = gain
        .params
        .iter()
        .map(|param| (param.name.as_str(), param.unit.as_str(), param.index, param.values.clone()))
        .collect();
    // 4.8 to 24000 Hz; the middle of them on a logarithmic scale.
    let cutoff = Values::Float { min: Some(4.8), max: Some(24_000.0), default: 339.4113 };
    assert_eq!(
        params,
        [
            ("gain_db", "dB", 2, Values::Float { min: Some(0.0), max: Some(4.0), default: 1.0 }),
            ("cutoff_hz", "Hz", 3, cutoff),
            ("on", "", 4, Values::Bool { default: false }),
            ("mode", "", 5, Values::Int { min: 0, max: 3, default: 3 }),
        ]
    );
    assert_eq!((effects[1].inputs, effects[1].outputs, effects[1].latency_samples), (2, 2, 0));
    let usable: Vec<_> = effects.iter().filter(|effect| effect.unusable.is_none()).collect();
    assert_eq!(
        usable.iter().map(|effect| effect.key.as_str()).collect::<Vec<_>>(),
        ["gain", "swap", "ring", "spread", "nan"]
    );
    for (index, part) in [
        (3, "takes no sound"),
        (4, "could not be made"),
        (5, "not their descriptions"),
        (6, "a thousand ports"),
        (7, "both input and output"),
        (8, "lacks a function"),
        (9, "no label"),
    ] {
        let why = effects[index].unusable.as_ref().unwrap();
        assert!(why.contains(part), "{index}: {why}");
    }
    assert!(ladspa::Effect::open(&built.library(), "nothing").is_err());
    assert!(ladspa::Effect::open(&built.library(), "both_ways").is_err());
}

#[test]
fn ladspa_effects_run_with_their_parameters_in_range() {
    let built = Built::new("ladspa.c", &[]);
    let described = ladspa::describe(&built.library()).unwrap();
    let effect = ladspa::Effect::open(&built.library(), "gain").unwrap();
    let mut instance = ladspa::Instance::new(&effect, 48_000).unwrap();
    let mut out = [0.0; 3];
    instance.run(&[&[1.0, 2.0, 3.0]], &mut [&mut out]);
    assert_eq!(out, [1.0, 2.0, 3.0]);
    assert_eq!(instance.latency(), 37);
    instance.set(set(&described[0], "gain_db"), &Setting::Number(100.0));
    instance.set(set(&described[0], "on"), &Setting::Number(1.0));
    instance.set(set(&described[0], "on"), &Setting::Number(f64::NAN));
    instance.run(&[&[1.0, 2.0, 3.0]], &mut [&mut out]);
    assert_eq!(out, [5.0, 9.0, 13.0]);

    let swap = ladspa::Effect::open(&built.library(), "swap").unwrap();
    let mut instance = ladspa::Instance::new(&swap, 44_100).unwrap();
    let (mut left, mut right) = ([0.0; 2], [0.0; 2]);
    instance.run(&[&[1.0, 2.0], &[3.0, 4.0]], &mut [&mut left, &mut right]);
    assert_eq!((left, right), ([3.0, 4.0], [1.0, 2.0]));
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn ladspa_effects_ring_out_to_zero_without_denormals() {
    let built = Built::new("ladspa.c", &[]);
    let ring = ladspa::Effect::open(&built.library(), "ring").unwrap();
    let mut instance = ladspa::Instance::new(&ring, 48_000).unwrap();
    let mut out = [1.0; 8];
    instance.run(&[&[0.0; 8]], &mut [&mut out]);
    assert!(out[0].is_normal() && out.iter().all(|sample| *sample == 0.0 || sample.is_normal()), "{out:?}");
}

#[test]
fn clap_effects_are_described_in_real_units() {
    let built = Built::new("clap.c", &[]);
    let effects = clap::describe(&built.library()).unwrap();
    let gain = &effects[0];
    assert_eq!(
        (gain.key.as_str(), gain.name.as_str(), gain.version.as_str()),
        ("org.example.gain", "Test gain", "0.9")
    );
    assert_eq!((gain.inputs, gain.outputs, gain.latency_samples), (2, 2, 32));
    let params: Vec<_> = gain
        .params
        .iter()
        .map(|param| (param.name.as_str(), param.unit.as_str(), param.doc.as_str(), param.values.clone()))
        .collect();
    assert_eq!(
        params,
        [
            ("gain_db", "dB", "Main/Gain", Values::Float { min: Some(-24.0), max: Some(24.0), default: 0.0 }),
            ("mode", "", "Mode", Values::Int { min: 0, max: 3, default: 2 }),
            ("invert", "", "Invert", Values::Bool { default: false }),
        ]
    );
    assert_eq!(effects[1].unusable.as_deref(), Some("it is no audio effect"));
    let other = Built::new("ladspa.c", &[]);
    assert!(clap::describe(&other.library()).unwrap_err().to_string().contains("is no CLAP library"));
}

#[test]
fn clap_parameters_change_at_their_sample_and_faults_are_told() {
    let built = Built::new("clap.c", &[]);
    let effect = clap::describe(&built.library()).unwrap().remove(0);
    let mut instance = clap::Instance::new(&built.library(), &effect.key, 48_000).unwrap();
    assert_eq!(instance.latency().unwrap(), 32);
    let input = [1.0, 1.0, 1.0];
    let run = |instance: &mut clap::Instance| {
        let (mut left, mut right) = ([0.0; 3], [0.0; 3]);
        instance.run(&[&input, &input], &mut [&mut left, &mut right]).map(|()| (left, right))
    };
    instance.set(set(&effect, "gain_db"), &Setting::Number(2.0), 1);
    assert_eq!(run(&mut instance).unwrap(), ([1.0, 3.0, 3.0], [1.0, 3.0, 3.0]));
    instance.set(set(&effect, "invert"), &Setting::Number(1.0), 0);
    assert_eq!(run(&mut instance).unwrap(), ([1.0; 3], [1.0; 3]));
    // Long sound comes in parts, with no seam.
    let long: Vec<f32> = (0..10_000).map(|index| index as f32).collect();
    let (mut left, mut right) = (vec![0.0; 10_000], vec![0.0; 10_000]);
    instance.run(&[&long, &long], &mut [&mut left, &mut right]).unwrap();
    assert!(left.iter().zip(&long).all(|(out, input)| *out == 2.0 - input) && left == right);
    instance.set(set(&effect, "gain_db"), &Setting::Number(24.0), 0);
    assert!(run(&mut instance).is_err());
}

#[test]
fn clap_state_is_saved_and_loaded_and_garbage_is_refused() {
    let built = Built::new("clap.c", &[]);
    let effect = clap::describe(&built.library()).unwrap().remove(0);
    let make = || clap::Instance::new(&built.library(), &effect.key, 48_000).unwrap();
    let mut one = make();
    one.set(set(&effect, "gain_db"), &Setting::Number(5.0), 0);
    let mut out = [[0.0; 1]; 2];
    let run = |instance: &mut clap::Instance, out: &mut [[f32; 1]; 2]| {
        let [left, right] = out;
        instance.run(&[&[0.0], &[0.0]], &mut [left, right]).unwrap();
    };
    run(&mut one, &mut out);
    let state = one.save().unwrap();
    drop(one);
    let mut other = make();
    assert!(other.load(vec![1, 2, 3]).is_err());
    other.load(state).unwrap();
    run(&mut other, &mut out);
    assert_eq!(out, [[5.0]; 2]);
    assert!(clap::Instance::new(&built.library(), "org.example.none", 48_000).is_err());
}

/// The effect as a kind of node that runs it in this process.
fn node(effect: &Installed) -> &'static NodeSpec {
    let kind = effect.kind("host.test/it", "it");
    let shelf: &'static Shelf = Box::leak(Box::default());
    node_spec(Origin::Installed(Box::new(effect.clone())), &kind, Isolation::new(false, false), shelf)
}

#[test]
fn a_frei0r_node_follows_its_parameters_and_the_size_of_pictures() {
    let built = Built::new("frei0r.c", &[]);
    let effect = frei0r::describe(&built.library()).unwrap();
    let mut harness = Harness::new(node(&effect), &[("invert", true.into())]);
    let luma = |harness: &mut Harness, width: u32, height: u32| {
        let picture = harness.picture(width, height, |plane, _, _| if plane == 0 { 60 } else { 128 });
        harness.push(0, picture);
        harness.run();
        let frame = harness.take(0).pop().unwrap();
        assert_eq!(frame.video().unwrap().size, Size::new(width, height));
        frame.plane(0).row(3)[4]
    };
    assert_eq!(luma(&mut harness, 33, 17), 191);
    assert_eq!(luma(&mut harness, 64, 32), 191);
    let off = Control::Set { param: "invert", value: false.into() };
    harness.control(off, None);
    assert_eq!(luma(&mut harness, 64, 32), 60);
    assert_eq!(luma(&mut harness, 16, 16), 60);
    let colour = [("tint", Value::from("green"))];
    let why = Harness::try_new(node(&effect), &colour, &Default::default()).err().unwrap().to_string();
    assert!(why.contains("tint: \"green\" is no colour"), "{why}");
}

#[test]
fn a_frei0r_mixer_takes_the_latest_of_its_second_input() {
    let built = Built::new("frei0r.c", &["-DMIXER"]);
    let mut harness = Harness::new(node(&frei0r::describe(&built.library()).unwrap()), &[]);
    let grey = |harness: &Harness, luma: u8| {
        harness.picture(16, 16, move |plane, _, _| if plane == 0 { luma } else { 128 })
    };
    let push = |harness: &mut Harness, port: usize, luma: u8| {
        let frame = grey(harness, luma);
        harness.push(port, frame);
        harness.run();
    };
    push(&mut harness, 0, 16);
    assert!(harness.take(0).is_empty());
    push(&mut harness, 1, 235);
    for _ in 0..2 {
        push(&mut harness, 0, 16);
        let luma = harness.take(0).pop().unwrap().plane(0).row(0)[0];
        assert!(luma.abs_diff(125) <= 1, "{luma}");
    }
}

#[test]
fn sound_nodes_run_one_instance_a_channel_or_one_for_all() {
    let built = Built::new("ladspa.c", &[]);
    let effects = ladspa::describe(&built.library()).unwrap();
    let effect = |key: &str| effects.iter().find(|effect| effect.key == key).unwrap();
    let run = |key: &str, params: &[(&str, Value)], channels: &[&[f32]]| {
        let mut harness = Harness::new(node(effect(key)), params);
        let frame = harness.audio(48_000, channels);
        harness.push(0, frame);
        harness.run();
        let frame = harness.take(0).pop().unwrap();
        (0..frame.audio().unwrap().channels)
            .map(|index| frame.channel(index.into()).to_vec())
            .collect::<Vec<_>>()
    };
    let gain = [("gain_db", Value::Float(3.0))];
    assert_eq!(run("gain", &gain, &[&[1.0, 2.0], &[-1.0, 0.0]]), [[3.0, 6.0], [-3.0, 0.0]]);
    assert_eq!(run("swap", &[], &[&[1.0, 2.0], &[3.0, 4.0]]), [[3.0, 4.0], [1.0, 2.0]]);
    assert_eq!(run("spread", &[], &[&[1.0, 2.0]]), [[1.0, 2.0], [-1.0, -2.0]]);
}

#[test]
fn clap_nodes_carry_their_state_over() {
    let built = Built::new("clap.c", &[]);
    let effect = clap::describe(&built.library()).unwrap().remove(0);
    let mut harness = Harness::new(node(&effect), &[("gain_db", Value::Float(2.0))]);
    let frame = harness.audio(48_000, &[&[1.0, 2.0], &[0.0, 0.0]]);
    harness.push(0, frame);
    harness.run();
    let frame = harness.take(0).pop().unwrap();
    assert_eq!((frame.channel(0), frame.channel(1)), (&[3.0, 4.0][..], &[2.0, 2.0][..]));
}
