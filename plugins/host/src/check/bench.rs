//! `sidetone plugin bench`: what a frame costs in a plugin's node, and in a node
//! that passes it on, in turns.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sidetone_core::harness::Harness;
use sidetone_core::node::Shared;
use sidetone_core::registry::same;
use sidetone_core::{Context, Fault, Frame, Node, NodeSpec, Placement, PortSpec, Setup, Value};

use crate::manifest::{Kind, Manifest};
use crate::{Shelf, search, spec};

/// Pictures that are timed: width and height.
const SIZES: &[(u32, u32)] = &[(160, 120), (640, 360), (1280, 720), (1920, 1080)];
/// Sound that is timed, 10 ms at a time: rate and channels.
const SOUNDS: &[(u32, u32)] = &[(16_000, 1), (48_000, 1), (48_000, 2), (48_000, 8)];
/// Frames of each that are not counted.
const WARM: u32 = 3;

/// What frames of one size cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The kind.
    pub kind: String,
    /// A frame, for a person.
    pub frame: String,
    /// Each call of the plugin's node, in milliseconds.
    pub plugin_ms: Vec<f64>,
    /// Each call of a node that passes the frame on, made after it.
    pub bypass_ms: Vec<f64>,
}

/// Times every kind of a library on frames of several sizes, `turns` of each, and
/// the bypass in turns with it. Runs foreign code in this process. \[control\]
///
/// # Errors
/// The plugin cannot be used, or fails.
pub fn bench(
    library: &Path,
    set: &[(String, String)],
    turns: u32,
    tell: &mut dyn FnMut(&Measured),
) -> Result<(), String> {
    let manifest = Manifest::read(&search::manifest_of(library)).map_err(|why| why.to_string())?;
    for kind in &manifest.kinds {
        let plugin = spec::spec(library, kind, false, Shelf::get());
        let bypass = bypass(plugin);
        let params: Vec<(&str, Value)> =
            set.iter().filter_map(|(name, text)| Some((name.as_str(), value(kind, name, text)?))).collect();
        for picture in frames(kind) {
            let failed = |why: &dyn std::fmt::Display| format!("{}: {}: {why}", kind.kind, picture.name);
            let make = |spec, params: &[_]| {
                Harness::try_new(spec, params, &Shared::default()).map_err(|why| failed(&why))
            };
            let (mut ours, mut other) = (make(plugin, &params)?, make(bypass, &[])?);
            let mut measured = Measured {
                kind: kind.kind.clone(),
                frame: picture.name.clone(),
                plugin_ms: Vec::new(),
                bypass_ms: Vec::new(),
            };
            for turn in 0..turns + WARM {
                let times = [&mut ours, &mut other].map(|node| {
                    node.push(0, (picture.make)(node));
                    let began = Instant::now();
                    node.run();
                    let took = began.elapsed().as_secs_f64() * 1e3;
                    node.clear();
                    took
                });
                if let Some(fault) = ours.fault() {
                    return Err(failed(&fault));
                }
                if turn >= WARM {
                    measured.plugin_ms.push(times[0]);
                    measured.bypass_ms.push(times[1]);
                }
            }
            tell(&measured);
        }
    }
    Ok(())
}

fn value(kind: &Kind, name: &str, text: &str) -> Option<Value> {
    let param = kind.params.iter().find(|param| param.name == name)?;
    Some(match param.kind.as_str() {
        "bool" => (text == "true").into(),
        "int" => text.parse::<i64>().ok()?.into(),
        "float" => text.parse::<f64>().ok()?.into(),
        _ => text.into(),
    })
}

/// Frames of one size, each made anew: one that is shared costs a copy.
struct Size {
    name: String,
    make: Box<dyn Fn(&Harness) -> Frame>,
}

/// What the first input takes; nothing where it takes packets or data, whose
/// contents are not known here.
fn frames(kind: &Kind) -> Vec<Size> {
    let port = &kind.inputs[0];
    match port.media.as_str() {
        "video" => SIZES
            .iter()
            .map(|&(width, height)| Size {
                name: format!("{width}x{height}"),
                make: Box::new(move |node| {
                    node.picture(width, height, |plane, x, y| 16 + ((x * 3 + y * 5 + plane) % 200) as u8)
                }),
            })
            .collect(),
        "audio" => {
            let fits = |fixed: u32, it: u32| fixed == 0 || fixed == it;
            let taken = SOUNDS
                .iter()
                .filter(|(rate, channels)| fits(port.rate, *rate) && fits(port.channels, *channels));
            let mut all: Vec<_> = taken.copied().collect();
            if all.is_empty() {
                let or = |fixed: u32, usual: u32| if fixed > 0 { fixed } else { usual };
                all.push((or(port.rate, 48_000), or(port.channels, 1)));
            }
            let sound = |(rate, channels): (u32, u32)| Size {
                name: format!("10 ms, {channels} channels at {rate} Hz"),
                make: Box::new(move |node| {
                    let samples: Vec<f32> =
                        (0..rate / 100).map(|at| 0.3 * (at as f32 * 0.05).sin()).collect();
                    node.audio(rate, &vec![samples.as_slice(); channels as usize])
                }),
            };
            all.into_iter().map(sound).collect()
        }
        _ => Vec::new(),
    }
}

/// A node with the first input of `of`, which it passes on.
fn bypass(of: &'static NodeSpec) -> &'static NodeSpec {
    let port = |name| PortSpec::new(name, of.inputs[0].media, "The frames.");
    Box::leak(Box::new(NodeSpec {
        kind: "bench.bypass",
        summary: "Passes frames on.",
        sheet: "",
        inputs: Box::leak(Box::new([port("in")])),
        outputs: Box::leak(Box::new([port("out")])),
        params: &[],
        placement: Placement::Shared,
        real_time: true,
        negotiate: &same,
        build: &|_: Setup<'_>| Ok(Box::new(Bypass)),
    }))
}

struct Bypass;

impl Node for Bypass {
    fn process(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if let Some(frame) = cx.pop(0) {
            cx.push(0, frame);
        }
        Ok(())
    }
}
